"""Events in tables: what happened, as people look it up. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, Subquery, and_, case, func, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.core.happenings import Event, EventKind
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import event, event_read, organization


class KnownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its id, whether the person who asks has read it, and where it is one of many organizations', whose it is."""

    id: str
    event: Event
    is_read: bool = True
    organization_name: str = ""


def find_event(connection: Connection, organization_id: str, event_id: str) -> Event | None:
    """Return an event, or None."""
    row = connection.execute(
        select(event.c.at, event.c.kind, event.c.detail).where(
            event.c.organization_id == organization_id, event.c.event_id == event_id
        )
    ).one_or_none()
    if row is None:
        return None
    return Event(organization_id=organization_id, at=from_micros(row[0]), kind=EventKind(row[1]), detail=row[2])


def events_of(
    connection: Connection,
    organization_id: str,
    *,
    person_id: str | None = None,
    kinds: Collection[EventKind] | None = None,
    before: str | None = None,
    limit: int,
) -> list[KnownEvent]:
    """Return an organization's events, newest first, before the id `before` if it is given. Without a person all count as read."""
    found = (
        select(event.c.event_id, event.c.at, event.c.kind, event.c.detail, event_read.c.at)
        .select_from(event.outerjoin(event_read, _mark(organization_id, person_id or "")))
        .where(event.c.organization_id == organization_id)
    )
    if kinds is not None:
        found = found.where(event.c.kind.in_([kind.value for kind in kinds]))
    if before is not None:
        found = found.where(event.c.event_id < before)
    rows = connection.execute(found.order_by(event.c.event_id.desc()).limit(limit))
    return [
        KnownEvent(
            id=row[0],
            event=Event(organization_id=organization_id, at=from_micros(row[1]), kind=EventKind(row[2]), detail=row[3]),
            is_read=person_id is None or row[4] is not None,
        )
        for row in rows
    ]


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """How many events a person has not read, and the id of the newest event, read or not; empty where there is none."""

    count: int
    newest_id: str = ""


def unread_of(connection: Connection, organization_id: str, person_id: str, kinds: Collection[EventKind], limit: int) -> Unread:
    """Return what a person has not read of the newest `limit` events of these kinds."""
    newest = (
        select(event.c.event_id, event_read.c.at)
        .select_from(event.outerjoin(event_read, _mark(organization_id, person_id)))
        .where(event.c.organization_id == organization_id, event.c.kind.in_([kind.value for kind in kinds]))
        .order_by(event.c.event_id.desc())
        .limit(limit)
        .subquery("newest")
    )
    return _counted(connection, newest)


def unread_anywhere(connection: Connection, person_id: str, kinds: Collection[EventKind], limit: int) -> Unread:
    """Return what a person has not read of the newest `limit` events of these kinds in all organizations."""
    found = _newest_anywhere(kinds, before=None, limit=limit)
    newest = (
        select(found.c.event_id, event_read.c.at)
        .select_from(found.outerjoin(event_read, _mark_of(found, person_id)))
        .order_by(found.c.event_id.desc())
        .limit(limit)
        .subquery("newest")
    )
    return _counted(connection, newest)


def _counted(connection: Connection, newest: Subquery) -> Unread:
    unread = func.count(case((newest.c.at.is_(None), newest.c.event_id)))
    row = connection.execute(select(unread, func.max(newest.c.event_id)).select_from(newest)).one()
    return Unread(count=row[0], newest_id=row[1] or "")


def events_anywhere(
    connection: Connection, *, person_id: str, kinds: Collection[EventKind], before: str | None = None, limit: int
) -> list[KnownEvent]:
    """Return the events of these kinds in all organizations, newest first, before the id `before` if it is given."""
    found = _newest_anywhere(kinds, before=before, limit=limit)
    rows = connection.execute(
        select(found, event_read.c.at.label("read_at"), organization.c.name)
        .select_from(found.outerjoin(event_read, _mark_of(found, person_id)))
        .join(organization, organization.c.organization_id == found.c.organization_id)
        .order_by(found.c.event_id.desc())
        .limit(limit)
    )
    return [
        KnownEvent(
            id=row.event_id,
            event=Event(organization_id=row.organization_id, at=from_micros(row.at), kind=EventKind(row.kind), detail=row.detail),
            is_read=row.read_at is not None,
            organization_name=row.name or row.organization_id,
        )
        for row in rows
    ]


def newest_anywhere(connection: Connection, kinds: Collection[EventKind]) -> str:
    """Return the id of the newest event of these kinds in all organizations; empty where there is none."""
    ids = [connection.execute(select(func.max(event.c.event_id)).where(event.c.kind == kind.value)).scalar() for kind in kinds]
    return max((each for each in ids if each is not None), default="")


def _newest_anywhere(kinds: Collection[EventKind], *, before: str | None, limit: int) -> Subquery:
    """The newest events of each kind: each comes from the end of an index, however many events there are."""
    earlier = [event.c.event_id < before] if before is not None else []
    parts = [
        select(event.c.organization_id, event.c.event_id, event.c.at, event.c.kind, event.c.detail)
        .where(event.c.kind == kind.value, *earlier)
        .order_by(event.c.event_id.desc())
        .limit(limit)
        .subquery()
        for kind in sorted(kinds)
    ]
    return union_all(*(select(part) for part in parts)).subquery("found")


def _mark_of(found: Subquery, person_id: str) -> ColumnElement[bool]:
    return and_(
        event_read.c.organization_id == found.c.organization_id,
        event_read.c.event_id == found.c.event_id,
        event_read.c.person_id == person_id,
    )


def _mark(organization_id: str, person_id: str) -> ColumnElement[bool]:
    """The note that a person has read an event."""
    return and_(
        event_read.c.organization_id == organization_id,
        event_read.c.event_id == event.c.event_id,
        event_read.c.person_id == person_id,
    )


def mark_read(connection: Connection, organization_id: str, person_id: str, event_ids: Collection[str], at: datetime) -> int:
    """Note that a person has read events; return of how many that was news."""
    table_insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = table_insert(event_read).on_conflict_do_nothing().returning(event_read.c.event_id)
    values = {"organization_id": organization_id, "person_id": person_id, "at": to_micros(at)}
    return sum(connection.execute(statement, {"event_id": each, **values}).first() is not None for each in event_ids)
