"""Browsing: pages, sums and streams of a filtered ledger, usage cut into buckets, and sessions. All of it exact at any moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

import msgspec
import sqlalchemy

from tokenwell.core.account import Account
from tokenwell.core.identifiers import check_key, check_label
from tokenwell.core.instants import to_micros, to_utc
from tokenwell.core.journal import EntryKind
from tokenwell.errors import NotFound, RequestInvalid, RequestNotFound
from tokenwell.service.meter import Meter
from tokenwell.service.packs import Packs
from tokenwell.service.pages import check_limit, number_in
from tokenwell.service.ports import Page
from tokenwell.service.records.buckets import Width, count_between, spans, start_of, starts_in, zone_of
from tokenwell.service.records.indexing import Indexing
from tokenwell.service.records.pastdays import PastDays, View
from tokenwell.service.records.series import SESSION_LINES, Series, Table, UsageBuckets, buckets_of, by_session, told_apart
from tokenwell.service.shapes import LedgerLine
from tokenwell.store import reader
from tokenwell.store.reader import reading
from tokenwell.store.records import browsing
from tokenwell.store.records.browsing import SessionRow, Sieve, Sums
from tokenwell.store.rows import BUCKET_MICROS, Row

__all__ = [
    "EVERYTHING",
    "SESSION_LINES",
    "Browsing",
    "Dimension",
    "LedgerFilter",
    "Series",
    "SessionRow",
    "Sums",
    "UsageBuckets",
    "UsageFilter",
    "Width",
]

BUCKETS_LIMIT = 1_000
"""The most buckets of one answer."""

SERIES_LIMIT = 20
"""How many values are told apart; what is left of a dimension is one more series."""


class Dimension(StrEnum):
    """What usage is told apart by."""

    MODEL = "model"
    REASON = "reason"
    SERVICE = "service"
    KEY = "key"
    SESSION = "session"


_COLUMNS = {Dimension.MODEL: "model", Dimension.REASON: "reason", Dimension.SERVICE: "service_id", Dimension.KEY: "key_id"}


class LedgerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines of the Usage Ledger: those in [since, until) with these values; None asks for any. `pack` is an id or number."""

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    session: str | None = None
    reason: str | None = None
    pack: str | None = None
    service: str | None = None
    key: str | None = None
    request: str | None = None
    kind: EntryKind | None = None


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which usage: that with these values; None asks for any, the empty text for usage that named none."""

    model: str | None = None
    reason: str | None = None
    service: str | None = None
    key: str | None = None


EVERYTHING = LedgerFilter()
"""The filter that all lines pass."""

_ANY = UsageFilter()


class Browsing:
    """Reads what people look through, from snapshots and without locks. Lines that were written before a read are in it."""

    def __init__(self, meter: Meter, indexing: Indexing) -> None:
        self._meter = meter
        self._engine = meter.engine
        self._indexing = indexing
        self._packs = Packs(meter)
        self._past = PastDays()

    def catch_up(self, limit: int = 100_000) -> int:
        """Sum up at most about `limit` journal lines for quick browsing, and return how many were; 0 when nothing is to do.

        For a job in the background. Raises StoreError.
        """
        return self._indexing.catch_up(limit)

    def ledger(
        self, organization_id: str, asked: LedgerFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 50
    ) -> Page[LedgerLine]:
        """Return ledger lines that pass a filter, the latest first. A page that has a cursor may be shorter than `limit`, even
        empty: so much was looked through for it. Raises PackNotFound for a pack the organization does not have."""
        check_limit(limit)
        before = number_in(cursor)
        self._indexing.refresh(organization_id)
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            if asked.request is not None:
                return self._request_page(organization_id, asked, before)
            sieve = self._sieve(connection, account, asked)
            if before is not None:
                sieve = msgspec.structs.replace(sieve, upto=min(sieve.upto, before - 1))
            found, rest = browsing.page(connection, sieve, limit=limit + 1)
        if len(found) > limit:
            rest = found[limit - 1][0].seq - 1
        items = tuple(LedgerLine(entry=entry, pack_number=number) for entry, number in found[:limit])
        return Page(items, str(rest + 1) if rest > sieve.after else None)

    def sums(self, organization_id: str, asked: LedgerFilter = EVERYTHING) -> Sums:
        """Return how many lines pass a filter, and their sums: exactly, or "at least so many" where that takes too long to say."""
        self._indexing.refresh(organization_id)
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            if asked.request is None:
                return browsing.sums(connection, self._sieve(connection, account, asked))
        lines = [line.entry for line in self._request_page(organization_id, asked, None).items]
        debits = [entry for entry in lines if entry.kind is EntryKind.DEBIT]
        return Sums(
            len(lines),
            sum(entry.amount_tokens for entry in debits),
            sum(entry.amount_tokens for entry in lines if entry.kind is EntryKind.REFUND),
            sum(entry.prompt_tokens or 0 for entry in debits),
            sum(entry.completion_tokens or 0 for entry in debits),
        )

    def export(self, organization_id: str, asked: LedgerFilter = EVERYTHING, *, chunk: int = 500) -> Iterator[LedgerLine]:
        """Yield every line that passes a filter now, the latest first, reading `chunk` lines at a time. Lines written meanwhile
        are left out."""
        cursor: str | None = None
        while True:
            page = self.ledger(organization_id, asked, cursor=cursor, limit=chunk)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def sessions(self, organization_id: str, *, cursor: str | None = None, limit: int = 50) -> Page[SessionRow]:
        """Return sessions with their sums, the one used last first."""
        check_limit(limit)
        before = number_in(cursor)
        self._indexing.refresh(organization_id)
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            rows = browsing.sessions(connection, organization_id, upto=account.seq, before=before, limit=limit + 1)
        return Page(tuple(rows[:limit]), str(rows[limit - 1].last_seq) if len(rows) > limit else None)

    def session(self, organization_id: str, session: str) -> SessionRow:
        """Return one session with its sums. Raises NotFound."""
        name = check_label(session, field="session") or ""
        self._indexing.refresh(organization_id)
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            row = browsing.session(connection, organization_id, name, upto=account.seq)
        if row is None:
            raise NotFound("the organization has no such session", session=name)
        return row

    def usage(
        self,
        organization_id: str,
        *,
        since: datetime,
        until: datetime,
        zone: str = "UTC",
        width: Width = Width.DAY,
        by: Dimension | None = None,
        only: UsageFilter = _ANY,
        limit: int = SERIES_LIMIT,
    ) -> UsageBuckets:
        """Return usage over [since, until), both on quarters of an hour, by day or hour of a zone and by one dimension.

        The series are those of the `limit` largest values and the rest; the sums over buckets, series and lines are equal. Sessions
        are told apart from the latest SESSION_LINES lines of the range.
        """
        since, until, place = to_utc(since, field="since"), to_utc(until, field="until"), zone_of(zone)
        if to_micros(since) % BUCKET_MICROS or to_micros(until) % BUCKET_MICROS:
            raise RequestInvalid("usage is summed by quarters of an hour", field="since")
        if not since < until or count_between(width, since, until) > BUCKETS_LIMIT:
            raise RequestInvalid(f"until must be after since, by at most {BUCKETS_LIMIT} buckets", field="until")
        starts = starts_in(width, place, since, until)
        index = {start: number for number, start in enumerate(starts)}
        table: Table = {}
        named: Table = {}
        left = SESSION_LINES

        def add(to: Table, rows: Sequence[Any], start: datetime, offset: int) -> None:
            for row in rows:
                cells = to.setdefault(row[1], [[0] * 6 for _ in starts])
                cell = cells[index[start_of(width, row[0], offset, place, start)]]
                for column, number in enumerate(row[2:]):
                    cell[column] += int(number)

        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            for start, end, offset in reversed(list(spans(place, since, until))):
                view = View(
                    organization_id=organization_id,
                    offset_micros=offset,
                    width_micros=width.micros,
                    dimension=None if by is None or by is Dimension.SESSION else _COLUMNS[by],
                    only=tuple(
                        (column, text) for name, column in _COLUMNS.items() if (text := getattr(only, name.value)) is not None
                    ),
                )
                add(table, self._usage_rows(connection, account, view, start, end), start, offset)
                if by is Dimension.SESSION:
                    rows, left = by_session(connection, account, view, start, end, left)
                    add(named, rows, start, offset)
        if by is not Dimension.SESSION:
            return buckets_of(since, until, zone, width, starts, table, 0 if by is None else limit)
        whole = buckets_of(since, until, zone, width, starts, table, 0)
        return told_apart(whole, named, limit, is_partial=left < 0)

    def _usage_rows(
        self, connection: sqlalchemy.Connection, account: Account, view: View, since: datetime, until: datetime
    ) -> list[Row]:
        def read(since_micros: int, until_micros: int) -> Sequence[Row]:
            rows = browsing.usage(
                connection,
                view.organization_id,
                since_micros=since_micros,
                until_micros=until_micros,
                offset_micros=view.offset_micros,
                width_micros=view.width_micros,
                dimension=view.dimension,
                only=dict(view.only),
            )
            return [(row[0], row[1], *map(int, row[2:])) for row in rows]

        return self._past.rows(view, to_micros(since), to_micros(until), last_at=to_micros(account.last_at), read=read)

    def _request_page(self, organization_id: str, asked: LedgerFilter, before: int | None) -> Page[LedgerLine]:
        """Return the lines of one request that pass the rest of the filter."""
        check_key(asked.request or "", field="request")
        pack_id = self._pack_id(organization_id, asked)
        try:
            lines = self._meter.request(organization_id, asked.request or "")
        except RequestNotFound:
            return Page(())
        values = {
            "model": asked.model, "session": asked.session, "reason": asked.reason, "pack_id": pack_id,
            "service_id": asked.service, "key_id": asked.key, "kind": asked.kind,
        }  # fmt: skip
        passing = [
            line
            for line in reversed(lines)
            if line.entry.kind in (EntryKind.DEBIT, EntryKind.REFUND)
            and all(value is None or getattr(line.entry, name) == value for name, value in values.items())
            and (asked.since is None or line.entry.at >= to_utc(asked.since, field="since"))
            and (asked.until is None or line.entry.at < to_utc(asked.until, field="until"))
            and (before is None or line.entry.seq < before)
        ]
        return Page(tuple(passing))

    def _sieve(self, connection: sqlalchemy.Connection, account: Account, asked: LedgerFilter) -> Sieve:
        given = {
            "model": asked.model, "session": asked.session, "reason": asked.reason,
            "pack": self._pack_id(account.organization_id, asked), "service": asked.service, "key": asked.key,
            "kind": None if asked.kind is None else asked.kind.value,
        }  # fmt: skip
        if asked.kind not in (None, EntryKind.DEBIT, EntryKind.REFUND):
            raise RequestInvalid("kind must be debit or refund", field="kind")
        values = {name: cast(str, check_label(value, field=name)) for name, value in given.items() if value is not None}
        since = None if asked.since is None else to_utc(asked.since, field="since")
        until = None if asked.until is None else to_utc(asked.until, field="until")
        after, upto = browsing.place_of(connection, account, since, until)
        return Sieve(organization_id=account.organization_id, after=after, upto=upto, values=values)

    def _pack_id(self, organization_id: str, asked: LedgerFilter) -> str | None:
        return None if asked.pack is None else self._packs.id_of(organization_id, asked.pack)
