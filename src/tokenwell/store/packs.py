"""Packs in tables, off the hot path: one pack, and its note. Every function works in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, func, literal_column, select, tuple_, update

from tokenwell.core.instants import NEVER_MICROS, from_micros, to_micros
from tokenwell.core.packs import Pack
from tokenwell.store.rows import pack_from
from tokenwell.store.schema import pack as _pack


def find_pack(connection: Connection, organization_id: str, pack_id: str) -> Pack | None:
    """Return a pack of the organization, or None."""
    own = (_pack.c.organization_id == organization_id) & (_pack.c.pack_id == pack_id)
    row = connection.execute(select(_pack).where(own)).one_or_none()
    return None if row is None else pack_from(row)


def is_open(organization_id: str) -> ColumnElement[bool]:
    """Return what tells an organization's open packs. The 1 is no parameter: SQLite would not use the indexes of open packs."""
    return and_(_pack.c.organization_id == organization_id, _pack.c.is_open == literal_column("1"))


def in_burn_order(
    connection: Connection, organization_id: str, *, now: datetime, after: Pack | None, limit: int | None = None
) -> list[Pack]:
    """Return the active packs in burn-down order, those after a pack."""
    order = (_pack.c.priority, _pack.c.expires_at, _pack.c.granted_at, _pack.c.pack_id)
    # The sum keeps SQLite from its index by expiry, with which it would sort all packs to find the first.
    active = and_(is_open(organization_id), _pack.c.expires_at + literal_column("0") > to_micros(now))
    query = select(_pack).where(active).order_by(*order).limit(limit)
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(*after.burn_order()))
    return [pack_from(row) for row in connection.execute(query)]


def largest(connection: Connection, organization_id: str, *, now: datetime, limit: int) -> list[Pack]:
    """Return the active packs that have the most left, the largest first."""
    active = and_(is_open(organization_id), _pack.c.expires_at > to_micros(now))
    first = select(_pack.c.pack_id).where(active).order_by(_pack.c.remaining_tokens.desc(), _pack.c.pack_id).limit(limit)
    own = and_(_pack.c.organization_id == organization_id, _pack.c.pack_id.in_(connection.execute(first).scalars().all()))
    packs = [pack_from(row) for row in connection.execute(select(_pack).where(own))]
    return sorted(packs, key=lambda pack: (-pack.remaining_tokens, pack.id))


def next_expiry(connection: Connection, organization_id: str, *, now: datetime) -> tuple[datetime, int] | None:
    """Return when the next active packs expire, and what they have left; None where none of them does."""
    own = is_open(organization_id)
    active = own, _pack.c.expires_at > to_micros(now)
    soonest = connection.execute(select(func.min(_pack.c.expires_at)).where(*active)).scalar_one_or_none()
    if soonest in (None, NEVER_MICROS):
        return None
    tokens = connection.execute(select(func.sum(_pack.c.remaining_tokens)).where(own, _pack.c.expires_at == soonest))
    return from_micros(soonest), int(tokens.scalar_one())


def set_note(connection: Connection, organization_id: str, pack_id: str, note: str) -> None:
    """Change a pack's note. It is the one column of a pack that no command writes again."""
    own = (_pack.c.organization_id == organization_id) & (_pack.c.pack_id == pack_id)
    connection.execute(update(_pack).where(own).values(note=note))
