"""Browsing in tables: pages and sums of a filtered ledger, sessions, and usage by bucket, each from the caller's snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, literal, select

from tokenwell.core.account import Account
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.core.journal import Entry
from tokenwell.store import schema
from tokenwell.store.records.indexing import BLOCK_LINES, DIMENSIONS, is_charged, ledger_sums, mark_of, session_rows
from tokenwell.store.rows import entry_from

BLOCKS_A_PAGE = 200
"""How many blocks one page looks through: a page may come out short, and says where to go on."""

LINES_LOOKED_THROUGH = 100_000
"""How many lines that are not summed up yet one page looks through at most, and the sum of a filter that no block answers."""

PROBES = 32
"""How many lines one look for an instant tries."""

_BLOCKS_A_RANGE = 64

_entry, _block, _session, _rollup = schema.entry, schema.ledger_block, schema.session_summary, schema.rollup
_BLOCK_SUMS = ("lines", "debited_tokens", "refunded_tokens", "prompt_tokens", "completion_tokens")


class Sieve(msgspec.Struct, frozen=True, kw_only=True):
    """Which ledger lines are asked for: those after line `after` up to `upto` with these values by dimension."""

    organization_id: str
    after: int
    upto: int
    values: Mapping[str, str]

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what a line must fulfil besides its place."""
        columns = {"kind": "kind", **DIMENSIONS}
        kind = [] if "kind" in self.values else [is_charged()]
        return [
            _entry.c.organization_id == self.organization_id,
            *kind,
            *(_entry.c[columns[dimension]] == value for dimension, value in self.values.items()),
        ]


class Sums(msgspec.Struct, frozen=True):
    """What a filter comes to. Where it `is_capped` there are at least `lines`, and their sums are not known."""

    lines: int
    debited_tokens: int | None
    refunded_tokens: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    is_capped: bool = False


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session with the sums of its lines."""

    session: str
    first_seq: int
    last_seq: int
    first_at: datetime
    last_at: datetime
    debited_tokens: int
    refunded_tokens: int
    overage_tokens: int
    prompt_tokens: int
    completion_tokens: int
    requests: int


Numbered = tuple[Entry, int | None]


def place_of(connection: Connection, account: Account, since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """Return the lines that a span of time [since, until) is between: after the first number, up to the second."""
    after = 0 if since is None else _lines_before(connection, account, to_micros(since))
    return after, account.seq if until is None else _lines_before(connection, account, to_micros(until))


def _lines_before(connection: Connection, account: Account, micros: int) -> int:
    """Return the number of the last line dated before an instant, or 0: dates never decrease along the journal.

    Each look at the database narrows it down PROBES-fold, so that a journal of any length takes few.
    """
    low, high = 0, account.seq
    while low < high:
        step = max(1, (high - low) // PROBES)
        places = [*range(low + step, high, step), high]
        query = select(_entry.c.seq).where(
            _entry.c.organization_id == account.organization_id, _entry.c.seq.in_(places), _entry.c.at < micros
        )
        passed = connection.execute(query.order_by(_entry.c.seq.desc()).limit(1)).scalar_one_or_none() or low
        high = next((place for place in places if place > passed), passed + 1) - 1
        low = passed
    return low


def page(connection: Connection, sieve: Sieve, *, limit: int) -> tuple[list[Numbered], int]:
    """Return lines, the latest first, and up to which line the next page goes; `sieve.after` at the end.

    At most `limit` lines, and fewer where too much would have to be looked through for them.
    """
    found: list[Entry] = []
    rest = sieve.after
    for query, low in _portions(connection, sieve):
        rest = low
        found += [entry_from(row) for row in connection.execute(query.limit(limit - len(found)))]
        if len(found) >= limit:
            rest = found[-1].seq - 1
            break
    return _numbered(connection, sieve.organization_id, found), rest


def _portions(connection: Connection, sieve: Sieve) -> Iterator[tuple[Any, int]]:
    """Yield queries for the lines that pass, the latest first, each with the line it goes back to. First those
    that are not summed up yet, LINES_LOOKED_THROUGH at most, then those in blocks that have all of the values."""
    if sieve.upto <= sieve.after:
        return
    lines = select(_entry).where(*sieve.conditions()).order_by(_entry.c.seq.desc())
    if not sieve.values:
        floor = max(sieve.after, sieve.upto - LINES_LOOKED_THROUGH)
        yield lines.where(_entry.c.seq > floor, _entry.c.seq <= sieve.upto), floor
        return
    mark = mark_of(connection, sieve.organization_id)
    floor = max(mark, sieve.after, sieve.upto - LINES_LOOKED_THROUGH)
    blocks: list[int] = []
    if floor <= mark:
        first, last = sieve.after // BLOCK_LINES, (min(sieve.upto, mark) - 1) // BLOCK_LINES
        blocks = [row[0] for row in connection.execute(_block_query(sieve, first, last).limit(BLOCKS_A_PAGE))]
    if sieve.upto > mark:
        yield lines.where(_entry.c.seq > floor, _entry.c.seq <= sieve.upto), floor if blocks or floor > mark else sieve.after
    if blocks:
        low = blocks[-1] * BLOCK_LINES if len(blocks) == BLOCKS_A_PAGE else 0
        yield _lines_in_blocks(connection, sieve, blocks[-1], blocks[0]), max(low, sieve.after)


def _lines_in_blocks(connection: Connection, sieve: Sieve, first: int, last: int) -> Any:
    """Return the query for lines that pass in blocks that have all of the values, walked through block by block.

    PostgreSQL would rather read the whole journal once than a few blocks of it: a limit for each block keeps it from that.
    """
    blocks = _block_query(sieve, first, last)
    block = blocks.selected_columns[0]
    size = literal(BLOCK_LINES, literal_execute=True)
    here = (
        *sieve.conditions(),
        _entry.c.seq > block * size,
        _entry.c.seq <= (block + 1) * size,
        _entry.c.seq + literal(0, literal_execute=True) > sieve.after,
        _entry.c.seq + literal(0, literal_execute=True) <= sieve.upto,
    )
    if connection.dialect.name == "postgresql":
        tables = blocks.get_final_froms()
        lines = select(_entry).where(*here).correlate(*tables).order_by(_entry.c.seq.desc()).limit(BLOCK_LINES)
        line = lines.lateral("line").c
        return blocks.select_from(*tables).with_only_columns(*line).order_by(None).order_by(block.desc(), line.seq.desc())
    return blocks.with_only_columns(*_entry.c).where(*here).order_by(None).order_by(block.desc(), _entry.c.seq.desc())


def _numbered(connection: Connection, organization_id: str, entries: list[Entry]) -> list[Numbered]:
    ids = sorted({entry.pack_id for entry in entries if entry.pack_id is not None})
    pack = schema.pack
    rows = (
        connection.execute(
            select(pack.c.pack_id, pack.c.number).where(pack.c.organization_id == organization_id, pack.c.pack_id.in_(ids))
        ).all()
        if ids
        else []
    )
    numbers = {row[0]: row[1] for row in rows}
    return [(entry, numbers.get(entry.pack_id)) for entry in entries]


def _ranges(connection: Connection, sieve: Sieve) -> Iterator[tuple[int, int]]:
    """Yield the ranges of lines (low, high] in which there can be lines that pass, the latest first."""
    if sieve.upto <= sieve.after:
        return
    if not sieve.values:
        yield sieve.after, sieve.upto
        return
    mark = mark_of(connection, sieve.organization_id)
    if sieve.upto > mark:
        yield max(mark, sieve.after), sieve.upto
    first, last = sieve.after // BLOCK_LINES, (min(sieve.upto, mark) - 1) // BLOCK_LINES
    pending: tuple[int, int] | None = None
    for block in _blocks_of(connection, sieve, first, last):
        if pending is not None and block == pending[0] - 1 and pending[1] - block < _BLOCKS_A_RANGE:
            pending = (block, pending[1])
            continue
        if pending is not None:
            yield _lines_of(pending, sieve)
        pending = (block, block)
    if pending is not None:
        yield _lines_of(pending, sieve)


def _lines_of(blocks: tuple[int, int], sieve: Sieve) -> tuple[int, int]:
    return max(blocks[0] * BLOCK_LINES, sieve.after), min((blocks[1] + 1) * BLOCK_LINES, sieve.upto)


def _blocks_of(connection: Connection, sieve: Sieve, first: int, last: int) -> Iterator[int]:
    """Yield the blocks that have all of the values, the latest first, read in portions."""
    portion = BLOCKS_A_PAGE + 1
    while last >= first:
        blocks = [row[0] for row in connection.execute(_block_query(sieve, first, last).limit(portion))]
        yield from blocks
        if len(blocks) < portion:
            return
        last = blocks[-1] - 1


def _block_query(sieve: Sieve, first: int, last: int) -> Any:
    tables = [_block.alias(f"b{number}") for number in range(len(sieve.values))]
    query = select(tables[0].c.block)
    for table, (dimension, value) in zip(tables, sieve.values.items(), strict=True):
        query = query.where(
            table.c.organization_id == sieve.organization_id, table.c.dimension == dimension, table.c.value == value
        )
        if table is not tables[0]:
            query = query.where(table.c.block == tables[0].c.block)
    return query.where(tables[0].c.block.between(first, last)).order_by(tables[0].c.block.desc())


def sums(connection: Connection, sieve: Sieve) -> Sums:
    """Return what a filter comes to, exactly where blocks tell it or LINES_LOOKED_THROUGH lines are enough."""
    if len(sieve.values) > 1:
        return _sums_looked_up(connection, sieve)
    mark = mark_of(connection, sieve.organization_id)
    first, last = -(-sieve.after // BLOCK_LINES), min(sieve.upto, mark) // BLOCK_LINES - 1
    if last < first:
        return _sums_of(connection, sieve, [(sieve.after, sieve.upto)])
    dimension, value = next(iter(sieve.values.items()), ("all", ""))
    row = connection.execute(
        select(*(func.coalesce(func.sum(_block.c[name]), 0) for name in _BLOCK_SUMS)).where(
            _block.c.organization_id == sieve.organization_id,
            _block.c.dimension == dimension,
            _block.c.value == value,
            _block.c.block.between(first, last),
        )
    ).one()
    edges = [(sieve.after, first * BLOCK_LINES), ((last + 1) * BLOCK_LINES, sieve.upto)]
    return _sums_of(connection, sieve, edges, [int(number) for number in row])


def _sums_looked_up(connection: Connection, sieve: Sieve) -> Sums:
    return _sums_of(connection, sieve, list(_within(_ranges(connection, sieve))))


def _within(ranges: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield ranges until they are too much to sum: the last one then is one too many."""
    lines = 0
    for low, high in ranges:
        yield low, high
        lines += high - low
        if lines > LINES_LOOKED_THROUGH:
            return


def _sums_of(
    connection: Connection, sieve: Sieve, ranges: Sequence[tuple[int, int]], known: Sequence[int] = (0, 0, 0, 0, 0)
) -> Sums:
    total, left = list(known), LINES_LOOKED_THROUGH
    for low, high in ranges:
        if high <= low:
            continue
        if high - low > left:
            counted = _sum_range(connection, sieve, high - left, high)
            return Sums(total[0] + counted[0], None, None, None, None, is_capped=True)
        left -= high - low
        total = [before + added for before, added in zip(total, _sum_range(connection, sieve, low, high), strict=True)]
    return Sums(total[0], total[1], total[2], total[3], total[4])


def _sum_range(connection: Connection, sieve: Sieve, low: int, high: int) -> list[int]:
    row = connection.execute(select(*ledger_sums()).where(*sieve.conditions(), _entry.c.seq > low, _entry.c.seq <= high)).one()
    return [int(number) for number in row]


def sessions(connection: Connection, organization_id: str, *, upto: int, before: int | None, limit: int) -> list[SessionRow]:
    """Return sessions, the one with the latest line first, those whose last line is before line `before`."""
    mark = mark_of(connection, organization_id)
    recent = {row[0]: _session_row(row) for row in session_rows(connection, organization_id, mark, upto)}
    query = select(_session).where(_session.c.organization_id == organization_id).order_by(_session.c.last_seq.desc())
    if before is not None:
        query = query.where(_session.c.last_seq < before)
    # Sessions that have lines after the mark as well stand among the recent ones.
    older = [_session_row(row[1:]) for row in connection.execute(query.limit(limit + len(recent))) if row.session not in recent]
    grown = {row.session: row for row in _summaries(connection, organization_id, sorted(recent))}
    latest = [_joined(grown[name], row) if name in grown else row for name, row in recent.items()]
    latest = sorted((row for row in latest if before is None or row.last_seq < before), key=lambda row: -row.last_seq)
    return [*latest, *older][:limit]


def session(connection: Connection, organization_id: str, name: str, *, upto: int) -> SessionRow | None:
    """Return one session, or None if no line names it."""
    mark = mark_of(connection, organization_id)
    recent = [_session_row(row) for row in session_rows(connection, organization_id, mark, upto, _entry.c.session == name)]
    known = _summaries(connection, organization_id, [name])
    if known and recent:
        return _joined(known[0], recent[0])
    return next(iter([*known, *recent]), None)


def _summaries(connection: Connection, organization_id: str, names: Sequence[str]) -> list[SessionRow]:
    found: list[SessionRow] = []
    for start in range(0, len(names), 500):
        some = names[start : start + 500]
        query = select(_session).where(_session.c.organization_id == organization_id, _session.c.session.in_(some))
        found += [_session_row(row[1:]) for row in connection.execute(query)]
    return found


def _session_row(row: Sequence[Any]) -> SessionRow:
    debited, refunded, overage, prompt, completion, requests = map(int, row[5:])
    return SessionRow(
        session=row[0],
        first_seq=row[1],
        last_seq=row[2],
        first_at=from_micros(row[3]),
        last_at=from_micros(row[4]),
        debited_tokens=debited,
        refunded_tokens=refunded,
        overage_tokens=overage,
        prompt_tokens=prompt,
        completion_tokens=completion,
        requests=requests,
    )


_ADDED = ("debited_tokens", "refunded_tokens", "overage_tokens", "prompt_tokens", "completion_tokens", "requests")


def _joined(before: SessionRow, after: SessionRow) -> SessionRow:
    added = {name: getattr(before, name) + getattr(after, name) for name in _ADDED}
    return msgspec.structs.replace(before, last_seq=after.last_seq, last_at=after.last_at, **added)


def usage(
    connection: Connection,
    organization_id: str,
    *,
    since_micros: int,
    until_micros: int,
    offset_micros: int,
    width_micros: int,
    dimension: str | None,
    only: Mapping[str, str],
) -> Sequence[Any]:
    """Return bucket number, value, and the sums over [since, until) of the rollups.

    A bucket's number counts widths since 1970 in a zone that is `offset_micros` ahead of UTC throughout.
    """
    number = (_rollup.c.bucket_at + literal(offset_micros, literal_execute=True)) // literal(width_micros, literal_execute=True)
    value: ColumnElement[Any] = literal("") if dimension is None else _rollup.c[dimension]
    return connection.execute(
        select(number.label("number"), value.label("value"), *(func.sum(_rollup.c[name]) for name in _ADDED))
        .where(
            and_(_rollup.c.organization_id == organization_id, *(_rollup.c[name] == text for name, text in only.items())),
            _rollup.c.bucket_at >= since_micros,
            _rollup.c.bucket_at < until_micros,
        )
        .group_by(number, value)
    ).all()
