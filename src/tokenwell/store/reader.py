"""The reader: everything that is only read, without locks, each answer from one snapshot of the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Select, and_, func, literal_column, select

from tokenwell.core.account import Account
from tokenwell.core.identifiers import is_organization_id
from tokenwell.core.instants import to_micros
from tokenwell.core.journal import Entry
from tokenwell.core.packs import Pack, PackStatus
from tokenwell.errors import OrganizationNotFound
from tokenwell.store import schema
from tokenwell.store.dialects import translate
from tokenwell.store.isolation import enter
from tokenwell.store.packs import is_open
from tokenwell.store.rows import account_from, entry_from, pack_from
from tokenwell.store.statements import ACCOUNTS_DUE

_account, _pack, _hold, _entry, _rollup = schema.account, schema.pack, schema.hold, schema.entry, schema.rollup
_growth = schema.growth


@contextmanager
def reading(engine: sqlalchemy.Engine, organization_id: str | None = None) -> Iterator[Connection]:
    """Give a connection whose statements all see the same snapshot and take no lock. Raises StoreUnavailable.

    With an organization it is bound to that one where the engine names a role for it: it sees no other's rows, whatever is asked.
    """
    begin = "BEGIN" if engine.dialect.name == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(begin)
            if organization_id is not None:
                enter(connection, organization_id)
            try:
                yield connection
            finally:
                if not connection.invalidated:
                    connection.exec_driver_sql("ROLLBACK")
    except sqlalchemy.exc.DBAPIError as error:
        raise translate(error) or error from error


def _check(organization_id: str) -> None:
    """Refuse what no organization can be called before a driver stumbles over it."""
    if not is_organization_id(organization_id):
        raise OrganizationNotFound(organization_id=organization_id)


def organization(connection: Connection, organization_id: str) -> tuple[str, str, int]:
    """Return an organization's id, name and creation. Raises OrganizationNotFound."""
    _check(organization_id)
    row = connection.execute(
        select(schema.organization).where(schema.organization.c.organization_id == organization_id)
    ).one_or_none()
    if row is None:
        raise OrganizationNotFound(organization_id=organization_id)
    return row[0], row[1], row[2]


def organizations(connection: Connection, *, after: str, limit: int) -> Sequence[tuple[str, str, int]]:
    """Return organizations by id, those after `after`."""
    table = schema.organization
    rows = connection.execute(
        select(table).where(table.c.organization_id > after).order_by(table.c.organization_id).limit(limit)
    ).all()
    return [(row[0], row[1], row[2]) for row in rows]


def account(connection: Connection, organization_id: str) -> Account:
    """Return the account as last written. Raises OrganizationNotFound."""
    _check(organization_id)
    row = connection.execute(select(_account).where(_account.c.organization_id == organization_id)).one_or_none()
    if row is None:
        raise OrganizationNotFound(organization_id=organization_id)
    return account_from(row)


def accounts_due(connection: Connection, now: datetime, *, limit: int) -> list[str]:
    """Return the organizations in which something may be due at `now`, the longest overdue first."""
    rows = connection.execute(sqlalchemy.text(ACCOUNTS_DUE), {"now": to_micros(now), "limit": limit})
    return [row[0] for row in rows]


def due_tokens(connection: Connection, organization_id: str, now: datetime) -> tuple[int, int]:
    """Return the tokens of packs that have expired by `now` and of holds that have lapsed, but are not yet written as such."""
    micros = to_micros(now)
    expired = select(func.coalesce(func.sum(_pack.c.remaining_tokens), 0)).where(
        is_open(organization_id), _pack.c.expires_at <= micros
    )
    lapsed = select(func.coalesce(func.sum(_hold.c.tokens), 0)).where(
        _hold.c.organization_id == organization_id, _hold.c.status == literal_column("'open'"), _hold.c.lapses_at <= micros
    )
    return int(connection.execute(expired).scalar_one()), int(connection.execute(lapsed).scalar_one())


def active_packs(connection: Connection, organization_id: str, now: datetime) -> tuple[int, int]:
    """Return how many packs are active at `now`, and the sum of their totals."""
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(_pack.c.total_tokens), 0)).where(
            is_open(organization_id), _pack.c.expires_at > to_micros(now)
        )
    ).one()
    return row[0], int(row[1])


def held_at(connection: Connection, organization_id: str, at: datetime) -> int:
    """Return the tokens that were held at a past instant."""
    micros = to_micros(at)
    held = (
        _hold.c.organization_id == organization_id,
        _hold.c.opened_at <= micros,
        _hold.c.lapses_at > micros,
        sqlalchemy.or_(_hold.c.closed_at.is_(None), _hold.c.closed_at > micros),
    )
    tokens = int(connection.execute(select(func.coalesce(func.sum(_hold.c.tokens), 0)).where(*held)).scalar_one())
    grown = connection.execute(
        select(_growth.c.hold_id, _growth.c.tokens_before, _growth.c.lapses_before, _hold.c.tokens)
        .join(_hold, and_(_hold.c.organization_id == _growth.c.organization_id, _hold.c.hold_id == _growth.c.hold_id))
        .where(*held, _growth.c.organization_id == organization_id, _growth.c.at > micros)
        .order_by(_growth.c.hold_id, _growth.c.number.desc())
    )
    # The first growth after the instant comes last and says what the hold reserved then: nothing, where it had lapsed.
    then = {hold_id: (before if lapses > micros else 0) - now for hold_id, before, lapses, now in grown}
    return tokens + int(sum(then.values()))


def overage_at(connection: Connection, organization_id: str, seq: int) -> int:
    """Return the overage after a line of the journal."""
    sums = connection.execute(
        select(_entry.c.kind, func.sum(_entry.c.amount_tokens))
        .where(
            _entry.c.organization_id == organization_id,
            _entry.c.seq <= seq,
            _entry.c.kind.in_([sqlalchemy.literal_column(f"'{kind}'") for kind in ("overage", "advance", "overage_repaid")]),
        )
        .group_by(_entry.c.kind)
    ).all()
    by_kind = {row[0]: int(row[1]) for row in sums}
    return by_kind.get("overage", 0) + by_kind.get("advance", 0) - by_kind.get("overage_repaid", 0)


def incurred_since_advance(connection: Connection, organization_id: str) -> int | None:
    """Return how much overage was incurred since the last advance; None where there never was one."""
    own = _entry.c.organization_id == organization_id
    is_advance = _entry.c.kind == sqlalchemy.literal_column("'advance'")  # said literally, the index of few lines serves
    is_overage = _entry.c.kind == sqlalchemy.literal_column("'overage'")
    last = connection.execute(select(func.max(_entry.c.seq)).where(own, is_advance)).scalar_one()
    if last is None:
        return None
    incurred = (own, is_overage, _entry.c.seq > last, _entry.c.amount_tokens > 0)
    return int(connection.execute(select(func.coalesce(func.sum(_entry.c.amount_tokens), 0)).where(*incurred)).scalar_one())


def last_line_at(connection: Connection, organization_id: str, at: datetime, *, upto_seq: int) -> Entry | None:
    """Return the last line dated at or before `at`, by bisection: dates never decrease along the journal."""
    low, high = 0, upto_seq
    micros = to_micros(at)
    date = select(_entry.c.at).where(_entry.c.organization_id == organization_id, _entry.c.seq == sqlalchemy.bindparam("middle"))
    while low < high:
        middle = (low + high + 1) // 2
        if connection.execute(date, {"middle": middle}).scalar_one() <= micros:
            low = middle
        else:
            high = middle - 1
    return None if low == 0 else lines(connection, organization_id, after=low - 1, limit=1)[0]


def last_line_above(connection: Connection, organization_id: str, tokens: int, *, after: int) -> int | None:
    """Return the number of the last line after line `after` that left a balance of at least `tokens`; None where none did."""
    found = (
        select(_entry.c.seq)
        .where(_entry.c.organization_id == organization_id, _entry.c.seq > after, _entry.c.balance_after_tokens >= tokens)
        .order_by(_entry.c.seq.desc())
        .limit(1)
    )
    return connection.execute(found).scalar_one_or_none()


def _status_filter(status: PackStatus, now: datetime) -> sqlalchemy.ColumnElement[bool]:
    left = and_(_pack.c.revoked_at.is_(None), _pack.c.remaining_tokens > 0)
    return {
        PackStatus.REVOKED: _pack.c.revoked_at.is_not(None),
        PackStatus.DEPLETED: and_(_pack.c.revoked_at.is_(None), _pack.c.remaining_tokens == 0),
        PackStatus.EXPIRED: and_(left, _pack.c.expires_at <= to_micros(now)),
        PackStatus.ACTIVE: and_(left, _pack.c.expires_at > to_micros(now)),
    }[status]


def packs(
    connection: Connection, organization_id: str, *, now: datetime, status: PackStatus | None, before: int | None, limit: int | None
) -> list[Pack]:
    """Return packs, the latest grant first, those numbered below `before`."""
    query = select(_pack).where(_pack.c.organization_id == organization_id).order_by(_pack.c.number.desc())
    if status is not None:
        query = query.where(_status_filter(status, now))
    if before is not None:
        query = query.where(_pack.c.number < before)
    if limit is not None:
        query = query.limit(limit)
    return [pack_from(row) for row in connection.execute(query)]


def pack_counts(connection: Connection, organization_id: str, now: datetime) -> dict[PackStatus, int]:
    """Return how many packs have each status."""
    columns = [func.count(sqlalchemy.case((_status_filter(status, now), 1))).label(status) for status in PackStatus]
    row = connection.execute(select(*columns).where(_pack.c.organization_id == organization_id)).one()
    return dict(zip(PackStatus, row, strict=True))


def pack_id_of(connection: Connection, organization_id: str, number: int) -> str | None:
    """Return the id of the pack with a number."""
    return connection.execute(
        select(_pack.c.pack_id).where(_pack.c.organization_id == organization_id, _pack.c.number == number)
    ).scalar_one_or_none()


def _numbered(query: Select[Any]) -> Select[Any]:
    """Add the pack's number to journal lines."""
    return query.add_columns(_pack.c.number).outerjoin_from(
        _entry, _pack, and_(_pack.c.organization_id == _entry.c.organization_id, _pack.c.pack_id == _entry.c.pack_id)
    )


def _with_numbers(connection: Connection, query: Select[Any]) -> list[tuple[Entry, int | None]]:
    return [(entry_from(row[:-1]), row[-1]) for row in connection.execute(_numbered(query))]


def ledger(connection: Connection, organization_id: str, *, before: int | None, limit: int) -> list[tuple[Entry, int | None]]:
    """Return debit and refund lines with the numbers of their packs, the latest first, those before line `before`."""
    query = (
        select(_entry)
        .where(_entry.c.organization_id == organization_id, _entry.c.kind.in_(["debit", "refund"]))
        .order_by(_entry.c.seq.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(_entry.c.seq < before)
    return _with_numbers(connection, query)


def request_lines(connection: Connection, organization_id: str, key: bytes) -> list[tuple[Entry, int | None]]:
    """Return all lines of the request whose first line carries `key`."""
    first = connection.execute(
        select(_entry.c.seq, _entry.c.parts).where(_entry.c.organization_id == organization_id, _entry.c.key == key)
    ).one_or_none()
    if first is None:
        return []
    query = select(_entry).where(
        _entry.c.organization_id == organization_id, _entry.c.seq.between(first[0], first[0] + first[1] - 1)
    )
    return _with_numbers(connection, query.order_by(_entry.c.seq))


def hold_id_of(connection: Connection, organization_id: str, key: bytes) -> str | None:
    """Return the id of the hold that was opened with a key."""
    return connection.execute(
        select(_hold.c.hold_id).where(_hold.c.organization_id == organization_id, _hold.c.key == key)
    ).scalar_one_or_none()


def line_rows(connection: Connection, organization_id: str, *, after: int, limit: int) -> Sequence[Any]:
    """Return the rows of journal lines in order, those after line `after`."""
    return connection.execute(
        select(_entry).where(_entry.c.organization_id == organization_id, _entry.c.seq > after).order_by(_entry.c.seq).limit(limit)
    ).all()


def lines(connection: Connection, organization_id: str, *, after: int, limit: int) -> list[Entry]:
    """Return journal lines in order, those after line `after`."""
    return [entry_from(row) for row in line_rows(connection, organization_id, after=after, limit=limit)]


def usage_sums(connection: Connection, organization_id: str, *, since_micros: int, until_micros: int) -> tuple[int, ...]:
    """Return debited, refunded, overage, prompt, completion tokens and requests over [since, until), by whole rollups."""
    names = ("debited_tokens", "refunded_tokens", "overage_tokens", "prompt_tokens", "completion_tokens", "requests")
    row = connection.execute(
        select(*(func.coalesce(func.sum(_rollup.c[name]), 0) for name in names)).where(
            _rollup.c.organization_id == organization_id,
            _rollup.c.bucket_at >= since_micros,
            _rollup.c.bucket_at < until_micros,
        )
    ).one()
    return tuple(int(value) for value in row)
