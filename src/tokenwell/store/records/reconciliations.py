"""Reconciliations in tables: what a provider's export said beside what the ledger says. Every function works in the caller's
transaction. An export is of the platform's account with its provider, so the ledger's side sums every organization."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select

from tokenwell.core.happenings import PLATFORM, Actor
from tokenwell.core.identifiers import request_keys
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.reader import last_line_at
from tokenwell.store.schema import entry as _entry
from tokenwell.store.schema import reconciliation as _reconciliation
from tokenwell.store.schema import reconciliation_line as _line
from tokenwell.store.schema import rollup as _rollup


class DriftLine(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one day (UTC): what the provider says, and what the ledger says."""

    day: date
    model: str
    their_input_tokens: int = 0
    their_output_tokens: int = 0
    their_requests: int = 0
    our_input_tokens: int = 0
    our_output_tokens: int = 0
    our_requests: int = 0

    @property
    def drift_tokens(self) -> int:
        """What the provider counted more than the ledger; below zero where it counted less."""
        return self.their_input_tokens + self.their_output_tokens - self.our_input_tokens - self.our_output_tokens


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """An export that was compared. Of its `records`, `named` had a request id, and `found` of these are in the ledger; `timed`
    others have a charge of their model at about their time."""

    id: str
    file_hash: str
    name: str
    form: str
    records: int
    named: int
    found: int
    at: datetime
    by: Actor
    timed: int = 0


def add_reconciliation(connection: Connection, reconciliation: Reconciliation, lines: Sequence[DriftLine]) -> None:
    """Insert a comparison with its lines; raises sqlalchemy's IntegrityError where the file was compared already."""
    connection.execute(
        insert(_reconciliation).values(
            organization_id=PLATFORM,
            reconciliation_id=reconciliation.id,
            file_hash=reconciliation.file_hash,
            name=reconciliation.name,
            form=reconciliation.form,
            records=reconciliation.records,
            named=reconciliation.named,
            found=reconciliation.found,
            at=to_micros(reconciliation.at),
            by=msgspec.json.encode(reconciliation.by).decode(),
            timed=reconciliation.timed,
        )
    )
    rows = [
        {
            "organization_id": PLATFORM,
            "reconciliation_id": reconciliation.id,
            **msgspec.structs.asdict(line),
            "day": line.day.isoformat(),
        }
        for line in lines
    ]
    if rows:
        connection.execute(insert(_line), rows)


def _from(row: Sequence[Any]) -> Reconciliation:
    return Reconciliation(
        id=row[1],
        file_hash=row[2],
        name=row[3],
        form=row[4],
        records=row[5],
        named=row[6],
        found=row[7],
        at=from_micros(row[8]),
        by=msgspec.json.decode(row[9], type=Actor),
        timed=row[10],
    )


def find_reconciliation(
    connection: Connection, *, reconciliation_id: str | None = None, file_hash: str | None = None
) -> Reconciliation | None:
    """Return a comparison by its id or its file, or None."""
    which = _reconciliation.c.reconciliation_id == reconciliation_id
    if file_hash is not None:
        which = _reconciliation.c.file_hash == file_hash
    row = connection.execute(select(_reconciliation).where(_reconciliation.c.organization_id == PLATFORM, which)).first()
    return None if row is None else _from(row)


def reconciliations(connection: Connection, *, before: str | None, limit: int) -> list[Reconciliation]:
    """Return comparisons, the latest first, those before the id `before`."""
    query = select(_reconciliation).where(_reconciliation.c.organization_id == PLATFORM)
    if before is not None:
        query = query.where(_reconciliation.c.reconciliation_id < before)
    return [_from(row) for row in connection.execute(query.order_by(_reconciliation.c.reconciliation_id.desc()).limit(limit))]


def drift_lines(connection: Connection, reconciliation_id: str) -> list[DriftLine]:
    """Return the lines of a comparison, by day and model."""
    rows = connection.execute(
        select(_line)
        .where(_line.c.organization_id == PLATFORM, _line.c.reconciliation_id == reconciliation_id)
        .order_by(_line.c.day, _line.c.model)
    )
    names = [column.name for column in _line.columns][4:]
    return [DriftLine(day=date.fromisoformat(row[2]), model=row[3], **dict(zip(names, row[4:], strict=True))) for row in rows]


def our_usage(connection: Connection, day: date) -> dict[str, tuple[int, int, int]]:
    """Return prompt tokens, completion tokens and requests of every model on a day in UTC, over all organizations."""
    begin = datetime.combine(day, time(), tzinfo=UTC)
    sums = (func.sum(_rollup.c.prompt_tokens), func.sum(_rollup.c.completion_tokens), func.sum(_rollup.c.requests))
    rows = connection.execute(
        select(_rollup.c.model, *sums)
        .where(_rollup.c.bucket_at >= to_micros(begin), _rollup.c.bucket_at < to_micros(begin + timedelta(days=1)))
        .group_by(_rollup.c.model)
    )
    return {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in rows}


def known_requests(connection: Connection, request_ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return those of some request ids that the ledger charged, in any organization, and the line of each charge."""
    keys = {key: request_id for request_id in request_ids for key in request_keys(request_id)}
    is_charge = _entry.c.key.in_(list(keys)) & _entry.c.kind.in_(["debit", "overage"])
    rows = connection.execute(select(_entry.c.key, _entry.c.organization_id, _entry.c.seq).where(is_charge))
    return {keys[bytes(key)]: (organization_id, seq) for key, organization_id, seq in rows}


def users_of(connection: Connection, models: Sequence[str], begin: datetime, end: datetime) -> list[str]:
    """Return the organizations that used any of some models in a time, by the rollups' quarters of an hour."""
    rows = connection.execute(
        select(_rollup.c.organization_id)
        .where(
            _rollup.c.bucket_at > to_micros(begin - timedelta(minutes=15)),
            _rollup.c.bucket_at <= to_micros(end),
            _rollup.c.model.in_(models),
        )
        .distinct()
        .order_by(_rollup.c.organization_id)
    )
    return [row[0] for row in rows]


def charges_between(
    connection: Connection, organization_id: str, models: Sequence[str], begin: datetime, end: datetime
) -> Iterator[tuple[str, int, int]]:
    """Give model, instant in microseconds and number of the first line of each charge of some models in a time."""
    own = _entry.c.organization_id == organization_id
    last = connection.execute(select(func.coalesce(func.max(_entry.c.seq), 0)).where(own)).scalar_one()
    first_line = last_line_at(connection, organization_id, begin - timedelta(microseconds=1), upto_seq=last)
    last_line = last_line_at(connection, organization_id, end, upto_seq=last)
    if last_line is None:
        return
    # Of the statement alone: an option of the connection would count for its rollback, too.
    rows = connection.execute(
        select(_entry.c.model, _entry.c.at, _entry.c.seq)
        .where(
            own,
            _entry.c.seq > (0 if first_line is None else first_line.seq),
            _entry.c.seq <= last_line.seq,
            _entry.c.kind.in_(["debit", "overage"]),
            _entry.c.part == 1,
            _entry.c.amount_tokens > 0,
            _entry.c.model.in_(models),
        )
        .execution_options(yield_per=1_000)
    )
    yield from ((row[0], row[1], row[2]) for row in rows)
