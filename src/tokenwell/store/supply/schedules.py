"""Schedules in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from tokenwell.core.happenings import Actor
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.core.schedules import Recurrence
from tokenwell.store.schema import schedule as _schedule


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A pack that is granted again and again.

    A pack is valid for `valid_days` from the instant it is due, None for ever. `next_number` and `next_at` are the next occurrence;
    `next_at` None says that there is none. `granted` and `skipped` count those that are over.
    """

    id: str
    organization_id: str
    amount_tokens: int
    recurrence: Recurrence
    zone: str
    valid_days: int | None = None
    priority: int = 0
    note: str = ""
    created_at: datetime
    created_by: Actor
    next_number: int
    next_at: datetime | None
    granted: int = 0
    skipped: int = 0
    paused_at: datetime | None = None
    ended_at: datetime | None = None


def _micros(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


def _at(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _from(row: Sequence[Any]) -> Schedule:
    return Schedule(
        organization_id=row[0],
        id=row[1],
        amount_tokens=row[2],
        recurrence=msgspec.json.decode(row[3], type=Recurrence),
        zone=row[4],
        valid_days=row[5],
        priority=row[6],
        note=row[7],
        created_at=from_micros(row[8]),
        created_by=msgspec.json.decode(row[9], type=Actor),
        next_number=row[10],
        next_at=_at(row[11]),
        granted=row[12],
        skipped=row[13],
        paused_at=_at(row[14]),
        ended_at=_at(row[15]),
    )


def add_schedule(connection: Connection, schedule: Schedule) -> None:
    """Insert a schedule; raises sqlalchemy's IntegrityError where there is no such organization."""
    connection.execute(
        insert(_schedule).values(
            organization_id=schedule.organization_id,
            schedule_id=schedule.id,
            amount_tokens=schedule.amount_tokens,
            recurrence=msgspec.json.encode(schedule.recurrence).decode(),
            zone=schedule.zone,
            valid_days=schedule.valid_days,
            priority=schedule.priority,
            note=schedule.note,
            created_at=to_micros(schedule.created_at),
            created_by=msgspec.json.encode(schedule.created_by).decode(),
            next_number=schedule.next_number,
            next_at=_micros(schedule.next_at),
            granted=0,
            skipped=0,
        )
    )


def find_schedule(connection: Connection, organization_id: str, schedule_id: str) -> Schedule | None:
    """Return a schedule of the organization, or None."""
    own = (_schedule.c.organization_id == organization_id) & (_schedule.c.schedule_id == schedule_id)
    row = connection.execute(select(_schedule).where(own)).first()
    return None if row is None else _from(row)


def schedules(
    connection: Connection, organization_id: str | None, *, going: bool = False, before: str | None, limit: int
) -> list[Schedule]:
    """Return schedules of one organization or of all, the latest first, those before the id `before`; `going`: not ended."""
    query = select(_schedule)
    if going:
        query = query.where(_schedule.c.ended_at.is_(None))
    if organization_id is not None:
        query = query.where(_schedule.c.organization_id == organization_id)
    if before is not None:
        query = query.where(_schedule.c.schedule_id < before)
    return [_from(row) for row in connection.execute(query.order_by(_schedule.c.schedule_id.desc()).limit(limit))]


def due_schedules(connection: Connection, now: datetime, limit: int) -> list[Schedule]:
    """Return schedules that are due and not paused, the longest due first."""
    query = (
        select(_schedule)
        .where(_schedule.c.next_at <= to_micros(now), _schedule.c.next_at.is_not(None), _schedule.c.paused_at.is_(None))
        .order_by(_schedule.c.next_at, _schedule.c.organization_id)
        .limit(limit)
    )
    return [_from(row) for row in connection.execute(query)]


def advance(
    connection: Connection, schedule: Schedule, *, next_number: int, next_at: datetime | None, skipped: int, granted: int
) -> bool:
    """Move a schedule on to another occurrence; returns whether it still stood where it was read."""
    changed = connection.execute(
        update(_schedule)
        .where(
            _schedule.c.organization_id == schedule.organization_id,
            _schedule.c.schedule_id == schedule.id,
            _schedule.c.next_number == schedule.next_number,
            _schedule.c.ended_at.is_(None),
        )
        .values(
            next_number=next_number,
            next_at=_micros(next_at),
            granted=_schedule.c.granted + granted,
            skipped=_schedule.c.skipped + skipped,
        )
    )
    return changed.rowcount > 0


def change(connection: Connection, before: Schedule, wanted: Schedule) -> bool:
    """Change what a schedule grants and until when; returns whether it still stood where it was read."""
    return _change(
        connection,
        before.organization_id,
        before.id,
        _schedule.c.next_number == before.next_number,
        amount_tokens=wanted.amount_tokens,
        recurrence=msgspec.json.encode(wanted.recurrence).decode(),
        valid_days=wanted.valid_days,
        priority=wanted.priority,
        note=wanted.note,
        next_number=wanted.next_number,
        next_at=_micros(wanted.next_at),
    )


def pause(connection: Connection, organization_id: str, schedule_id: str, at: datetime) -> bool:
    """Pause a schedule; returns whether it was going."""
    return _change(connection, organization_id, schedule_id, _schedule.c.paused_at.is_(None), paused_at=to_micros(at))


def resume(connection: Connection, schedule: Schedule, *, next_number: int, next_at: datetime | None) -> bool:
    """Let a paused schedule go on from an occurrence; returns whether it was paused."""
    is_paused = _schedule.c.paused_at.is_not(None)
    return _change(
        connection,
        schedule.organization_id,
        schedule.id,
        is_paused,
        paused_at=None,
        next_number=next_number,
        next_at=_micros(next_at),
    )


def end(connection: Connection, organization_id: str, schedule_id: str, at: datetime) -> bool:
    """End a schedule for good; returns whether it was not ended before."""
    return _change(connection, organization_id, schedule_id, True, ended_at=to_micros(at), next_at=None)


def _change(connection: Connection, organization_id: str, schedule_id: str, present: Any, **values: Any) -> bool:
    query = update(_schedule).where(
        _schedule.c.organization_id == organization_id, _schedule.c.schedule_id == schedule_id, _schedule.c.ended_at.is_(None)
    )
    changed = connection.execute((query if present is True else query.where(present)).values(**values))
    return changed.rowcount > 0
