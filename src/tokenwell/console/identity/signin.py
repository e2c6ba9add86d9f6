"""Signing in and out, and the choice of a language."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.catalogue import LANGUAGES
from tokenwell.console.forms import checked_form
from tokenwell.console.security import local_path
from tokenwell.console.visits import LANGUAGE_COOKIE, Visit, console_of
from tokenwell.errors import CredentialsInvalid, SecondFactorNeeded, SignInThrottled
from tokenwell.service.identity.people import SignedIn

LANGUAGE_SECONDS = 365 * 24 * 3600
STEP_SECONDS = 300

_log = logging.getLogger(__name__)
sign_ins = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sign-in")
"""Where passwords are checked: apart from the threads that read pages, which a flood of sign-ins must not hold up."""


async def show(request: Request) -> Response:
    """Show the sign-in page; who is signed in already goes on."""
    visit = await console_of(request).visit(request)
    next_path = local_path(request.query_params.get("next"))
    if visit.session is not None:
        return RedirectResponse(next_path, 303)
    return visit.form_page("sign_in", next_path=next_path, email="", problem="", minutes=0)


async def sign_in(request: Request) -> Response:
    """Check address and password, and open a session in place of any the browser had."""
    console = console_of(request)
    visit = Visit(console, request, None)
    form = await checked_form(visit)
    email, next_path = form.get("email", ""), local_path(form.get("next"))
    source = request.client.host if request.client else "unknown"
    check = partial(
        console.people.sign_in,
        email,
        form.get("password", ""),
        source=source,
        agent=visit.agent,
        replaces=request.cookies.get(console.cookies.session),
    )
    try:
        signed_in = await asyncio.get_running_loop().run_in_executor(sign_ins, check)
    except CredentialsInvalid:
        return visit.form_page("sign_in", status=401, next_path=next_path, email=email, problem="credentials", minutes=0)
    except SecondFactorNeeded as needed:
        response = RedirectResponse(f"/sign-in/code?{urlencode({'next': next_path})}", 303)
        console.cookies.put(response, console.cookies.step, needed.details["step"], seconds=STEP_SECONDS)
        return response
    except SignInThrottled as refusal:
        seconds = int(refusal.details["retry_after_seconds"])
        _log.warning("sign-in throttled from %s", source)
        return visit.form_page(
            "sign_in",
            status=429,
            headers={"Retry-After": str(seconds)},
            next_path=next_path,
            email=email,
            problem="throttled",
            minutes=-(-seconds // 60),
        )
    return signed_in_response(visit, signed_in, next_path)


def signed_in_response(visit: Visit, signed_in: SignedIn, next_path: str) -> Response:
    """Return the answer that lets somebody in: the session's cookie, and the page they wanted."""
    _log.info("%s signed in", signed_in.person.id)
    response = RedirectResponse(next_path, 303)
    cookies, lifetime = visit.console.cookies, signed_in.expires_at - visit.console.meter.clock()
    cookies.put(response, cookies.session, signed_in.token, seconds=int(lifetime.total_seconds()))
    cookies.drop(response, cookies.form)
    return response


async def sign_out(request: Request) -> Response:
    """End this session, or (`everywhere`) every session of the person."""
    console = console_of(request)
    visit = await console.visit(request)
    response = RedirectResponse("/sign-in", 303)
    token = request.cookies.get(console.cookies.session)
    if token is None:
        return response  # perhaps another site's form, which comes without our cookie: it must not delete it
    if visit.session is not None:
        form = await checked_form(visit)
        if form.get("everywhere"):
            await run_in_threadpool(console.people.sign_out_everywhere, visit.session.person.id)
        else:
            await run_in_threadpool(console.people.sign_out, token)
    console.cookies.drop(response, console.cookies.session)
    return response


async def choose_language(request: Request) -> Response:
    """Keep the chosen language in a cookie and go back to the page it was chosen on."""
    console = console_of(request)
    visit = await console.visit(request)
    form = await checked_form(visit)
    language = form.get("language", "")
    if language not in LANGUAGES:
        raise HTTPException(400)
    response = RedirectResponse(local_path(form.get("next")), 303)
    console.cookies.put(response, LANGUAGE_COOKIE, language, seconds=LANGUAGE_SECONDS)
    return response


ROUTES = [
    Route("/sign-in", show, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
    Route("/language", choose_language, methods=["POST"]),
]
