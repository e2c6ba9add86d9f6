"""Purchases in tables. Every function works in the caller's transaction; each change says from which statuses it leads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from tokenwell.core.happenings import Actor
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import purchase as _purchase


class PurchaseStatus(StrEnum):
    """What a purchase has come to. Open: nobody paid yet. Waiting: paid in a way that takes days. Paid: the pack is being granted.
    Unresolved: paid, but no pack could be granted for it."""

    OPEN = "open"
    WAITING = "waiting"
    PAID = "paid"
    GRANTED = "granted"
    FAILED = "failed"
    EXPIRED = "expired"
    UNRESOLVED = "unresolved"


UNPAID = (PurchaseStatus.OPEN, PurchaseStatus.WAITING, PurchaseStatus.FAILED, PurchaseStatus.EXPIRED)
"""The statuses that a payment leads out of: whatever was told before it, money that came counts."""


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization buys: an offer as it was then. `address` is where it is paid, `payment_id` the provider's name of the
    payment, `chargeback` what became of a payment that its bank took back (empty: none was)."""

    id: str
    organization_id: str
    offer_id: str
    name: str
    amount_tokens: int
    price_minor: int
    currency: str
    valid_days: int | None = None
    status: PurchaseStatus
    reason: str = ""
    started_at: datetime
    started_by: Actor
    session_id: str | None = None
    address: str | None = None
    payment_id: str | None = None
    paid_at: datetime | None = None
    pack_id: str | None = None
    refunded_minor: int = 0
    chargeback: str = ""


def _from(row: Sequence[Any]) -> Purchase:
    return Purchase(
        organization_id=row[0],
        id=row[1],
        offer_id=row[2],
        name=row[3],
        amount_tokens=row[4],
        price_minor=row[5],
        currency=row[6],
        valid_days=row[7],
        status=PurchaseStatus(row[8]),
        reason=row[9],
        started_at=from_micros(row[10]),
        started_by=msgspec.json.decode(row[11], type=Actor),
        session_id=row[12],
        address=row[13],
        payment_id=row[14],
        paid_at=None if row[15] is None else from_micros(row[15]),
        pack_id=row[16],
        refunded_minor=row[17],
        chargeback=row[18],
    )


def add_purchase(connection: Connection, purchase: Purchase) -> None:
    """Insert a purchase that nobody paid yet."""
    connection.execute(
        insert(_purchase).values(
            organization_id=purchase.organization_id,
            purchase_id=purchase.id,
            offer_id=purchase.offer_id,
            name=purchase.name,
            amount_tokens=purchase.amount_tokens,
            price_minor=purchase.price_minor,
            currency=purchase.currency,
            valid_days=purchase.valid_days,
            status=purchase.status.value,
            reason="",
            started_at=to_micros(purchase.started_at),
            started_by=msgspec.json.encode(purchase.started_by).decode(),
            refunded_minor=0,
            chargeback="",
            asked_at=to_micros(purchase.started_at),
        )
    )


def find_purchase(connection: Connection, organization_id: str, purchase_id: str) -> Purchase | None:
    """Return a purchase of the organization, or None."""
    own = (_purchase.c.organization_id == organization_id) & (_purchase.c.purchase_id == purchase_id)
    row = connection.execute(select(_purchase).where(own)).first()
    return None if row is None else _from(row)


def purchase_paid_by(connection: Connection, payment_id: str) -> Purchase | None:
    """Return the purchase, of whatever organization, that a payment paid, or None."""
    row = connection.execute(select(_purchase).where(_purchase.c.payment_id == payment_id).limit(1)).first()
    return None if row is None else _from(row)


def purchases(
    connection: Connection, organization_id: str | None, *, statuses: Sequence[PurchaseStatus], before: str | None, limit: int
) -> list[Purchase]:
    """Return purchases of one organization or of all, the latest first, those before the id `before`."""
    query = select(_purchase).where(_purchase.c.status.in_([each.value for each in statuses]))
    if organization_id is not None:
        query = query.where(_purchase.c.organization_id == organization_id)
    if before is not None:
        query = query.where(_purchase.c.purchase_id < before)
    return [_from(row) for row in connection.execute(query.order_by(_purchase.c.purchase_id.desc()).limit(limit))]


def paid_purchases(connection: Connection, limit: int) -> list[Purchase]:
    """Return purchases that are paid and have no pack yet."""
    query = select(_purchase).where(_purchase.c.status == PurchaseStatus.PAID.value).order_by(_purchase.c.asked_at).limit(limit)
    return [_from(row) for row in connection.execute(query)]


def unheard_purchases(connection: Connection, before: datetime, limit: int) -> list[Purchase]:
    """Return open and waiting purchases that nothing was heard of since `before`, the longest first."""
    query = (
        select(_purchase)
        .where(
            _purchase.c.status.in_([PurchaseStatus.OPEN.value, PurchaseStatus.WAITING.value]),
            _purchase.c.asked_at < to_micros(before),
        )
        .order_by(_purchase.c.asked_at)
        .limit(limit)
    )
    return [_from(row) for row in connection.execute(query)]


def set_session(connection: Connection, purchase: Purchase, *, session_id: str, address: str) -> None:
    """Note where a purchase is paid, once."""
    _change(connection, purchase, _purchase.c.session_id.is_(None), session_id=session_id, address=address)


def set_asked(connection: Connection, purchase: Purchase, at: datetime) -> None:
    """Note that the provider was asked what became of a purchase."""
    _change(connection, purchase, _purchase.c.asked_at < to_micros(at), asked_at=to_micros(at))


def close(
    connection: Connection, purchase: Purchase, *, present: Sequence[PurchaseStatus], status: PurchaseStatus, reason: str = ""
) -> bool:
    """Move a purchase that is not paid on; returns whether it was in one of the present statuses."""
    return _change(connection, purchase, _in(present), status=status.value, reason=reason)


def set_paid(
    connection: Connection,
    purchase: Purchase,
    *,
    status: PurchaseStatus,
    session_id: str,
    payment_id: str | None,
    at: datetime,
    reason: str,
) -> bool:
    """Note that a purchase is paid; returns whether that was news."""
    values = {
        "status": status.value,
        "session_id": session_id,
        "payment_id": payment_id,
        "paid_at": to_micros(at),
        "reason": reason,
    }
    return _change(connection, purchase, _in(UNPAID), **values)


def set_granted(connection: Connection, purchase: Purchase, pack_id: str) -> bool:
    """Note the pack that a purchase was granted; returns whether that was news."""
    return _change(connection, purchase, _in((PurchaseStatus.PAID,)), status=PurchaseStatus.GRANTED.value, pack_id=pack_id)


def set_refunded(connection: Connection, purchase: Purchase, refunded_minor: int, payment_id: str | None) -> bool:
    """Note how much of the price was given back so far; returns whether that is more than before."""
    values: dict[str, Any] = {"refunded_minor": refunded_minor}
    if payment_id is not None:
        values["payment_id"] = payment_id
    return _change(connection, purchase, _purchase.c.refunded_minor < refunded_minor, **values)


def set_chargeback(connection: Connection, purchase: Purchase, chargeback: str) -> bool:
    """Note what became of a payment that its bank took back; returns whether it still stood as it was read."""
    return _change(connection, purchase, _purchase.c.chargeback == purchase.chargeback, chargeback=chargeback)


def _in(statuses: Sequence[PurchaseStatus]) -> Any:
    return _purchase.c.status.in_([each.value for each in statuses])


def _change(connection: Connection, purchase: Purchase, present: Any, **values: Any) -> bool:
    changed = connection.execute(
        update(_purchase)
        .where(_purchase.c.organization_id == purchase.organization_id, _purchase.c.purchase_id == purchase.id, present)
        .values(**values)
    )
    return changed.rowcount > 0
