"""The frame: what every page behind sign-in begins with. Who may see it, of which organization it is, where else one may go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tokenwell.console.visits import Visit, console_of
from tokenwell.core.happenings import PLATFORM
from tokenwell.core.identifiers import check_organization_id
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.notices.inbox import UNREAD_LIMIT
from tokenwell.service.ports import Organization

Handler = Callable[[Request], Awaitable[Response]]
Page = Callable[[Visit], Awaitable[Response]]


def signed_in(page: Page) -> Handler:
    """Return the handler of a page that only people who are signed in see; others are sent to sign in and come back to it."""

    async def handler(request: Request) -> Response:
        visit = await console_of(request).visit(request)
        if visit.session is not None:
            return await page(visit)
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back_to = _sign_in_path(here if request.method == "GET" else visit.current_path)
        if visit.is_fragment:
            return Response(status_code=401, headers={"HX-Redirect": back_to})
        return RedirectResponse(back_to, 303)

    return handler


def reads(template: str, read: Callable[[Visit], dict[str, Any]]) -> Handler:
    """Return the handler of a page that shows `template`, filled with what `read` gives in a thread of its own."""

    async def page(visit: Visit) -> Response:
        return visit.page(template, **await run_in_threadpool(read, visit))

    return signed_in(page)


def _sign_in_path(back_to: str) -> str:
    return f"/sign-in?{urlencode({'next': back_to})}" if back_to not in ("", "/") else "/sign-in"


def path_of(organization_id: str, *rest: str) -> str:
    """Return the path of an organization's page: `path_of("acme", "packs", "PK-7")` is `/o/acme/packs/PK-7`."""
    return "/".join(["/o", *(quote(part, safe="") for part in (organization_id, *rest))])


def organization_of(visit: Visit, scope: Scope = Scope.ORGANIZATIONS_READ) -> Organization:
    """Return the organization of the address. Raises HTTPException: 404 where there is none that the person may see, 403 where
    they may see it but lack `scope`."""
    organization_id = visit.request.path_params["organization"]
    try:
        check_organization_id(organization_id)
    except RequestInvalid:
        raise HTTPException(404) from None
    if not visit.may(Scope.ORGANIZATIONS_READ, organization_id):
        raise HTTPException(404)
    organization = visit.console.meter.organization(organization_id)
    if not visit.may(scope, organization_id):
        raise HTTPException(403)
    return organization


def check_platform(visit: Visit) -> None:
    """Return if a platform administrator asks; for others the platform's pages do not exist. Raises HTTPException 404."""
    if not visit.is_platform:
        raise HTTPException(404)


def frame_of(visit: Visit, organization: Organization | None) -> dict[str, Any]:
    """Return what the frame around every page shows, and how the page writes numbers and instants.

    `organization` is None on the platform's pages, which it then keeps for platform administrators.
    """
    if organization is None:
        check_platform(visit)
    return around(visit, organization)


def around(visit: Visit, organization: Organization | None) -> dict[str, Any]:
    """Return the frame of a page that anybody who is signed in sees: `organization` is where its menu leads, where it does."""
    formats = visit.formats(visit.console.meter.clock())
    memberships = () if visit.is_fragment else visit.memberships
    return {"organization": organization, "memberships": memberships, "f": formats, "bell": bell_of(visit, organization)}


class Bell(msgspec.Struct, frozen=True, kw_only=True):
    """The bell of a page: how many alerts the person has not read there (`most` stands for so many or more), which is the newest,
    and the addresses of all of them, of the panel with the latest, and of the stream that tells of new ones."""

    unread: int
    newest_id: str
    path: str
    panel: str
    stream: str
    most: int = UNREAD_LIMIT


def bell_of(visit: Visit, organization: Organization | None) -> Bell | None:
    """Return the bell of an organization's pages, or of the platform's; None where the person reads no alerts."""
    if visit.is_embedded or visit.session is None:
        return None
    home = PLATFORM if organization is None else organization.id
    if not (visit.is_platform if organization is None else visit.may(Scope.ALERTS_READ, home)):
        return None
    unread = visit.console.suite.inbox.count_unread(home, visit.session.person.id)
    return Bell(
        unread=unread.count,
        newest_id=unread.newest_id,
        path=place_of(home, "alerts"),
        panel=place_of(home, "bell"),
        stream=place_of(home, "live"),
    )


def place_of(home: str, *rest: str) -> str:
    """Return the path of a page that organizations and the platform (PLATFORM) have alike."""
    return path_of(home, *rest) if home != PLATFORM else "/".join(["/admin", *(quote(part, safe="") for part in rest)])


def home_of(visit: Visit, scope: Scope) -> tuple[str, Organization | None]:
    """Return whose page it is by its address: an organization's, where the person has `scope`, or the platform's (PLATFORM, None).
    Raises HTTPException."""
    if "organization" in visit.request.path_params:
        organization = organization_of(visit, scope)
        return organization.id, organization
    check_platform(visit)
    return PLATFORM, None
