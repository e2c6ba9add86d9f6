"""Jobs in tables: whose turn it is, until when, and what came of the last. Every function works in the caller's transaction.

A turn is a lease with a number. Clocks differ and jump: a lease or a next run that lies further ahead than anybody could have set
it counts as over. A process that was overtaken finds another number and stops; what jobs do is right even where two overlap.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import job

REASON_LIMIT = 500
"""How much of a failure's reason is kept, in characters."""


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job: who has its turn, when it is due next, how its last run went, and how many there were."""

    name: str
    owner: str | None
    turn: int
    leased_until: datetime | None
    next_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    took_millis: int
    done: int
    runs: int
    failures: int
    failed_at: datetime | None
    failure: str


class Report(msgspec.Struct, kw_only=True):
    """What a process has to say of its runs since it last said something."""

    started_at: datetime | None = None
    ended_at: datetime | None = None
    took_millis: int = 0
    done: int = 0
    runs: int = 0
    failures: int = 0
    failed_at: datetime | None = None
    failure: str = ""


def records(connection: Connection) -> dict[str, JobRecord]:
    """Return every job that has ever been due, by name."""
    return {row.name: _record_from(row._mapping) for row in connection.execute(select(job).order_by(job.c.name))}


def add_missing(connection: Connection, names: Iterable[str], now: datetime) -> None:
    """Insert the jobs that are not there yet, due now."""
    rows = [_fresh(name, now) for name in names]
    table_insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    if rows:
        connection.execute(table_insert(job).on_conflict_do_nothing(), rows)


def _fresh(name: str, now: datetime) -> dict[str, object]:
    numbers = dict.fromkeys(("turn", "took_millis", "done", "runs", "failures"), 0)
    return {"name": name, "next_at": to_micros(now), "failure": "", **numbers}


def take_turn(
    connection: Connection, name: str, owner: str, *, now: datetime, lease: timedelta, longest: timedelta
) -> tuple[int, datetime] | None:
    """Take the turn of a job that is due and nobody's; returns its number and when it was due, None if it is not to be had.

    `longest` is the longest time ahead that a next run is ever set.
    """
    row = connection.execute(select(job).where(job.c.name == name).with_for_update()).one_or_none()
    if row is None or not is_free(_record_from(row._mapping), now=now, lease=lease, longest=longest):
        return None
    connection.execute(
        update(job).where(job.c.name == name).values(owner=owner, turn=row.turn + 1, leased_until=to_micros(now + lease))
    )
    return row.turn + 1, from_micros(row.next_at)


def is_free(record: JobRecord, *, now: datetime, lease: timedelta, longest: timedelta) -> bool:
    """Return whether a job is due and its turn can be taken."""
    is_due = not now < record.next_at <= now + longest
    is_leased = record.leased_until is not None and now < record.leased_until <= now + lease
    return is_due and not is_leased


def keep_turn(connection: Connection, name: str, turn: int, *, until: datetime, report: Report) -> bool:
    """Lengthen a turn and note what was done; returns False where somebody else has taken over: then nothing is noted."""
    return _write(connection, name, turn, report, leased_until=to_micros(until))


def end_turn(connection: Connection, name: str, turn: int, *, next_at: datetime, report: Report) -> bool:
    """Give a turn back, note what was done and when the job is due next; returns False where somebody else has taken over."""
    return _write(connection, name, turn, report, owner=None, leased_until=None, next_at=to_micros(next_at))


def hasten(connection: Connection, name: str, now: datetime) -> bool:
    """Make a job due now; return whether there is such a job."""
    return connection.execute(update(job).where(job.c.name == name).values(next_at=to_micros(now))).rowcount > 0


def _write(connection: Connection, name: str, turn: int, report: Report, **values: object) -> bool:
    if report.runs:
        assert report.started_at is not None
        assert report.ended_at is not None
        values |= {
            "started_at": to_micros(report.started_at),
            "ended_at": to_micros(report.ended_at),
            "took_millis": report.took_millis,
            "done": job.c.done + report.done,
            "runs": job.c.runs + report.runs,
        }
    if report.failed_at is not None:
        values |= {
            "failures": job.c.failures + report.failures,
            "failed_at": to_micros(report.failed_at),
            "failure": report.failure[:REASON_LIMIT],
        }
    own = (job.c.name == name) & (job.c.turn == turn)
    return connection.execute(update(job).where(own).values(**values)).rowcount > 0


def _record_from(row: object) -> JobRecord:
    values = dict(row)  # type: ignore[call-overload]
    for name in ("leased_until", "next_at", "started_at", "ended_at", "failed_at"):
        values[name] = None if values[name] is None else from_micros(values[name])
    return JobRecord(**values)
