"""Deliveries in tables: what is to be sent, who claimed it, what came of it. All works in the caller's transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, update

from tokenwell.core.happenings import PLATFORM
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import attempt, delivery

POST = "post"
"""What stands for the channel of a letter: nobody subscribed to it."""


class DeliveryKind(StrEnum):
    """Why something is sent."""

    EVENT = "event"
    LETTER = "letter"
    TEST = "test"


class DeliveryStatus(StrEnum):
    """What became of a delivery. Dead: given up after the last attempt; it can be sent again. Dropped: nobody is to get it any
    more."""

    DUE = "due"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """Something to send: an event, a letter or a test, through the channel `channel_id` of `channel_home`."""

    organization_id: str
    id: str
    channel_home: str
    channel_id: str
    kind: DeliveryKind
    created_at: datetime
    due_at: datetime
    event_id: str | None = None
    sealed: bytes | None = None
    is_bundled: bool = False


def add_delivery(connection: Connection, new: NewDelivery) -> None:
    """Insert a delivery."""
    connection.execute(insert(delivery).values(values_of(new)))


def values_of(new: NewDelivery) -> dict[str, object]:
    """Return the row of a delivery that nobody has tried yet."""
    return {
        "organization_id": new.organization_id,
        "delivery_id": new.id,
        "channel_home": new.channel_home,
        "channel_id": new.channel_id,
        "kind": new.kind.value,
        "event_id": new.event_id,
        "sealed": new.sealed,
        "status": DeliveryStatus.DUE.value,
        "is_bundled": new.is_bundled,
        "created_at": to_micros(new.created_at),
        "due_at": to_micros(new.due_at),
        "attempts": 0,
    }


ANSWER_LIMIT = 2_000
"""How much of a request and of an answer is kept, in characters."""

SKEW = timedelta(seconds=10)
"""By how much clocks may differ."""

Lane = tuple[str, str]
"""The home and the id of a channel: what is sent through one never waits for another."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is to be sent, or was. `attempts` counts those that have begun."""

    organization_id: str
    id: str
    channel_home: str
    channel_id: str
    kind: DeliveryKind
    status: DeliveryStatus
    is_bundled: bool
    created_at: datetime
    due_at: datetime
    attempts: int
    event_id: str | None = None
    sealed: bytes | None = None
    finished_at: datetime | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a delivery: what was sent, secrets left out, and what was answered. `outcome` is `delivered`, `refused`
    (there was an answer) or `failed` (there was none)."""

    id: str
    at: datetime
    took_millis: int
    outcome: str
    request: str
    answer: str
    status: int | None = None


def due_lanes(connection: Connection, now: datetime, claim: timedelta, limit: int) -> list[Lane]:
    """Return the lanes in which something is due and unclaimed, those that have waited longest first."""
    rows = connection.execute(
        select(delivery.c.channel_home, delivery.c.channel_id)
        .where(_is_due(now, claim))
        .group_by(delivery.c.channel_home, delivery.c.channel_id)
        .order_by(func.min(delivery.c.due_at), delivery.c.channel_home, delivery.c.channel_id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def claim_in(connection: Connection, lane: Lane, claimant: str, *, now: datetime, claim: timedelta, bundle: int) -> list[Delivery]:
    """Claim what is due in a lane, the oldest first: one delivery, or up to `bundle` that are to be told together. What somebody
    else claimed meanwhile is left out."""
    own = (delivery.c.channel_home == lane[0]) & (delivery.c.channel_id == lane[1])
    rows = connection.execute(
        select(delivery)
        .where(own, _is_due(now, claim))
        .order_by(delivery.c.due_at, delivery.c.delivery_id)
        .limit(bundle)
        .with_for_update(skip_locked=True)
    ).all()
    found = [_delivery_from(row._mapping) for row in rows]
    taken = [each for each in found if each.is_bundled] if found and found[0].is_bundled else found[:1]
    until = to_micros(now + claim)
    return [each for each in taken if _claim(connection, each, claimant, until)]


def _claim(connection: Connection, wanted: Delivery, claimant: str, until: int) -> bool:
    # Guarded by the number of attempts: right even where a database does not lock the rows it reads.
    still = delivery.c.attempts == wanted.attempts
    values = {"claimed_by": claimant, "claimed_until": until, "attempts": wanted.attempts + 1}
    due = delivery.c.status == DeliveryStatus.DUE.value
    return connection.execute(update(delivery).where(_one(wanted), still, due).values(values)).rowcount > 0


def finish(connection: Connection, done: Delivery, status: DeliveryStatus, at: datetime) -> None:
    """Note that a delivery was delivered, or is dropped, whoever has claimed it meanwhile. A letter's content is deleted."""
    values: dict[str, Any] = {"status": status.value, "finished_at": to_micros(at), "claimed_by": None, "claimed_until": None}
    if done.kind is DeliveryKind.LETTER:
        values["sealed"] = None
    connection.execute(update(delivery).where(_one(done), delivery.c.status == DeliveryStatus.DUE.value).values(values))


def put_off(connection: Connection, failed: Delivery, claimant: str, *, due_at: datetime | None, now: datetime) -> None:
    """Make a delivery that failed due again, or dead where `due_at` is None, unless somebody else has claimed it meanwhile."""
    values: dict[str, Any] = {"claimed_by": None, "claimed_until": None, "tried_at": to_micros(now)}
    if due_at is None:
        values |= {"status": DeliveryStatus.DEAD.value, "finished_at": to_micros(now)}
    else:
        values |= {"due_at": to_micros(due_at)}
    connection.execute(update(delivery).where(_one(failed), delivery.c.claimed_by == claimant).values(values))


def give_back(connection: Connection, claimed: Delivery, claimant: str) -> None:
    """Give a claim back as if it had not been taken: nothing was sent."""
    values = {"claimed_by": None, "claimed_until": None, "attempts": claimed.attempts}
    connection.execute(update(delivery).where(_one(claimed), delivery.c.claimed_by == claimant).values(values))


def replay(connection: Connection, organization_id: str, delivery_id: str, now: datetime) -> bool:
    """Make a dead delivery due again, with all its attempts before it; return whether it was dead."""
    own = (delivery.c.organization_id == organization_id) & (delivery.c.delivery_id == delivery_id)
    return connection.execute(update(delivery).where(own, _DEAD).values(_due_anew(now))).rowcount > 0


def replay_all(connection: Connection, lane: Lane, now: datetime) -> int:
    """Make every dead delivery of a lane due again; return how many there were."""
    own = [delivery.c.channel_home == lane[0], delivery.c.channel_id == lane[1]]
    if lane[0]:
        own.append(delivery.c.organization_id == lane[0])
    return connection.execute(update(delivery).where(*own, _DEAD).values(_due_anew(now))).rowcount


_DEAD = delivery.c.status == DeliveryStatus.DEAD.value


def _due_anew(now: datetime) -> dict[str, Any]:
    return {"status": DeliveryStatus.DUE.value, "due_at": to_micros(now), "attempts": 0, "finished_at": None, "tried_at": None}


def add_attempt(connection: Connection, tried: Delivery, made: Attempt) -> None:
    """Insert an attempt."""
    connection.execute(
        insert(attempt).values(
            organization_id=tried.organization_id,
            delivery_id=tried.id,
            attempt_id=made.id,
            at=to_micros(made.at),
            took_millis=made.took_millis,
            outcome=made.outcome,
            request=made.request[:ANSWER_LIMIT],
            status=made.status,
            answer=made.answer[:ANSWER_LIMIT],
        )
    )


def find_delivery(connection: Connection, organization_id: str, delivery_id: str) -> Delivery | None:
    """Return a delivery, or None."""
    own = (delivery.c.organization_id == organization_id) & (delivery.c.delivery_id == delivery_id)
    row = connection.execute(select(delivery).where(own)).one_or_none()
    return None if row is None else _delivery_from(row._mapping)


def deliveries_of(
    connection: Connection, lane: Lane, *, status: DeliveryStatus | None = None, before: str | None = None, limit: int
) -> list[Delivery]:
    """Return what was sent or is to be sent through a channel, newest first, before the id `before` if it is given."""
    found = select(delivery).where(delivery.c.channel_home == lane[0], delivery.c.channel_id == lane[1])
    if lane[0]:
        found = found.where(delivery.c.organization_id == lane[0])
    if status is not None:
        found = found.where(delivery.c.status == status.value)
    if before is not None:
        found = found.where(delivery.c.delivery_id < before)
    rows = connection.execute(found.order_by(delivery.c.delivery_id.desc()).limit(limit))
    return [_delivery_from(row._mapping) for row in rows]


def organizations_in(connection: Connection, channel_id: str, delivery_id: str) -> list[str]:
    """Return the organizations that a delivery through a channel of the platform may be of."""
    found = select(delivery.c.organization_id).where(
        delivery.c.channel_home == PLATFORM, delivery.c.channel_id == channel_id, delivery.c.delivery_id == delivery_id
    )
    return list(connection.execute(found).scalars())


def attempts_of(connection: Connection, organization_id: str, delivery_id: str, limit: int) -> list[Attempt]:
    """Return the attempts at a delivery, newest first."""
    columns = (attempt.c.attempt_id, attempt.c.at, attempt.c.took_millis, attempt.c.outcome, attempt.c.request, attempt.c.answer)
    rows = connection.execute(
        select(*columns, attempt.c.status)
        .where(attempt.c.organization_id == organization_id, attempt.c.delivery_id == delivery_id)
        .order_by(attempt.c.attempt_id.desc())
        .limit(limit)
    )
    return [
        Attempt(id=row[0], at=from_micros(row[1]), took_millis=row[2], outcome=row[3], request=row[4], answer=row[5], status=row[6])
        for row in rows
    ]


def _is_due(now: datetime, claim: timedelta) -> ColumnElement[bool]:
    """What is due and unclaimed. A clock that was ahead may have written: a claim that ends later than anybody could have set it is
    none, and what was made or put off later than now is due."""
    at = to_micros(now)
    ahead = to_micros(now + SKEW)
    is_due = or_(delivery.c.due_at <= at, delivery.c.created_at > ahead, delivery.c.tried_at > ahead)
    until = delivery.c.claimed_until
    unclaimed = or_(until.is_(None), until <= at, until > to_micros(now + claim))
    return and_(delivery.c.status == DeliveryStatus.DUE.value, is_due, unclaimed)


def _one(wanted: Delivery) -> ColumnElement[bool]:
    return and_(delivery.c.organization_id == wanted.organization_id, delivery.c.delivery_id == wanted.id)


def _delivery_from(row: Any) -> Delivery:
    return Delivery(
        organization_id=row["organization_id"],
        id=row["delivery_id"],
        channel_home=row["channel_home"],
        channel_id=row["channel_id"],
        kind=DeliveryKind(row["kind"]),
        status=DeliveryStatus(row["status"]),
        is_bundled=bool(row["is_bundled"]),
        created_at=from_micros(row["created_at"]),
        due_at=from_micros(row["due_at"]),
        attempts=row["attempts"],
        event_id=row["event_id"],
        sealed=None if row["sealed"] is None else bytes(row["sealed"]),
        finished_at=None if row["finished_at"] is None else from_micros(row["finished_at"]),
    )
