"""Doors: the pages for those who come in otherwise than by a password alone. Invitations, resets, set-up, the second step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.forms import checked_form
from tokenwell.console.identity.signin import sign_ins, signed_in_response
from tokenwell.console.security import local_path
from tokenwell.console.visits import Visit, console_of
from tokenwell.errors import AccessDenied, Conflict, CredentialsInvalid, LinkInvalid, RequestInvalid, SignInThrottled, SignOnFailed

STEP_PATH = "/sign-in/code"
RETURN_PATH = "/sign-in/sso/return"

_log = logging.getLogger(__name__)


def _door(visit: Visit, door: str, *, status: int = 200, problem: str = "", **context: Any) -> Response:
    fields = {"token": "", "email": "", "name": "", "next_path": "/", "is_known": False, "invitation": None, "minutes": 0}
    return visit.form_page("door", status=status, door=door, problem=problem, **(fields | context))


async def _in_line(act: Callable[[], Any]) -> Any:
    """Run what hashes passwords apart from the threads that read pages."""
    return await asyncio.get_running_loop().run_in_executor(sign_ins, act)


async def show_invitation(request: Request) -> Response:
    """Show what a link invites to."""
    visit = Visit(console_of(request), request, None)
    return await _invitation(visit, request.query_params.get("token", ""))


async def _invitation(visit: Visit, token: str, **context: Any) -> Response:
    try:
        invitation, is_known = await run_in_threadpool(visit.console.suite.invitations.find, token)
    except LinkInvalid:
        return _door(visit, "closed", status=404)
    return _door(visit, "invitation", token=token, invitation=invitation, is_known=is_known, **context)


async def accept_invitation(request: Request) -> Response:
    """Accept an invitation, and sign in."""
    visit = Visit(console_of(request), request, None)
    form = await checked_form(visit)
    token, password, name = form.get("token", ""), form.get("password", ""), form.get("name", "")
    accept = visit.console.suite.invitations.accept
    try:
        person = await _in_line(partial(accept, token, password=password, name=name, source=visit.source))
    except LinkInvalid:
        return _door(visit, "closed", status=404)
    except (RequestInvalid, AccessDenied, Conflict) as error:
        return await _invitation(visit, token, status=422, problem=_problem(error), name=name, **_wait(error))
    return await _enter(visit, person.email, password)


async def _enter(visit: Visit, email: str, password: str) -> Response:
    """Sign somebody in who has just proved who they are; who needs a second factor types their password once more."""
    try:
        people = visit.console.people
        signed_in = await _in_line(partial(people.sign_in, email, password, source=visit.source, agent=visit.agent))
    except AccessDenied:
        return RedirectResponse("/sign-in", 303)
    return signed_in_response(visit, signed_in, "/")


async def show_forgot(request: Request) -> Response:
    """Ask for the address that a reset is sent to."""
    return _door(Visit(console_of(request), request, None), "forgot")


async def ask_reset(request: Request) -> Response:
    """Say that a letter is on its way, whatever comes of it: what is done about it is not waited for."""
    visit = Visit(console_of(request), request, None)
    form = await checked_form(visit)
    base = visit.console.settings.address
    ask = partial(
        visit.console.suite.resets.ask,
        form.get("email", ""),
        source=visit.source,
        address_of=lambda token: f"{base}/reset?{urlencode({'token': token})}",
        language=visit.language,
    )
    asyncio.get_running_loop().run_in_executor(sign_ins, ask)
    return _door(visit, "asked")


async def show_reset(request: Request) -> Response:
    """Ask for another password."""
    visit, token = Visit(console_of(request), request, None), request.query_params.get("token", "")
    try:
        await run_in_threadpool(visit.console.suite.resets.check, token)
    except LinkInvalid:
        return _door(visit, "closed", status=404)
    return _door(visit, "reset", token=token)


async def reset(request: Request) -> Response:
    """Set the password that was chosen; one signs in with it then."""
    visit = Visit(console_of(request), request, None)
    form = await checked_form(visit)
    token = form.get("token", "")
    try:
        await _in_line(partial(visit.console.suite.resets.reset, token, form.get("password", ""), source=visit.source))
    except LinkInvalid:
        return _door(visit, "closed", status=404)
    except RequestInvalid as error:
        return _door(visit, "reset", status=422, problem=_problem(error), token=token)
    response = RedirectResponse("/sign-in", 303)
    visit.say(response, "password_changed")
    return response


async def show_set_up(request: Request) -> Response:
    """Let in whoever holds the token that the server printed, while nobody administers the platform."""
    visit = Visit(console_of(request), request, None)
    if not await run_in_threadpool(visit.console.suite.first_run.is_open):
        raise HTTPException(404)
    return _door(visit, "set_up")


async def set_up(request: Request) -> Response:
    """Make the first administrator, and sign them in."""
    visit = Visit(console_of(request), request, None)
    form = await checked_form(visit)
    typed = {name: form.get(name, "") for name in ("token", "email", "name")}
    act = visit.console.suite.first_run.set_up
    try:
        person = await _in_line(
            partial(
                act,
                typed["token"],
                email=typed["email"],
                name=typed["name"],
                password=form.get("password", ""),
                source=visit.source,
            )
        )
    except (RequestInvalid, AccessDenied, Conflict, LinkInvalid) as error:
        return _door(visit, "set_up", status=422, problem=_problem(error), **typed, **_wait(error))
    return await _enter(visit, person.email, form.get("password", ""))


async def show_code(request: Request) -> Response:
    """Ask for a code of the second factor."""
    visit = Visit(console_of(request), request, None)
    if not request.cookies.get(visit.console.cookies.step):
        return RedirectResponse("/sign-in", 303)
    return _door(visit, "code", next_path=local_path(request.query_params.get("next")))


async def sign_in_with_code(request: Request) -> Response:
    """Check the code, and open the session."""
    visit = Visit(console_of(request), request, None)
    form, cookies = await checked_form(visit), visit.console.cookies
    next_path, step = local_path(form.get("next")), request.cookies.get(cookies.step, "")
    check = partial(
        visit.console.suite.second_factors.sign_in,
        step,
        form.get("code", ""),
        source=visit.source,
        agent=visit.agent,
        replaces=request.cookies.get(cookies.session),
    )
    try:
        signed_in = await run_in_threadpool(check)
    except LinkInvalid:
        return RedirectResponse(f"/sign-in?{urlencode({'next': next_path})}", 303)
    except (CredentialsInvalid, SignInThrottled) as error:
        status = 429 if isinstance(error, SignInThrottled) else 401
        return _door(visit, "code", status=status, problem=_problem(error), next_path=next_path, **_wait(error))
    response = signed_in_response(visit, signed_in, next_path)
    cookies.drop(response, cookies.step)
    return response


def _problem(error: AccessDenied | Conflict | LinkInvalid | RequestInvalid) -> str:
    return f"invalid_{error.details['field']}" if isinstance(error, RequestInvalid) and "field" in error.details else error.code


def _wait(error: Exception) -> dict[str, int]:
    seconds = int(error.details["retry_after_seconds"]) if isinstance(error, SignInThrottled) else 0
    return {"minutes": -(-seconds // 60)}


async def begin_sign_on(request: Request) -> Response:
    """Send the browser to the provider of single sign-on."""
    visit = Visit(console_of(request), request, None)
    sign_on = visit.console.suite.sign_on
    if sign_on is None:
        raise HTTPException(404)
    next_path = local_path(request.query_params.get("next"))
    begin = partial(sign_on.begin, redirect_uri=visit.console.settings.address + RETURN_PATH, next_path=next_path)
    try:
        begun = await run_in_threadpool(begin)
    except SignOnFailed as error:
        return _sign_on_failed(visit, error)
    response = RedirectResponse(begun.address, 303)
    visit.console.cookies.put(response, visit.console.cookies.step, begun.sealed, seconds=600)
    return response


async def finish_sign_on(request: Request) -> Response:
    """Let in who comes back from the provider."""
    visit = Visit(console_of(request), request, None)
    sign_on, query, cookies = visit.console.suite.sign_on, request.query_params, visit.console.cookies
    if sign_on is None:
        raise HTTPException(404)
    finish = partial(
        sign_on.finish,
        request.cookies.get(cookies.step, ""),
        code=query.get("code", ""),
        state=query.get("state", ""),
        issuer=query.get("iss"),
        source=visit.source,
        agent=visit.agent,
        replaces=request.cookies.get(cookies.session),
    )
    try:
        signed_in, next_path = await run_in_threadpool(finish)
    except SignOnFailed as error:
        return _sign_on_failed(visit, error)
    response = signed_in_response(visit, signed_in, next_path)
    cookies.drop(response, cookies.step)
    return response


def _sign_on_failed(visit: Visit, error: SignOnFailed) -> Response:
    _log.warning("single sign-on failed: %s %s", error.message, error.details)
    return visit.form_page("sign_in", status=401, next_path="/", email="", problem="sign_on", minutes=0)


ROUTES = [
    Route("/sign-in/sso", begin_sign_on),
    Route(RETURN_PATH, finish_sign_on),
    Route("/invitation", show_invitation, methods=["GET"]),
    Route("/invitation", accept_invitation, methods=["POST"]),
    Route("/forgot", show_forgot, methods=["GET"]),
    Route("/forgot", ask_reset, methods=["POST"]),
    Route("/reset", show_reset, methods=["GET"]),
    Route("/reset", reset, methods=["POST"]),
    Route("/set-up", show_set_up, methods=["GET"]),
    Route("/set-up", set_up, methods=["POST"]),
    Route(STEP_PATH, show_code, methods=["GET"]),
    Route(STEP_PATH, sign_in_with_code, methods=["POST"]),
]
