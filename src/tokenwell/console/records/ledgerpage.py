"""The Usage Ledger by any filter: a page with the sum of exactly this filter, and the whole of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tokenwell.console.filters import RANGES, VALUES, Sieve
from tokenwell.console.formats import Formats
from tokenwell.console.frame import frame_of, organization_of, path_of, reads, signed_in
from tokenwell.console.presenters import pack_label
from tokenwell.console.records.ledger import line_view
from tokenwell.console.visits import Visit
from tokenwell.core.journal import ESTIMATED, LATE
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.records.browsing import Dimension, LedgerFilter
from tokenwell.service.shapes import LedgerLine

LINES_A_PAGE = 50
LINES_A_PIECE = 500
CHOICES = 20
"""How many values of a filter are offered; others are typed."""

CHOICE_DAYS = 30
COLUMNS = (
    "time", "kind", "change_tokens", "amount_tokens", "prompt_tokens", "completion_tokens", "model", "session", "reason", "service",
    "key", "pack", "request", "part", "parts", "balance_after_tokens", "estimated", "late", "note", "line",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _asked(visit: Visit, organization_id: str, sieve: Sieve, formats: Formats) -> LedgerFilter:
    """Return the filter of an address. What was searched for is a request where there is one of that name, else a session."""
    asked = sieve.asked(formats)
    if not sieve.find:
        return asked
    by_request = sieve.asked(formats, finds_request=True)
    try:
        return by_request if visit.console.suite.browsing.ledger(organization_id, by_request, limit=1).items else asked
    except RequestInvalid:
        return asked


def read_ledger(visit: Visit) -> dict[str, Any]:
    """Return what the ledger's page shows."""
    organization = organization_of(visit, Scope.LEDGER_READ)
    formats = visit.formats(visit.console.meter.clock())
    sieve = Sieve.of(visit.request.query_params)
    asked = _asked(visit, organization.id, sieve, formats)
    browsing = visit.console.suite.browsing
    seq = visit.console.meter.balance(organization.id).seq
    page = browsing.ledger(organization.id, asked, cursor=sieve.cursor, limit=LINES_A_PAGE)
    return (
        frame_of(visit, organization)
        | ledger_context(organization.id, sieve)
        | {
            "f": formats,
            "lines": [line_view(line) for line in page.items],
            "sums": browsing.sums(organization.id, asked),
            "ledger_cursor": page.next_cursor,
            "seq": seq,
            "is_first_ledger_page": sieve.cursor is None,
        }
    )


def ledger_context(organization_id: str, sieve: Sieve) -> dict[str, Any]:
    """Return what the filters above a ledger show."""
    path = path_of(organization_id, "ledger")
    return {
        "sieve": sieve,
        "value_names": VALUES,
        "ranges": RANGES,
        "ledger_link": lambda **changes: sieve.link(path, **changes),
        "ledger_link_to": lambda page, **changes: sieve.link(f"{path}/{page}", **changes),
        "export_link": sieve.link(f"{path}.csv"),
    }


def read_values(visit: Visit) -> dict[str, Any]:
    """Return the values that a filter offers: those with the most usage of late."""
    organization = organization_of(visit, Scope.LEDGER_READ)
    formats = visit.formats(visit.console.meter.clock())
    try:
        dimension = Dimension(visit.request.query_params.get("of", ""))
    except ValueError:
        raise RequestInvalid("there is no such filter", field="of") from None
    usage = visit.console.suite.browsing.usage(
        organization.id,
        since=formats.midnight(CHOICE_DAYS - 1),
        until=formats.midnight(-1),
        zone=formats.zone_name,
        by=dimension,
        limit=CHOICES,
    )
    sieve = Sieve.of(visit.request.query_params)
    return (
        frame_of(visit, organization)
        | ledger_context(organization.id, sieve)
        | {
            "name": dimension.value,
            "values": [series.value for series in usage.series if series.value],
            "current": sieve.values.get(dimension.value, ""),
        }
    )


async def export(visit: Visit) -> Response:
    """Stream every line of a filter as CSV, however many there are."""
    organization, asked = await run_in_threadpool(_exported, visit)
    lines = visit.console.suite.browsing.export(organization.id, asked)
    name = f"ledger-{organization.id}-{visit.console.meter.clock():%Y-%m-%d}.csv"
    return StreamingResponse(
        written(lines), media_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _exported(visit: Visit) -> Any:
    organization = organization_of(visit, Scope.LEDGER_READ)
    formats = visit.formats(visit.console.meter.clock())
    asked = _asked(visit, organization.id, Sieve.of(visit.request.query_params), formats)
    visit.console.suite.browsing.ledger(organization.id, asked, limit=1)  # what is wrong with it is told before the first byte
    return organization, asked


def written(lines: Iterator[LedgerLine]) -> Iterator[bytes]:
    """Yield lines as CSV, some hundred at a time, after a byte order mark that spreadsheets want."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    target.write("\ufeff")
    writer.writerow(COLUMNS)
    for number, line in enumerate(lines, 1):
        writer.writerow(_row(line))
        if number % LINES_A_PIECE == 0:
            yield target.getvalue().encode()
            target.seek(0)
            target.truncate()
    yield target.getvalue().encode()


def _row(line: LedgerLine) -> list[Any]:
    entry = line.entry
    return [
        f"{entry.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        entry.kind.value,
        entry.balance_change_tokens,
        entry.amount_tokens,
        entry.prompt_tokens,
        entry.completion_tokens,
        *(_text(text) for text in (entry.model, entry.session, entry.reason, entry.service_id, entry.key_id)),
        "" if line.pack_number is None else pack_label(line.pack_number),
        _text(entry.request_id),
        entry.part,
        entry.parts,
        entry.balance_after_tokens,
        int(bool(entry.flags & ESTIMATED)),
        int(bool(entry.flags & LATE)),
        _text(entry.note),
        entry.seq,
    ]


def _text(text: str | None) -> str:
    """Return a text of others so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text and text.startswith(_FORMULA) else text or ""


ROUTES = [
    Route("/o/{organization}/ledger", reads("ledger", read_ledger)),
    Route("/o/{organization}/ledger.csv", signed_in(export)),
    Route("/o/{organization}/ledger/values", reads("values", read_values)),
]
