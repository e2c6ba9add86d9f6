"""The outbox in tables: events that nobody was told of yet. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.core.happenings import Event, EventKind
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.notices.deliveries import NewDelivery, values_of
from tokenwell.store.schema import delivery, event, told


def due_events(connection: Connection, limit: int) -> dict[str, list[str]]:
    """Return the ids of events that nobody was told of, oldest first, by organization."""
    rows = connection.execute(
        select(event.c.organization_id, event.c.event_id)
        .where(event.c.dispatched_at.is_(None))
        .order_by(event.c.event_id)
        .limit(limit)
    )
    found: dict[str, list[str]] = {}
    for organization_id, event_id in rows:
        found.setdefault(organization_id, []).append(event_id)
    return found


def claim_events(connection: Connection, organization_id: str, event_ids: Sequence[str]) -> list[tuple[str, Event]]:
    """Return those of the events that nobody was told of and nobody else is at, locked until the transaction ends."""
    rows = connection.execute(
        select(event.c.event_id, event.c.at, event.c.kind, event.c.detail)
        .where(event.c.organization_id == organization_id, event.c.event_id.in_(event_ids), event.c.dispatched_at.is_(None))
        .order_by(event.c.event_id)
        .with_for_update(skip_locked=True)
    )
    return [
        (row[0], Event(organization_id=organization_id, at=from_micros(row[1]), kind=EventKind(row[2]), detail=row[3]))
        for row in rows
    ]


def mark_dispatched(connection: Connection, organization_id: str, event_ids: Sequence[str], at: datetime) -> None:
    """Note that all who are to be told of the events have deliveries."""
    own = (event.c.organization_id == organization_id) & event.c.event_id.in_(event_ids)
    connection.execute(update(event).where(own).values(dispatched_at=to_micros(at)))


def add_deliveries(connection: Connection, new: Sequence[NewDelivery]) -> None:
    """Insert deliveries; one of the same event through the same channel is there once."""
    if new:
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        connection.execute(insert(delivery).on_conflict_do_nothing(), [values_of(each) for each in new])


def tell_once(connection: Connection, organization_id: str, subject: str, at: datetime) -> bool:
    """Return whether `subject` is told for the first time; from then on it never is again."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    values = {"organization_id": organization_id, "subject": subject, "at": to_micros(at)}
    added = connection.execute(insert(told).on_conflict_do_nothing().returning(told.c.subject), values)
    return added.first() is not None


def was_told(connection: Connection, organization_id: str, subject: str) -> bool:
    """Return whether `subject` was told."""
    own = (told.c.organization_id == organization_id) & (told.c.subject == subject)
    return connection.execute(select(told.c.subject).where(own)).first() is not None
