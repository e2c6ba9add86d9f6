"""Deliveries in tables: what is to be sent, who claimed it, what came of it. All works in the caller's transaction."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import Connection, insert

from tokenwell.core.instants import to_micros
from tokenwell.store.schema import delivery

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
