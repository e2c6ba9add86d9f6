"""The directory in tables: every organization with how it stands, in one statement, those in need first.

An account's row does not know yet of packs that expired since its last write: what they hold is subtracted where any is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)

from tokenwell.core.health import Thresholds
from tokenwell.core.instants import NEVER_MICROS, to_micros
from tokenwell.core.packs import Pack
from tokenwell.store import schema
from tokenwell.store.rows import pack_from

_account, _organization, _pack, _outlook = schema.account, schema.organization, schema.pack, schema.outlook

_SUMS = ("debited_tokens", "refunded_tokens", "overage_tokens", "prompt_tokens", "completion_tokens", "requests")

STOPPED, LOW, NORMAL = 0, 1, 2
"""How urgent a state is; the least is the most urgent."""


def _standing(now: datetime, platform: Thresholds) -> Select[Any]:
    """Return every account as it stands at `now`: its balance, its lines, how urgent its state is, and how far it is from the
    next line down."""
    micros = to_micros(now)
    due = (
        select(func.coalesce(func.sum(_pack.c.remaining_tokens), 0))
        .where(
            _pack.c.organization_id == _account.c.organization_id,
            _pack.c.is_open == literal_column("1"),
            _pack.c.expires_at <= micros,
        )
        .scalar_subquery()
    )
    expired = case((_account.c.next_expiry_at <= micros, cast(due, BigInteger)), else_=0)
    inner = (
        select(
            _account.c.organization_id,
            _organization.c.name,
            _account.c.seq,
            (_account.c.balance_tokens - expired).label("balance_tokens"),
            _account.c.held_tokens,
            _account.c.overage_tokens,
            _account.c.pack_count,
            func.coalesce(_account.c.warning_tokens, platform.warning_tokens).label("warning_tokens"),
            func.coalesce(_account.c.reserve_tokens, platform.reserve_tokens).label("reserve_tokens"),
            func.coalesce(_outlook.c.stops_at, NEVER_MICROS).label("stops_micros"),
            _outlook.c.tokens_per_day.label("outlook_per_day"),
        )
        .select_from(_account)
        .join(_organization, _organization.c.organization_id == _account.c.organization_id)
        .outerjoin(_outlook, _outlook.c.organization_id == _account.c.organization_id)
        .subquery("standing")
    )
    c = inner.c
    urgency = case(
        (or_(c.balance_tokens < c.reserve_tokens, c.balance_tokens == 0), STOPPED),
        (c.balance_tokens < c.warning_tokens, LOW),
        else_=NORMAL,
    )
    return select(
        inner,
        cast(urgency, Integer).label("urgency"),
        (c.balance_tokens - c.reserve_tokens).label("margin_tokens"),
        cast(case((urgency == STOPPED, 0), else_=c.stops_micros), BigInteger).label("stops_key"),
    )


def _chosen(urgency: int | None, search: str, table: Any) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if urgency is not None:
        conditions.append(table.c.urgency == urgency)
    if search:
        pattern = search.lower()
        conditions.append(
            or_(
                func.lower(table.c.name).contains(pattern, autoescape=True),
                func.lower(table.c.organization_id).contains(pattern, autoescape=True),
            )
        )
    return conditions


def organizations(
    connection: Connection,
    *,
    now: datetime,
    platform: Thresholds,
    urgency: int | None,
    search: str,
    after: tuple[int, int, str] | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Return organizations by when their AI stops, margin and id, those after `after`, with how many of their packs are active.

    Whose AI is stopped comes first; whose forecast tells of no stop, or that have none, come last.
    """
    standing = _standing(now, platform).subquery("ranked")
    order = (standing.c.stops_key, standing.c.margin_tokens, standing.c.organization_id)
    query = select(standing).where(and_(True, *_chosen(urgency, search, standing)))
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(*after))
    page = query.order_by(*order).limit(limit).subquery("page")
    active = (
        select(func.count())
        .where(
            _pack.c.organization_id == page.c.organization_id,
            _pack.c.is_open == literal_column("1"),
            _pack.c.expires_at > to_micros(now),
        )
        .scalar_subquery()
    )
    order = (page.c.stops_key, page.c.margin_tokens, page.c.organization_id)
    return connection.execute(select(page, active.label("active_packs")).order_by(*order)).all()


def counts(connection: Connection, *, now: datetime, platform: Thresholds, search: str) -> dict[int, int]:
    """Return how many organizations there are of each urgency."""
    standing = _standing(now, platform).subquery("ranked")
    query = select(standing.c.urgency, func.count()).where(and_(True, *_chosen(None, search, standing)))
    return {row[0]: row[1] for row in connection.execute(query.group_by(standing.c.urgency))}


def pulses(connection: Connection, *, now: datetime, platform: Thresholds, organization_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Return the accounts of some organizations as they stand: their last line, balance, held tokens, urgency, newest event."""
    standing = _standing(now, platform).subquery("ranked")
    event = schema.event.c
    newest = select(func.max(event.event_id)).where(event.organization_id == standing.c.organization_id).scalar_subquery()
    found = select(standing, newest.label("event_id")).where(standing.c.organization_id.in_(organization_ids))
    return connection.execute(found).all()


def lines_since(connection: Connection, organization_id: str, seq: int, limit: int) -> int:
    """Return how many lines of the ledger were written after line `seq`, at most `limit`."""
    entry = schema.entry
    lines = (
        select(entry.c.seq)
        .where(entry.c.organization_id == organization_id, entry.c.seq > seq, entry.c.kind.in_(["debit", "refund"]))
        .limit(limit)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(lines)).scalar_one()


def grants(connection: Connection, *, before: str | None, limit: int) -> Sequence[tuple[Pack, str]]:
    """Return packs of every organization, the latest grant first, those before pack `before`, with the organizations' names."""
    query = (
        select(_pack, _organization.c.name)
        .join(_organization, _organization.c.organization_id == _pack.c.organization_id)
        .order_by(_pack.c.pack_id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(_pack.c.pack_id < before)
    return [(pack_from(row[:-1]), row[-1]) for row in connection.execute(query)]


def usage(
    connection: Connection, *, since_micros: int, until_micros: int, search: str, after: str, limit: int
) -> Sequence[Row[Any]]:
    """Return organizations by id, those after `after`, with what each used in [since, until)."""
    rollup = schema.rollup
    named = select(_organization.c.organization_id, _organization.c.name).where(_organization.c.organization_id > after)
    if search:
        named = named.where(*_chosen(None, search, _organization))
    page = named.order_by(_organization.c.organization_id).limit(limit).subquery("page")
    query = (
        select(page.c.organization_id, page.c.name, *(func.coalesce(func.sum(rollup.c[name]), 0).label(name) for name in _SUMS))
        .join_from(
            page,
            rollup,
            and_(
                rollup.c.organization_id == page.c.organization_id,
                rollup.c.bucket_at >= since_micros,
                rollup.c.bucket_at < until_micros,
            ),
            isouter=True,
        )
        .group_by(page.c.organization_id, page.c.name)
        .order_by(page.c.organization_id)
    )
    return connection.execute(query).all()


def usage_total(connection: Connection, *, since_micros: int, until_micros: int, search: str) -> Row[Any]:
    """Return what all organizations that are searched for used together in [since, until), and how many they are."""
    rollup = schema.rollup
    named = select(_organization.c.organization_id).where(*_chosen(None, search, _organization)).subquery("named")
    own = and_(
        rollup.c.organization_id == named.c.organization_id, rollup.c.bucket_at >= since_micros, rollup.c.bucket_at < until_micros
    )
    sums = (func.coalesce(func.sum(rollup.c[name]), 0).label(name) for name in _SUMS)
    count = select(func.count()).select_from(named).scalar_subquery().label("organizations")
    query: Select[Any] = select(*sums, count).select_from(named.join(rollup, own))
    return connection.execute(query).one()


def names(connection: Connection, organization_ids: Sequence[str]) -> dict[str, str]:
    """Return the names of some organizations, from one statement."""
    query = select(_organization.c.organization_id, _organization.c.name).where(
        _organization.c.organization_id.in_(organization_ids)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def used(connection: Connection, organization_ids: Sequence[str], *, since_micros: int, until_micros: int) -> dict[str, int]:
    """Return what each of some organizations used in [since, until)."""
    rollup = schema.rollup.c
    query = (
        select(rollup.organization_id, func.sum(rollup.debited_tokens))
        .where(rollup.organization_id.in_(organization_ids), rollup.bucket_at >= since_micros, rollup.bucket_at < until_micros)
        .group_by(rollup.organization_id)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}
