"""Offers in tables: what the platform sells. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from tokenwell.core.happenings import PLATFORM, Actor
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import offer as _offer


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A pack that can be bought: its tokens, its price in the smallest unit of the currency, and for how many days it is valid from
    when it is paid (None: for ever). It does not change; it is sold until `withdrawn_at`."""

    id: str
    name: str
    amount_tokens: int
    price_minor: int
    currency: str
    valid_days: int | None = None
    created_at: datetime
    created_by: Actor
    withdrawn_at: datetime | None = None


def _from(row: Sequence[Any]) -> Offer:
    return Offer(
        id=row[1],
        name=row[2],
        amount_tokens=row[3],
        price_minor=row[4],
        currency=row[5],
        valid_days=row[6],
        created_at=from_micros(row[7]),
        created_by=msgspec.json.decode(row[8], type=Actor),
        withdrawn_at=None if row[9] is None else from_micros(row[9]),
    )


def add_offer(connection: Connection, offer: Offer) -> None:
    """Insert an offer."""
    connection.execute(
        insert(_offer).values(
            organization_id=PLATFORM,
            offer_id=offer.id,
            name=offer.name,
            amount_tokens=offer.amount_tokens,
            price_minor=offer.price_minor,
            currency=offer.currency,
            valid_days=offer.valid_days,
            created_at=to_micros(offer.created_at),
            created_by=msgspec.json.encode(offer.created_by).decode(),
        )
    )


def find_offer(connection: Connection, offer_id: str) -> Offer | None:
    """Return an offer, or None."""
    row = connection.execute(select(_offer).where(_offer.c.organization_id == PLATFORM, _offer.c.offer_id == offer_id)).first()
    return None if row is None else _from(row)


def offers(connection: Connection, *, with_withdrawn: bool, before: str | None, limit: int) -> list[Offer]:
    """Return offers, the latest first, those before the id `before`."""
    query = select(_offer).where(_offer.c.organization_id == PLATFORM)
    if not with_withdrawn:
        query = query.where(_offer.c.withdrawn_at.is_(None))
    if before is not None:
        query = query.where(_offer.c.offer_id < before)
    return [_from(row) for row in connection.execute(query.order_by(_offer.c.offer_id.desc()).limit(limit))]


def withdraw_offer(connection: Connection, offer_id: str, at: datetime) -> bool:
    """Sell an offer no more; returns whether it was sold until now."""
    changed = connection.execute(
        update(_offer)
        .where(_offer.c.organization_id == PLATFORM, _offer.c.offer_id == offer_id, _offer.c.withdrawn_at.is_(None))
        .values(withdrawn_at=to_micros(at))
    )
    return changed.rowcount > 0
