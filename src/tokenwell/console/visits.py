"""Visits: one request as the console sees it. Who is signed in, which language and zone they read, how a page is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tokenwell.config import Settings
from tokenwell.console import security
from tokenwell.console.assets import Assets
from tokenwell.console.catalogue import HTML_LANGUAGES, LANGUAGES, preferred_language, translations
from tokenwell.console.formats import UTC_NAME, Formats
from tokenwell.service.people import Session
from tokenwell.service.suite import Suite

LANGUAGE_COOKIE = "tokenwell_language"
ZONE_COOKIE = "tokenwell_zone"
"""The zone times are shown in; written by a script, which alone knows where the viewer is, and checked like all that comes in."""

FRAGMENT_HEADER = "x-fragment"
"""Sent by our scripts: they want the part of a page that changes, without the frame around it."""

FRAGMENTS = {"packs", "receipt", "platform"}
"""The templates of which `parts/` holds the part that changes."""

FORM_SECONDS = 12 * 3600
"""How long the sign-in page may stay open before its form is refused."""


class Console:
    """What every page needs: the services, the settings, and the templates in each language."""

    def __init__(self, suite: Suite, settings: Settings) -> None:
        self.suite = suite
        self.meter = suite.meter
        self.people = suite.people
        self.settings = settings
        self.cookies = security.Cookies(settings)
        self.assets = Assets()
        self._environments = {language: _environment(language, self.assets) for language in LANGUAGES}

    def render(self, language: str, template: str, context: Mapping[str, Any]) -> str:
        """Return a template filled in."""
        return self._environments[language].get_template(template).render(context)

    async def visit(self, request: Request) -> Visit:
        """Return the visit of a request, with the session its cookie names."""
        token = request.cookies.get(self.cookies.session)
        session = await run_in_threadpool(self.people.session, token) if token else None
        return Visit(self, request, session)


class Visit:
    """One request, with its language, its zone and, of those signed in, their session."""

    def __init__(self, console: Console, request: Request, session: Session | None) -> None:
        self.console = console
        self.request = request
        self.session = session
        chosen = request.cookies.get(LANGUAGE_COOKIE, "")
        self.language = chosen if chosen in LANGUAGES else preferred_language(request.headers.get("accept-language", ""))
        self.zone_name = request.cookies.get(ZONE_COOKIE, UTC_NAME)
        self._form_cookie = request.cookies.get(console.cookies.form, "")
        self._form_secret = session.csrf_token if session else self._form_cookie or security.fresh_secret()

    @property
    def is_fragment(self) -> bool:
        """Whether only the part of the page that changes is wanted."""
        return FRAGMENT_HEADER in self.request.headers

    def formats(self, now: datetime) -> Formats:
        """Return how this visitor reads numbers and instants at `now`."""
        return Formats(self.language, self.zone_name, now)

    def allows(self, form: Mapping[str, str]) -> bool:
        """Return whether a form was sent from a page we wrote for this visitor."""
        if not security.is_same_origin(self.request, self.console.settings):
            return False
        expected = self.session.csrf_token if self.session else self._form_cookie
        return bool(expected) and security.matches(form.get(security.FORM_FIELD, ""), expected)

    def page(self, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **context: Any) -> Response:
        """Return an answer: `template` filled in, or only its changing part where that is wanted."""
        body = self.console.render(
            self.language,
            f"parts/{template}.html.j2" if self.is_fragment and template in FRAGMENTS else f"{template}.html.j2",
            {
                "visit": self,
                "person": self.session.person if self.session else None,
                "csrf_token": security.mask(self._form_secret),
                "here": self.request.url.path + (f"?{self.request.url.query}" if self.request.url.query else ""),
                **context,
            },
        )
        return HTMLResponse(body, status, dict(headers or {}))

    def form_page(self, template: str, **answer: Any) -> Response:
        """Return a page with a form for somebody who is not signed in: their cookie carries the form's secret too."""
        response = self.page(template, **answer)
        self.console.cookies.put(response, self.console.cookies.form, self._form_secret, seconds=FORM_SECONDS)
        return response


def console_of(request: Request) -> Console:
    """Return the console a request was sent to."""
    console: Console = request.app.state.console
    return console


def _environment(language: str, assets: Assets) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tokenwell.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        auto_reload=False,
    )
    install: Callable[..., None] = environment.install_gettext_translations  # type: ignore[attr-defined]
    install(translations(language), newstyle=True)
    environment.globals |= {
        "asset": assets.url,
        "icons": jinja2.filters.do_mark_safe(assets.text("vendor/icons.svg")),
        "language": language,
        "html_language": HTML_LANGUAGES[language],
        "languages": LANGUAGES,
        "csrf_field": security.FORM_FIELD,
    }
    return environment
