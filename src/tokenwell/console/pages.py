"""The pages of an organization: AI Resource Packs with its ledger, and the receipt of a request."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.banner import expiring_soon, notices
from tokenwell.console.filters import Sieve
from tokenwell.console.formats import Formats
from tokenwell.console.frame import frame_of, organization_of, path_of, reads, signed_in
from tokenwell.console.listing import USAGE_RANGE, USAGE_RANGES, Asked, Listing, read_listing
from tokenwell.console.outlook import PAST_DAYS, outlook_view
from tokenwell.console.presenters import UsageRow, balance_view, next_expiry, packs_view, usage_row
from tokenwell.console.records.ledger import line_view, receipt_view
from tokenwell.console.records.ledgerpage import ledger_context
from tokenwell.console.records.usagepage import DRAWN, Chart, chart_of
from tokenwell.console.supply.purchasepages import offers_of
from tokenwell.console.supply.topuppages import request_state
from tokenwell.console.visits import Visit
from tokenwell.core.forecast import Forecast
from tokenwell.core.health import State, Thresholds
from tokenwell.core.journal import EntryKind
from tokenwell.core.receipts import Balance
from tokenwell.service.access.scopes import Scope
from tokenwell.service.ports import Organization
from tokenwell.service.records.browsing import Dimension
from tokenwell.service.shapes import UsageTotals

LINES_A_PAGE = 50
USAGE_DAYS = (1, 7, 30)
RESUMING_TOKENS = 5_000_000
"""The pack that is always among those that would resume AI."""


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
    """Return what the packs page shows."""
    return packs_context(visit, organization_of(visit, Scope.PACKS_READ))


def packs_context(visit: Visit, organization: Organization) -> dict[str, Any]:
    """Return what the packs page of an organization shows: a few short reads, none of which waits for a writer."""
    meter, suite = visit.console.meter, visit.console.suite
    asked = Asked.of(visit.request.query_params)
    balance = meter.balance(organization.id)
    formats = visit.formats(balance.as_of)
    listing = read_listing(suite, organization.id, asked)
    ledger = meter.ledger(organization.id, cursor=asked.ledger_cursor, limit=LINES_A_PAGE)
    return (
        frame_of(visit, organization)
        | ledger_context(organization.id, Sieve.of(QueryParams()))
        | _read_top(visit, balance, listing, formats)
        | {
            "f": formats,
            "link": asked.link,
            "sells": not visit.is_embedded and bool(offers_of(visit)),
            "emergency_tokens": suite.emergencies.offered(balance),
            "packs": packs_view(listing, balance.as_of),
            "packs_cursor": listing.next_cursor,
            "is_first_packs_page": asked.packs_cursor is None,
            "chart": _read_chart(visit, organization.id, asked, formats),
            "usage_range": asked.usage_range or USAGE_RANGE,
            "usage_ranges": USAGE_RANGES,
            "lines": [line_view(line) for line in ledger.items],
            "sums": suite.browsing.sums(organization.id),
            "ledger_cursor": ledger.next_cursor,
            "is_first_ledger_page": asked.ledger_cursor is None,
            "seq": balance.seq,
        }
    )


def _read_top(visit: Visit, balance: Balance, listing: Listing, formats: Formats) -> dict[str, Any]:
    """Return what stands above the packs: the balance, what was used, and the outlook."""
    suite = visit.console.suite
    view = balance_view(balance, listing.outstanding.largest, listing.total)
    told = visit.console.forecasts.of(balance) if listing.total else None
    instants = [formats.midnight(days) for days in range(PAST_DAYS - 1, -1, -1)]
    past = suite.backward.balances(balance.organization_id, instants) if told else []
    lines = Thresholds(balance.warning_tokens, balance.reserve_tokens)
    used, week_tokens = _read_usage(visit, balance.organization_id, formats)
    request, expiring = request_state(visit, balance), expiring_soon(listing.active, told, balance.as_of)
    return {
        "balance": view,
        "expiry": next_expiry(listing.outstanding, balance.as_of),
        "usage": used,
        "used_today": used[0].used_tokens,
        "week_average": -(-week_tokens // 7),
        "outlook": None if told is None else outlook_view(told, past, balance.balance_tokens, lines),
        "topup_state": request,
        "notices": notices(
            view,
            stops_at=None if told is None else told.expected.ai_stops_at,
            stopped_at=_stopped_at(visit, balance) if listing.total else None,
            request=request,
            expiring=expiring,
            formats=formats,
        ),
        "expiring": expiring,
        "resumes": [] if told is None else _resumes(told, balance),
    }


def _stopped_at(visit: Visit, balance: Balance) -> datetime | None:
    """Return since when AI is stopped, where it is."""
    if balance.state is not State.AI_STOPPED:
        return None
    return visit.console.suite.backward.stopped_at(balance.organization_id, max(1, balance.reserve_tokens))


def _resumes(told: Forecast, balance: Balance) -> list[tuple[int, int]]:
    """Return packs that would resume AI, and for about how many days each."""
    sizes = sorted({RESUMING_TOKENS, told.suggested_tokens or RESUMING_TOKENS})
    rest = balance.balance_tokens - balance.overage_tokens - balance.reserve_tokens
    days = [(size, (rest + size) // told.tokens_per_day) for size in sizes if told.tokens_per_day]
    return [(size, count) for size, count in days if count >= 1]


def _read_chart(visit: Visit, organization_id: str, asked: Asked, formats: Formats) -> Chart:
    usage = visit.console.suite.browsing.usage(
        organization_id,
        since=formats.midnight(USAGE_RANGES[asked.usage_range or USAGE_RANGE] - 1),
        until=formats.midnight(-1),
        zone=formats.zone_name,
        by=Dimension.MODEL,
        limit=DRAWN,
    )
    return chart_of(usage, formats)


def _read_usage(visit: Visit, organization_id: str, formats: Formats) -> tuple[list[UsageRow], int]:
    """Return what was used today and over the days before, and in the seven days before today."""
    usage = visit.console.suite.browsing.usage(
        organization_id,
        since=formats.midnight(max(USAGE_DAYS) - 1),
        until=formats.midnight(-1),
        zone=formats.zone_name,
    )
    days = list(zip(usage.starts, usage.buckets, strict=True))

    def since(days_ago: int) -> list[UsageTotals]:
        begins = formats.midnight(days_ago)
        return [totals for start, totals in days if start >= begins]

    week_tokens = sum(day.debited_tokens for day in since(7)) - sum(day.debited_tokens for day in since(0))
    return [usage_row(count, since(count - 1)) for count in USAGE_DAYS], week_tokens


def _read_part(visit: Visit) -> dict[str, Any]:
    """Return what changes at the top of the packs page while it is open."""
    organization = organization_of(visit, Scope.PACKS_READ)
    balance = visit.console.meter.balance(organization.id)
    formats = visit.formats(balance.as_of)
    listing = read_listing(visit.console.suite, organization.id, Asked())
    return frame_of(visit, organization) | _read_top(visit, balance, listing, formats) | {"f": formats, "seq": balance.seq}


def _read_receipt(visit: Visit) -> dict[str, Any]:
    organization = organization_of(visit, Scope.LEDGER_READ)
    row = visit.request.query_params.get("row", "")
    lines = visit.console.meter.request(organization.id, visit.request.query_params.get("id", ""))
    receipt = receipt_view(lines)
    debits = [] if receipt.is_refund else [line for line in receipt.lines if line.kind is EntryKind.DEBIT]
    return frame_of(visit, organization) | {
        "receipt": receipt,
        "debits": debits,
        "disputes": visit.console.suite.disputes.of_lines(organization.id, [line.seq for line in debits]),
        "row": row if visit.is_fragment and row.isascii() and row.isdigit() else "",
    }


ROUTES = [
    Route("/", signed_in(home)),
    Route("/o/{organization}", reads("packs", _read_packs)),
    Route("/o/{organization}/top", reads("top", _read_part)),
    Route("/o/{organization}/request", reads("receipt", _read_receipt)),
]
