"""The pages of an organization: AI Resource Packs with its ledger, and the receipt of a request."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.formats import Formats
from tokenwell.console.frame import frame_of, organization_of, path_of, reads, signed_in
from tokenwell.console.ledger import line_view, receipt_view
from tokenwell.console.listing import Asked, read_listing
from tokenwell.console.presenters import UsageRow, balance_view, next_expiry, packs_view, usage_row
from tokenwell.console.visits import Visit
from tokenwell.service.access import Scope
from tokenwell.service.meter import Meter

LINES_A_PAGE = 50
USAGE_DAYS = (1, 7, 30)


async def home(visit: Visit) -> Response:
    """Go to the first organization of the person; a platform administrator of several goes to their list."""
    assert visit.session is not None
    person, console = visit.session.person, visit.console
    memberships = await run_in_threadpool(console.people.organizations_of, person, limit=1)
    if memberships:
        return RedirectResponse(path_of(memberships[0].organization_id), 303)
    if person.is_platform_admin:
        first = await run_in_threadpool(console.meter.organizations, limit=2)
        return RedirectResponse(path_of(first.items[0].id) if len(first.items) == 1 else "/admin", 303)
    return visit.page("message", code="no_organization")


def _read_packs(visit: Visit) -> dict[str, Any]:
    """Return what the packs page shows, from one thread: a few short reads, none of which waits for a writer."""
    meter = visit.console.meter
    organization = organization_of(visit, Scope.PACKS_READ)
    asked = Asked.of(visit.request.query_params)
    balance = meter.balance(organization.id)
    formats = visit.formats(balance.as_of)
    listing = read_listing(meter, organization.id, asked)
    active = listing.active or ()
    ledger = meter.ledger(organization.id, cursor=asked.ledger_cursor, limit=LINES_A_PAGE)
    return frame_of(visit, organization) | {
        "f": formats,
        "link": asked.link,
        "balance": balance_view(balance, active, listing.total),
        "usage": _read_usage(meter, organization.id, formats),
        "expiry": next_expiry(active, balance.as_of),
        "is_expiry_known": listing.active is not None,
        "packs": packs_view(
            listing.lines,
            counts=listing.counts,
            selected=listing.status,
            is_whole=listing.is_whole,
            in_use=active[0] if active else None,
            now=balance.as_of,
        ),
        "packs_cursor": listing.next_cursor,
        "is_first_packs_page": asked.packs_cursor is None,
        "lines": [line_view(line) for line in ledger.items],
        "ledger_cursor": ledger.next_cursor,
        "is_first_ledger_page": asked.ledger_cursor is None,
    }


def _read_usage(meter: Meter, organization_id: str, formats: Formats) -> list[UsageRow]:
    until = formats.midnight(days_ago=-1)
    return [
        usage_row(days, meter.usage_totals(organization_id, since=formats.midnight(days_ago=days - 1), until=until))
        for days in USAGE_DAYS
    ]


def _read_receipt(visit: Visit) -> dict[str, Any]:
    organization = organization_of(visit, Scope.LEDGER_READ)
    row = visit.request.query_params.get("row", "")
    lines = visit.console.meter.request(organization.id, visit.request.query_params.get("id", ""))
    return frame_of(visit, organization) | {
        "receipt": receipt_view(lines),
        "row": row if visit.is_fragment and row.isascii() and row.isdigit() else "",
    }


ROUTES = [
    Route("/", signed_in(home)),
    Route("/o/{organization}", reads("packs", _read_packs)),
    Route("/o/{organization}/request", reads("receipt", _read_receipt)),
]
