"""Proving in tables: what a balance consists of, pack by pack and line by line, each from the caller's snapshot.

A partial index holds the lines of the journal that are neither charges nor refunds nor overage: few, however long the ledger is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, literal_column, select

from tokenwell.core.instants import to_micros
from tokenwell.core.journal import Entry
from tokenwell.core.packs import Pack
from tokenwell.store import schema
from tokenwell.store.rows import entry_from, pack_from

_pack, _entry = schema.pack, schema.entry


def is_life() -> ColumnElement[bool]:
    """Return what tells the lines of packs' lives, in the very words of their index."""
    kinds: list[Any] = [literal_column(f"'{kind}'") for kind in ("grant", "expire", "revoke", "extend", "overage_repaid")]
    return _entry.c.kind.in_(kinds)


def pack_named(connection: Connection, organization_id: str, *, pack_id: str | None, number: int | None) -> Pack | None:
    """Return the pack with an id or a number."""
    named = _pack.c.number == number if pack_id is None else _pack.c.pack_id == pack_id
    row = connection.execute(select(_pack).where(_pack.c.organization_id == organization_id, named)).one_or_none()
    return None if row is None else pack_from(row)


def life_of(connection: Connection, organization_id: str, pack_id: str, *, limit: int) -> list[Entry]:
    """Return the lines of one pack's life, in order."""
    query = (
        select(_entry)
        .where(_entry.c.organization_id == organization_id, _entry.c.pack_id == pack_id, is_life())
        .order_by(_entry.c.seq + 0)  # by its sum no index is in order: the one of packs' lives is looked into, not all lines
        .limit(limit)
    )
    return [entry_from(row) for row in connection.execute(query)]


def sums_by_kind(connection: Connection, organization_id: str) -> dict[str, tuple[int, int]]:
    """Return, for each kind of line in packs' lives, how many there are and what they sum to."""
    query = (
        select(_entry.c.kind, func.count(), func.sum(_entry.c.amount_tokens))
        .where(_entry.c.organization_id == organization_id, is_life())
        .group_by(_entry.c.kind)
    )
    return {row[0]: (row[1], int(row[2])) for row in connection.execute(query)}


def forfeited_by_pack(connection: Connection, organization_id: str, pack_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    """Return what expired and what was revoked of each of these packs, by pack and kind."""
    query = (
        select(_entry.c.pack_id, _entry.c.kind, func.sum(_entry.c.amount_tokens))
        .where(_entry.c.organization_id == organization_id, _entry.c.pack_id.in_(pack_ids), is_life())
        .group_by(_entry.c.pack_id, _entry.c.kind)
    )
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}


_PARTS: dict[str, ColumnElement[bool]] = {
    "granted": _pack.c.total_tokens > 0,
    "used": _pack.c.total_tokens - _pack.c.repaid_tokens != _pack.c.remaining_tokens,
    "repaid": _pack.c.repaid_tokens > 0,
}


def packs_of_part(
    connection: Connection, organization_id: str, part: str, *, now: datetime, before: int | None, limit: int
) -> list[Pack]:
    """Return the packs that a part of the balance consists of, the latest grant first, those numbered below `before`."""
    micros = to_micros(now)
    conditions = {
        **_PARTS,
        "expired": and_(_pack.c.revoked_at.is_(None), _pack.c.remaining_tokens > 0, _pack.c.expires_at <= micros),
        "revoked": and_(_pack.c.revoked_at.is_not(None), _pack.c.remaining_tokens > 0),
        "balance": and_(_pack.c.is_open == literal_column("1"), _pack.c.expires_at > micros),
    }
    query = select(_pack).where(_pack.c.organization_id == organization_id, conditions[part])
    if before is not None:
        query = query.where(_pack.c.number < before)
    return [pack_from(row) for row in connection.execute(query.order_by(_pack.c.number.desc()).limit(limit))]


def pack_sums(connection: Connection, organization_id: str, now: datetime) -> Row[Any]:
    """Return the sums over all packs, as their table has them: total, repaid, what is left of those that are active, expired and
    revoked, and of those that expired without that being written yet."""
    micros = to_micros(now)
    left = _pack.c.remaining_tokens
    revoked = _pack.c.revoked_at.is_not(None)
    expired = and_(_pack.c.revoked_at.is_(None), _pack.c.expires_at <= micros)

    def summed(condition: ColumnElement[bool]) -> ColumnElement[Any]:
        return func.coalesce(func.sum(left).filter(condition), 0)

    return connection.execute(
        select(
            func.coalesce(func.sum(_pack.c.total_tokens), 0).label("total_tokens"),
            func.coalesce(func.sum(_pack.c.repaid_tokens - _pack.c.returned_tokens), 0).label("repaid_tokens"),
            summed(and_(_pack.c.revoked_at.is_(None), _pack.c.expires_at > micros)).label("active_tokens"),
            summed(expired).label("expired_tokens"),
            summed(revoked).label("revoked_tokens"),
            summed(and_(_pack.c.is_open == literal_column("1"), _pack.c.expires_at <= micros)).label("due_tokens"),
            func.count().label("packs"),
        ).where(_pack.c.organization_id == organization_id)
    ).one()


PART_NAMES = (*_PARTS, "expired", "revoked", "balance")
