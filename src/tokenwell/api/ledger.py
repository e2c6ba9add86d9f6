"""Ledger: the Usage Ledger by any filter, as pages or as streams of any size, its sums, sessions, usage, and the journal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads
from tokenwell.api.repeating import Operations
from tokenwell.api.views import journal_view, ledger_view, usage_view
from tokenwell.api.wire import encode, shaped
from tokenwell.client import shapes
from tokenwell.core.instants import parse_instant
from tokenwell.core.journal import EntryKind
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.records.browsing import Dimension, LedgerFilter, UsageFilter, Width
from tokenwell.service.shapes import LedgerLine

router = Operations(prefix="/v1/organizations/{organization_id}", tags=["Ledger and usage"])

NDJSON_TYPE = "application/x-ndjson"
CSV_TYPE = "text/csv"
CHUNK_LINES = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    """How ledger lines are given."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


def _filter(
    since: Annotated[str | None, Query(description="Lines at or after this instant.")] = None,
    until: Annotated[str | None, Query(description="Lines before this instant.")] = None,
    model: Annotated[str | None, Query(description="Lines of this model.")] = None,
    session: Annotated[str | None, Query(description="Lines of this session.")] = None,
    reason: Annotated[str | None, Query(description="Lines with this reason.")] = None,
    pack: Annotated[str | None, Query(description="Lines of this pack: its id, or its number (`PK-7`).")] = None,
    service: Annotated[str | None, Query(description="Lines of this AI service, by id.")] = None,
    key: Annotated[str | None, Query(description="Lines of this gateway key, by id.")] = None,
    request: Annotated[str | None, Query(description="Lines of this request.")] = None,
    kind: Annotated[shapes.LedgerKind | None, Query(description="Only debits, or only refunds.")] = None,
) -> LedgerFilter:
    return LedgerFilter(
        since=_instant(since, "since"),
        until=_instant(until, "until"),
        model=model or None,
        session=session or None,
        reason=reason or None,
        pack=pack or None,
        service=service or None,
        key=key or None,
        request=request or None,
        kind=None if kind is None else EntryKind(kind),
    )


Filter = Annotated[LedgerFilter, Depends(_filter)]


def _ledger_described() -> dict[str, Any]:
    declared = reads(Scope.LEDGER_READ, "Read the ledger", answer=shapes.Page[shapes.LedgerLine])
    for media in (NDJSON_TYPE, CSV_TYPE):
        declared["responses"][200]["content"][media] = {"schema": {"type": "string"}}
    return declared


@router.get("/ledger", **_ledger_described())
def ledger(
    call: CurrentCall,
    organization_id: OrganizationId,
    asked: Filter,
    request: Request,
    cursor: Cursor = None,
    limit: Limit = 50,
    format: Annotated[
        Format | None,
        Query(description="`json` gives a page; `ndjson` and `csv` stream every line. Else the header Accept decides."),
    ] = None,
) -> Response:
    """Read debit and refund lines that pass a filter, the latest first. A page with a cursor may be short, even empty."""
    form = format or _accepted(request.headers.get("accept", ""))
    if form is Format.JSON:
        page = call.suite.browsing.ledger(organization_id, asked, cursor=cursor, limit=limit)
        return call.answer(page_of([ledger_view(line) for line in page.items], page.next_cursor))
    if cursor is not None:
        raise RequestInvalid("a stream has no cursor: it is every line", field="cursor")
    call.suite.browsing.ledger(organization_id, asked, limit=1)  # what is wrong with the filter is told before the stream begins
    lines = call.suite.browsing.export(organization_id, asked, chunk=CHUNK_LINES)
    written = _csv(lines) if form is Format.CSV else _ndjson(lines)
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="ledger.{form.value}"'}
    media = f"{CSV_TYPE}; charset=utf-8; header=present" if form is Format.CSV else NDJSON_TYPE
    return StreamingResponse(written, headers=headers, media_type=media)


@router.get("/ledger/sums", **reads(Scope.LEDGER_READ, "Sum the ledger", answer=shapes.LedgerSums))
def ledger_sums(call: CurrentCall, organization_id: OrganizationId, asked: Filter) -> Response:
    """Count and sum the lines that pass a filter: exactly, or "at least so many" where that would take too long."""
    return call.answer(shaped(shapes.LedgerSums, call.suite.browsing.sums(organization_id, asked)))


@router.get("/sessions", **reads(Scope.LEDGER_READ, "List sessions", answer=shapes.Page[shapes.Session]))
def list_sessions(call: CurrentCall, organization_id: OrganizationId, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List sessions with their sums, the one used last first."""
    page = call.suite.browsing.sessions(organization_id, cursor=cursor, limit=limit)
    return call.answer(page_of([shaped(shapes.Session, row) for row in page.items], page.next_cursor))


@router.get("/sessions/{session:path}", **reads(Scope.LEDGER_READ, "Get a session", answer=shapes.Session))
def get_session(
    call: CurrentCall,
    organization_id: OrganizationId,
    session: Annotated[str, Path(description="The session, as requests name it.", examples=["chat-17"])],
) -> Response:
    """Return one session with its sums."""
    return call.answer(shaped(shapes.Session, call.suite.browsing.session(organization_id, session)))


@router.get("/usage", **reads(Scope.LEDGER_READ, "Read usage", answer=shapes.UsageReport))
def usage(
    call: CurrentCall,
    organization_id: OrganizationId,
    since: Annotated[str, Query(description="The start, on a quarter of an hour.", examples=["2027-01-01T00:00:00Z"])],
    until: Annotated[str, Query(description="The end, on a quarter of an hour.", examples=["2027-02-01T00:00:00Z"])],
    zone: Annotated[str, Query(description="The time zone whose hours and days are counted.", examples=["Europe/Berlin"])] = "UTC",
    width: Annotated[Width, Query(description="How long a bucket is.")] = Width.DAY,
    by: Annotated[Dimension | None, Query(description="What usage is told apart by.")] = None,
    model: Annotated[str | None, Query(description="Only usage of this model.")] = None,
    reason: Annotated[str | None, Query(description="Only usage with this reason.")] = None,
    service: Annotated[str | None, Query(description="Only usage of this AI service.")] = None,
    key: Annotated[str | None, Query(description="Only usage of this gateway key.")] = None,
) -> Response:
    """Sum usage by hours or days of a time zone. The sums over buckets, series and lines are equal."""
    found = call.suite.browsing.usage(
        organization_id,
        since=parse_instant(since, field="since"),
        until=parse_instant(until, field="until"),
        zone=zone,
        width=width,
        by=by,
        only=UsageFilter(model=model, reason=reason, service=service, key=key),
    )
    return call.answer(usage_view(found))


@router.get("/journal", **reads(Scope.LEDGER_READ, "Read the journal", answer=shapes.Page[shapes.JournalLine]))
def journal(
    call: CurrentCall,
    organization_id: OrganizationId,
    after_seq: Annotated[int, Query(ge=0, lt=2**53, description="Lines after this one.")] = 0,
    limit: Limit = 100,
) -> Response:
    """Read journal lines of every kind in order. The cursor is the last line's number, for `after_seq`."""
    page = call.suite.meter.journal(organization_id, after_seq=after_seq, limit=limit)
    return call.answer(page_of([journal_view(entry) for entry in page.items], page.next_cursor))


def _instant(text: str | None, field: str) -> datetime | None:
    return None if not text else parse_instant(text, field=field)


def _accepted(accept: str) -> Format:
    kinds = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    known = {"application/json": Format.JSON, "*/*": Format.JSON, NDJSON_TYPE: Format.NDJSON, CSV_TYPE: Format.CSV}
    return next((known[kind] for kind in kinds if kind in known), Format.JSON)


def _ndjson(lines: Iterator[LedgerLine]) -> Iterator[bytes]:
    pieces: list[bytes] = []
    for line in lines:
        pieces += (encode(ledger_view(line)), b"\n")
        if len(pieces) >= 2 * CHUNK_LINES:
            yield b"".join(pieces)
            pieces.clear()
    yield b"".join(pieces)


def _csv(lines: Iterator[LedgerLine]) -> Iterator[bytes]:
    names = shapes.LedgerLine.__struct_fields__
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow(names)
    for number, line in enumerate(lines, start=1):
        values = msgspec.to_builtins(ledger_view(line))
        writer.writerow([_cell(values[name]) for name in names])
        if number % CHUNK_LINES == 0:
            yield _drain(table)
    yield _drain(table)


def _drain(table: io.StringIO) -> bytes:
    text = table.getvalue()
    table.seek(0)
    table.truncate()
    return text.encode()


def _cell(value: Any) -> Any:
    """Return a value for a table. A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
