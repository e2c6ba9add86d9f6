"""The bell: the panel it opens, with the latest alerts. Without a script it is a link to the alerts page."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.forms import checked_form
from tokenwell.console.frame import frame_of, home_of, signed_in
from tokenwell.console.notices.alertrows import row_of, words_of
from tokenwell.console.visits import Visit
from tokenwell.service.access.scopes import Scope

SHOWN = 8
"""How many alerts the panel shows."""


async def show(visit: Visit) -> Response:
    """Show the panel; as a page of its own it is the alerts page."""
    context = await run_in_threadpool(read_bell, visit)
    return visit.page("bell", **context) if visit.is_fragment else RedirectResponse(context["bell"].path, 303)


def read_bell(visit: Visit) -> dict[str, Any]:
    """Return what the panel shows."""
    home, organization = home_of(visit, Scope.ALERTS_READ)
    assert visit.session is not None
    frame = frame_of(visit, organization)
    told = visit.console.suite.inbox.bell(home, visit.session.person.id, limit=SHOWN)
    words = words_of(visit, frame["f"])
    return frame | {"told": told, "rows": [row_of(each, words) for each in told.latest]}


async def mark(visit: Visit) -> Response:
    """Note that the person has read one alert, or all, and show the panel again."""
    form = await checked_form(visit)
    await run_in_threadpool(_mark, visit, form.get("event", ""))
    return await show(visit)


def _mark(visit: Visit, event_id: str) -> None:
    home, _ = home_of(visit, Scope.ALERTS_READ)
    assert visit.session is not None
    inbox, person_id = visit.console.suite.inbox, visit.session.person.id
    unread = [each.id for each in inbox.unread(home, person_id)]
    inbox.mark_read(home, person_id, [each for each in unread if event_id in ("all", each)])


ROUTES = [
    Route("/admin/bell", signed_in(show), methods=["GET"]),
    Route("/admin/bell", signed_in(mark), methods=["POST"]),
    Route("/o/{organization}/bell", signed_in(show), methods=["GET"]),
    Route("/o/{organization}/bell", signed_in(mark), methods=["POST"]),
]
