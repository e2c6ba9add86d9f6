"""Outlooks in tables. Every function works in the caller's transaction; which organizations are due is asked of all at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.core.instants import to_micros
from tokenwell.store.schema import account as _account
from tokenwell.store.schema import outlook as _outlook


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What the forecast of an organization said at `at`, when its account had this version and so many packs. `stops_at` is None
    where AI does not stop within the forecast's horizon, or nothing is known."""

    organization_id: str
    at: datetime
    version: int
    pack_count: int
    stops_at: datetime | None
    tokens_per_day: int


class Due(msgspec.Struct, frozen=True):
    """An organization whose outlook is to be written anew, with its account as it was then."""

    organization_id: str
    version: int
    pack_count: int


def due(connection: Connection, *, now: datetime, changed_before: datetime, before: datetime, limit: int) -> Sequence[Due]:
    """Return organizations without an outlook, with new packs since, changed since one from before `changed_before`, or whose
    outlook is from before `before` or, by a clock that went ahead, from after `now`; the oldest first."""
    is_changed = and_(_outlook.c.version != _account.c.version, _outlook.c.at < to_micros(changed_before))
    has_new_packs = _outlook.c.pack_count != _account.c.pack_count
    is_off = or_(_outlook.c.at < to_micros(before), _outlook.c.at > to_micros(now))
    is_due = or_(_outlook.c.at.is_(None), has_new_packs, is_changed, is_off)
    query = (
        select(_account.c.organization_id, _account.c.version, _account.c.pack_count)
        .select_from(_account.outerjoin(_outlook, _outlook.c.organization_id == _account.c.organization_id))
        .where(is_due)
        .order_by(func.coalesce(_outlook.c.at, 0), _account.c.organization_id)
        .limit(limit)
    )
    return [Due(row[0], row[1], row[2]) for row in connection.execute(query)]


def put(connection: Connection, outlook: Outlook) -> None:
    """Write the outlook of an organization in place of the one before."""
    values = {
        "at": to_micros(outlook.at),
        "version": outlook.version,
        "pack_count": outlook.pack_count,
        "stops_at": None if outlook.stops_at is None else to_micros(outlook.stops_at),
        "tokens_per_day": outlook.tokens_per_day,
    }
    insert: Any = sqlite.insert(_outlook) if connection.dialect.name == "sqlite" else postgresql.insert(_outlook)
    connection.execute(
        insert.values(organization_id=outlook.organization_id, **values).on_conflict_do_update(
            index_elements=["organization_id"], set_=values
        )
    )
