"""Visits: one request as the console sees it. Who is signed in, which language and zone they read, how a page is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import jinja2
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tokenwell.config import Settings
from tokenwell.console import security
from tokenwell.console.assets import Assets
from tokenwell.console.catalogue import DEFAULT_LANGUAGE, HTML_LANGUAGES, LANGUAGES, preferred_language, translations
from tokenwell.console.formats import UTC_NAME, Formats
from tokenwell.console.outlook import Forecasts
from tokenwell.errors import CredentialsInvalid
from tokenwell.service.access.scopes import Principal, Scope, principal_of
from tokenwell.service.identity.people import Membership, Session
from tokenwell.service.suite import Suite

LANGUAGE_COOKIE = "tokenwell_language"
SAID_COOKIE = "tokenwell_said"
"""What the page after a form says of what was done. It holds words of ours by their code, and is shown once."""

ZONE_COOKIE = "tokenwell_zone"
"""The zone times are shown in; written by a script, which alone knows where the viewer is, and checked like all that comes in."""

FRAGMENT_HEADER = "hx-request"
"""Sent by htmx: it wants the part of a page that changes, without the frame around it."""

WHOLE_HEADER = "hx-history-restore-request"
"""Sent by htmx when somebody goes back: it wants the page whole, as a browser does."""

MEMBERSHIP_LIMIT = 10_000
"""To how many organizations a person can belong and still reach all of them here."""

FORM_SECONDS = 12 * 3600
"""How long the sign-in page may stay open before its form is refused."""


class Console:
    """What every page needs: the services, the settings, and the templates in each language."""

    def __init__(self, suite: Suite, settings: Settings) -> None:
        self.suite = suite
        self.meter = suite.meter
        self.forecasts = Forecasts(suite.meter)
        self.people = suite.people
        self.settings = settings
        self.cookies = security.Cookies(settings)
        self.assets = Assets()
        self._environments = {language: _environment(language, self.assets) for language in LANGUAGES}
        self._templates = frozenset(self._environments[DEFAULT_LANGUAGE].list_templates())

    def render(self, language: str, template: str, context: Mapping[str, Any]) -> str:
        """Return a template filled in."""
        return self._environments[language].get_template(template).render(context)

    def part_of(self, template: str) -> str:
        """Return the part of a page's template that changes, in `parts/`; the whole where it has none."""
        part = f"parts/{template}.html.j2"
        return part if part in self._templates else f"{template}.html.j2"

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
        self.is_embedded = False
        chosen = request.cookies.get(LANGUAGE_COOKIE, "") or (session.language if session and session.language else "")
        self.language = chosen if chosen in LANGUAGES else preferred_language(request.headers.get("accept-language", ""))
        self.zone_name = request.cookies.get(ZONE_COOKIE, UTC_NAME)
        if session is not None and session.zone and self.zone_name != UTC_NAME:
            self.zone_name = session.zone  # a zone that was chosen goes before the device's own; UTC stays one click away
        self._form_cookie = request.cookies.get(console.cookies.form, "")
        self._form_secret = session.csrf_token if session else self._form_cookie or security.fresh_secret()

    @property
    def is_fragment(self) -> bool:
        """Whether only the part of the page that changes is wanted."""
        return FRAGMENT_HEADER in self.request.headers and WHOLE_HEADER not in self.request.headers

    @property
    def current_path(self) -> str:
        """Path and query of the page on show, as a script that asks for a part of it says; empty where none does."""
        try:
            parts = urlsplit(self.request.headers.get("hx-current-url", ""))
        except ValueError:
            return ""
        return parts.path + (f"?{parts.query}" if parts.query else "")

    @cached_property
    def memberships(self) -> tuple[Membership, ...]:
        """The organizations the person belongs to; none where nobody is signed in."""
        return self.console.people.organizations_of(self.session.person, limit=MEMBERSHIP_LIMIT) if self.session else ()

    @cached_property
    def principal(self) -> Principal:
        """Who asks, and what they may do. Raises AccessDenied where nobody is signed in."""
        if self.session is None:
            raise CredentialsInvalid
        return principal_of(self.session.person, self.memberships, source=self.source)

    @property
    def source(self) -> str:
        """The network address that is asked from."""
        return self.request.client.host if self.request.client else ""

    @property
    def agent(self) -> str:
        """What the browser calls itself."""
        return self.request.headers.get("user-agent", "")

    @property
    def is_platform(self) -> bool:
        """Whether a platform administrator asks."""
        return self.session is not None and self.session.person.is_platform_admin

    def may(self, scope: Scope | str, organization_id: str | None = None) -> bool:
        """Return whether who asks may do something in an organization; None asks for the whole platform."""
        return self.session is not None and self.principal.may(Scope(scope), organization_id)

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
            self.console.part_of(template) if self.is_fragment else f"{template}.html.j2",
            {
                "visit": self,
                "person": self.session.person if self.session else None,
                "csrf_token": security.mask(self._form_secret),
                "here": self.request.url.path + (f"?{self.request.url.query}" if self.request.url.query else ""),
                **context,
            },
        )
        response = HTMLResponse(body, status, dict(headers or {}))
        if not self.is_fragment and SAID_COOKIE in self.request.cookies:
            self.console.cookies.drop(response, SAID_COOKIE)
        return response

    def say(self, response: Response, said: str, about: str = "") -> None:
        """Have the next whole page of this visitor say something: a code of `said.html.j2` and what it is about."""
        self.console.cookies.put(response, SAID_COOKIE, f"{said}~{quote(about, safe='')}", seconds=60)

    @property
    def said(self) -> tuple[str, str] | None:
        """What this page has to say of what was just done."""
        code, _, about = self.request.cookies.get(SAID_COOKIE, "").partition("~")
        return (code, unquote(about)[:200]) if code.isidentifier() and len(code) < 40 else None

    def form_page(self, template: str, **answer: Any) -> Response:
        """Return a page with a form for somebody who is not signed in: their cookie carries the form's secret too."""
        response = self.page(template, **answer)
        self.console.cookies.put(response, self.console.cookies.form, self._form_secret, seconds=FORM_SECONDS)
        return response


def console_of(request: Request) -> Console:
    """Return the console a request was sent to."""
    console: Console = request.app.state.console
    return console


def in_place(address: str, focus: str) -> Markup:
    """Return the attributes of a link that changes its page in place, and then moves the focus to the element of an id."""
    return Markup('href="{0}" hx-get="{0}" hx-target="#page" hx-push-url="true" hx-sync="#page:replace" data-swap="{1}"').format(
        address, focus
    )


def form_in_place(address: str, focus: str) -> Markup:
    """Return the attributes of a form of GET parameters that changes its page in place."""
    return Markup('action="{0}" hx-get="{0}" hx-target="#page" hx-push-url="true" hx-sync="#page:replace" data-swap="{1}"').format(
        address, focus
    )


def in_dialog(address: str) -> Markup:
    """Return the attributes of a link that opens a form in front of the page it is on."""
    return Markup('href="{0}" hx-get="{0}" hx-target="#dialog" hx-swap="innerHTML" data-dialog').format(address)


@jinja2.pass_context
def described(context: jinja2.runtime.Context, name: str, hint: str = "") -> Markup:
    """Return the attributes of a field that tie it to its problem, where it has one, and to its hint."""
    if name in context["problems"]:
        return Markup(' aria-invalid="true" aria-describedby="{}"').format(f"{name}-wrong {hint}".strip())
    return Markup(' aria-describedby="{}"').format(hint) if hint else Markup("")


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
        "in_place": in_place,
        "in_dialog": in_dialog,
        "form_in_place": form_in_place,
        "described": described,
    }
    return environment
