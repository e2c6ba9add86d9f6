"""Retention in tables: what is old is deleted, some rows at a time. Every function works in the caller's transaction.

The journal, its idempotency keys and the audit log are never deleted, events only where a setting says so.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_

from tokenwell.core.instants import to_micros
from tokenwell.store.schema import api_write, attempt, delivery, event, event_read, session, sign_in_failure, told

CHUNK = 500
"""How many rows are deleted at a time, so that no writer waits long."""


def delete_sessions(connection: Connection, now: datetime) -> int:
    """Delete sessions that have expired; return how many."""
    return _delete(connection, session, session.c.expires_at <= to_micros(now))


def delete_failures(connection: Connection, before: datetime) -> int:
    """Delete failed sign-ins at or before `before`; return how many."""
    return _delete(connection, sign_in_failure, sign_in_failure.c.at <= to_micros(before))


def delete_deliveries(connection: Connection, before: datetime) -> int:
    """Delete deliveries that were finished before `before`, with their attempts; return how many deliveries."""
    columns = (delivery.c.organization_id, delivery.c.delivery_id)
    old = delivery.c.finished_at < to_micros(before)
    rows = connection.execute(select(*columns).where(old).limit(CHUNK)).all()
    for organization_id, delivery_id in rows:
        own = (attempt.c.organization_id == organization_id) & (attempt.c.delivery_id == delivery_id)
        connection.execute(delete(attempt).where(own))
        connection.execute(
            delete(delivery).where(delivery.c.organization_id == organization_id, delivery.c.delivery_id == delivery_id)
        )
    return len(rows)


def delete_marks(connection: Connection, before: datetime) -> int:
    """Delete what was noted before `before` of what people have read and been told; return how many."""
    read = _delete(connection, event_read, event_read.c.at < to_micros(before))
    return read + _delete(connection, told, told.c.at < to_micros(before))


def delete_writes(connection: Connection, before: datetime) -> int:
    """Delete what was answered to writes of the REST API before `before`; return how many."""
    return _delete(connection, api_write, api_write.c.at < to_micros(before))


def delete_events(connection: Connection, before: datetime) -> int:
    """Delete events before `before` that everybody was told of and no delivery is kept of; return how many."""
    kept = select(delivery.c.delivery_id).where(
        delivery.c.organization_id == event.c.organization_id, delivery.c.event_id == event.c.event_id
    )
    return _delete(connection, event, (event.c.at < to_micros(before)) & event.c.dispatched_at.is_not(None) & ~kept.exists())


def _delete(connection: Connection, table: Table, old: ColumnElement[bool]) -> int:
    key = list(table.primary_key.columns)
    rows = connection.execute(select(*key).where(old).limit(CHUNK)).all()
    for row in rows:
        connection.execute(delete(table).where(tuple_(*key) == tuple_(*row)))
    return len(rows)
