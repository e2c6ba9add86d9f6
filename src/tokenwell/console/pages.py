"""The pages behind sign-in: AI Resource Packs with its ledger, the receipt of a request, and the platform's organizations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tokenwell.console.formats import Formats
from tokenwell.console.ledger import line_view, receipt_view
from tokenwell.console.listing import Asked, read_listing
from tokenwell.console.presenters import UsageRow, balance_view, next_expiry, packs_view, usage_row
from tokenwell.console.visits import Visit, console_of
from tokenwell.core.identifiers import check_organization_id
from tokenwell.errors import RequestInvalid
from tokenwell.service.meter import Meter
from tokenwell.service.ports import Organization

LINES_A_PAGE = 50
ORGANIZATIONS_A_PAGE = 25
USAGE_DAYS = (1, 7, 30)

Handler = Callable[[Request], Awaitable[Response]]
Page = Callable[[Visit], Awaitable[Response]]


def signed_in(page: Page) -> Handler:
    """Return the handler of a page that only people who are signed in see; others are sent to sign in, scripts get a 401."""

    async def handler(request: Request) -> Response:
        visit = await console_of(request).visit(request)
        if visit.session is not None:
            return await page(visit)
        if visit.is_fragment:
            raise HTTPException(401)
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse("/sign-in" if here == "/" else f"/sign-in?{urlencode({'next': here})}", 303)

    return handler


async def home(visit: Visit) -> Response:
    """Go to the first organization of the person; a platform administrator of several goes to their list."""
    assert visit.session is not None
    person, console = visit.session.person, visit.console
    memberships = await run_in_threadpool(console.people.organizations_of, person, limit=1)
    if memberships:
        return RedirectResponse(_path_of(memberships[0].organization_id), 303)
    if person.is_platform_admin:
        first = await run_in_threadpool(console.meter.organizations, limit=2)
        return RedirectResponse(_path_of(first.items[0].id) if len(first.items) == 1 else "/platform", 303)
    return visit.page("message", code="no_organization")


def _path_of(organization_id: str) -> str:
    return f"/o/{quote(organization_id, safe='')}"


async def packs(visit: Visit) -> Response:
    """Show an organization's balance, packs and ledger."""
    context = await run_in_threadpool(_read_packs, visit)
    return visit.page("packs", **context)


async def receipt(visit: Visit) -> Response:
    """Show one request with all its lines."""
    context = await run_in_threadpool(_read_receipt, visit)
    return visit.page("receipt", **context)


async def platform(visit: Visit) -> Response:
    """Show a platform administrator every organization; for others there is no such page."""
    assert visit.session is not None
    if not visit.session.person.is_platform_admin:
        raise HTTPException(404)
    context = await run_in_threadpool(_read_platform, visit)
    return visit.page("platform", **context)


def _organization(visit: Visit) -> Organization:
    """Return the organization of the address. Raises HTTPException 404 where there is none that the person may see."""
    assert visit.session is not None
    organization_id = visit.request.path_params["organization"]
    try:
        check_organization_id(organization_id)
    except RequestInvalid:
        raise HTTPException(404) from None
    if not visit.console.people.may_read(visit.session.person, organization_id):
        raise HTTPException(404)
    return visit.console.meter.organization(organization_id)


def _frame(visit: Visit, organization: Organization | None) -> dict[str, Any]:
    """Return what the frame around every page shows: where the person is and where else they may go."""
    assert visit.session is not None
    if visit.is_fragment:
        return {"organization": organization}
    memberships = visit.console.people.organizations_of(visit.session.person)
    return {"organization": organization, "memberships": memberships}


def _read_packs(visit: Visit) -> dict[str, Any]:
    """Return what the packs page shows, from one thread: a few short reads, none of which waits for a writer."""
    meter = visit.console.meter
    organization = _organization(visit)
    asked = Asked.of(visit.request.query_params)
    balance = meter.balance(organization.id)
    formats = visit.formats(balance.as_of)
    listing = read_listing(meter, organization.id, asked)
    active = listing.active or ()
    ledger = meter.ledger(organization.id, cursor=asked.ledger_cursor, limit=LINES_A_PAGE)
    return _frame(visit, organization) | {
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
    organization = _organization(visit)
    lines = visit.console.meter.request(organization.id, visit.request.query_params.get("id", ""))
    return _frame(visit, organization) | {"f": visit.formats(visit.console.meter.clock()), "receipt": receipt_view(lines)}


def _read_platform(visit: Visit) -> dict[str, Any]:
    meter = visit.console.meter
    cursor = visit.request.query_params.get("after")
    if cursor is not None:
        check_organization_id(cursor)
    page = meter.organizations(cursor=cursor, limit=ORGANIZATIONS_A_PAGE)
    return _frame(visit, None) | {
        "f": visit.formats(meter.clock()),
        "rows": [(each, meter.balance(each.id)) for each in page.items],
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
    }
