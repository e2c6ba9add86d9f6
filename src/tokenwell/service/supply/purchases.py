"""Purchases: an organization buys one of the platform's offers, and is granted the pack once it is paid.

A purchase is written down first, then paid at the payment provider, and what that tells moves it on: each step by a guarded change,
so that what is told twice, late or in another order counts once. The pack is granted under a key of the purchase's own: interrupted
anywhere, `finish_paid` completes it, and no purchase ever grants twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from tokenwell.core.happenings import SYSTEM, Actor, Event, EventKind
from tokenwell.core.identifiers import check_label
from tokenwell.errors import NotFound, PaymentUnavailable, StoreError, TokenwellError
from tokenwell.service.acts import record
from tokenwell.service.meter import Meter
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Page, new_id
from tokenwell.service.supply.offers import Offer, Offers
from tokenwell.service.supply.paying import Checkout, Session
from tokenwell.store.access.creations import claim, claimed
from tokenwell.store.happenings import append_event
from tokenwell.store.reader import reading
from tokenwell.store.supply import purchases as store
from tokenwell.store.supply.purchases import Purchase, PurchaseStatus
from tokenwell.store.writer import transaction

__all__ = ["Purchase", "PurchaseStatus", "Purchases"]

FINISHED_AT_ONCE = 100
"""How many purchases one run of the job completes."""

log = structlog.get_logger("tokenwell.purchases")

_KEY = "purchase:{}"


class Purchases:
    """The purchases in the meter's database; without a `checkout` nothing is sold."""

    def __init__(self, meter: Meter, offers: Offers, checkout: Checkout | None = None) -> None:
        self._meter = meter
        self._engine = meter.engine
        self._offers = offers
        self.checkout = checkout

    @property
    def is_open(self) -> bool:
        """Whether anything can be bought: a payment provider is configured."""
        return self.checkout is not None

    def start(self, organization_id: str, offer_id: str, *, key: str | None = None, by: Actor) -> Purchase:
        """Buy an offer: the purchase comes with the address where it is paid. The same key gives the purchase again.

        Raises NotFound where nothing is sold or the offer is not, IdempotencyConflict, PaymentUnavailable: then the same key tries
        again.
        """
        self._meter.organization(organization_id)
        checkout = self._needed()
        purchase = self._known(organization_id, key, offer_id) or self._written(organization_id, self._sold(offer_id), key, by)
        if purchase.address is not None or purchase.status is not PurchaseStatus.OPEN:
            return purchase
        session = checkout.open(purchase)
        if session.url is None:
            raise PaymentUnavailable("Stripe gave no page to pay at")
        with transaction(self._engine, organization_id) as connection:
            store.set_session(connection, purchase, session_id=session.id, address=session.url)
        return self.get(organization_id, purchase.id)

    def get(self, organization_id: str, purchase_id: str) -> Purchase:
        """Return a purchase. Raises NotFound, OrganizationNotFound."""
        self._meter.organization(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.find_purchase(connection, organization_id, purchase_id)
        if found is None:
            raise NotFound("there is no such purchase", purchase_id=purchase_id)
        return found

    def list(
        self,
        organization_id: str | None = None,
        *,
        statuses: tuple[PurchaseStatus, ...] = tuple(PurchaseStatus),
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Purchase]:
        """Return purchases of one organization, or of all, the latest first."""
        check_limit(limit)
        if cursor is not None:
            check_label(cursor, field="cursor")
        if organization_id is not None:
            self._meter.organization(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.purchases(connection, organization_id, statuses=statuses, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def pay(self, purchase: Purchase, session: Session) -> None:
        """Note that the money came, and grant the pack; money that is not what was asked for is left to people."""
        reason = _mismatch(purchase, session)
        status, now = (PurchaseStatus.UNRESOLVED if reason else PurchaseStatus.PAID), self._meter.clock()
        with transaction(self._engine, purchase.organization_id) as connection:
            paid = {"session_id": session.id, "payment_id": session.payment_id, "at": now}
            if store.set_paid(connection, purchase, status=status, reason=reason, **paid):  # type: ignore[arg-type]
                facts = {"price_minor": purchase.price_minor, "currency": purchase.currency, "payment_id": session.payment_id}
                self.note(connection, purchase, "purchase.pay", at=now, after=facts | ({"reason": reason} if reason else {}))
                if reason:
                    self.tell(connection, purchase, EventKind.PURCHASE_UNRESOLVED, at=now, reason=reason)
        self.finish(self.get(purchase.organization_id, purchase.id))

    def close(self, purchase: Purchase, status: PurchaseStatus, *, reason: str = "") -> None:
        """Note that a purchase waits for its money, failed or expired, unless it went on already."""
        now = self._meter.clock()
        present = {PurchaseStatus.WAITING: (PurchaseStatus.OPEN,)}.get(status, (PurchaseStatus.OPEN, PurchaseStatus.WAITING))
        with transaction(self._engine, purchase.organization_id) as connection:
            if not store.close(connection, purchase, present=present, status=status, reason=reason):
                return
            self.note(connection, purchase, f"purchase.{_VERBS[status]}", at=now, after={"reason": reason} if reason else None)
            if status is PurchaseStatus.FAILED:
                self.tell(connection, purchase, EventKind.PURCHASE_FAILED, at=now, reason=reason)

    def finish(self, purchase: Purchase) -> None:
        """Grant the pack of a purchase that is paid, or replay that, and note it."""
        if purchase.status is not PurchaseStatus.PAID or purchase.paid_at is None:
            return
        valid = None if purchase.valid_days is None else timedelta(days=purchase.valid_days)
        try:
            granted = self._meter.grant(
                purchase.organization_id,
                purchase.amount_tokens,
                expires_at=None if valid is None else purchase.paid_at + valid,
                note=purchase.name,
                key=_KEY.format(purchase.id),
                by=purchase.started_by,
            )
        except StoreError:
            raise  # perhaps it was granted: the purchase stays paid, to be completed
        except TokenwellError as error:
            self._leave(purchase, error)
            return
        now = self._meter.clock()
        with transaction(self._engine, purchase.organization_id) as connection:
            if store.set_granted(connection, purchase, granted.pack.id):
                facts = {"pack_id": granted.pack.id, "pack_number": granted.pack.number}
                self.note(connection, purchase, "purchase.grant", at=now, after=facts)
                self.tell(connection, purchase, EventKind.PURCHASE_COMPLETED, at=now, **facts)

    def finish_paid(self) -> int:
        """Grant the packs of purchases that are paid and that something interrupted; returns how many there were."""
        with reading(self._engine) as connection:
            found = store.paid_purchases(connection, FINISHED_AT_ONCE)
        for purchase in found:
            self.finish(purchase)
        return len(found)

    def _needed(self) -> Checkout:
        if self.checkout is None:
            raise NotFound("nothing is sold here")
        return self.checkout

    def _sold(self, offer_id: str) -> Offer:
        offer = self._offers.get(offer_id)
        if offer.withdrawn_at is not None:
            raise NotFound("this offer is sold no more", offer_id=offer_id)
        return offer

    def _known(self, organization_id: str, key: str | None, offer_id: str) -> Purchase | None:
        if key is None:
            return None
        with reading(self._engine, organization_id) as connection:
            purchase_id = claimed(connection, organization_id, key, {"offer_id": offer_id})
        return None if purchase_id is None else self.get(organization_id, purchase_id)

    def _written(self, organization_id: str, offer: Offer, key: str | None, by: Actor) -> Purchase:
        purchase = Purchase(
            id=new_id("pur"),
            organization_id=organization_id,
            offer_id=offer.id,
            name=offer.name,
            amount_tokens=offer.amount_tokens,
            price_minor=offer.price_minor,
            currency=offer.currency,
            valid_days=offer.valid_days,
            status=PurchaseStatus.OPEN,
            started_at=self._meter.clock(),
            started_by=by,
        )
        at, given = purchase.started_at, {"offer_id": offer.id}
        with transaction(self._engine, organization_id) as connection:
            first = None if key is None else claim(connection, organization_id, key, purchase.id, given, at)
            if first is None:
                store.add_purchase(connection, purchase)
                after = {"offer_id": offer.id, "price_minor": offer.price_minor, "currency": offer.currency}
                self.note(connection, purchase, "purchase.start", at=at, after=after, by=by)
        return purchase if first is None else self.get(organization_id, first)

    def _leave(self, purchase: Purchase, error: TokenwellError) -> None:
        """Leave a purchase that is paid, and whose pack is refused, to people."""
        log.error("purchase_not_granted", purchase_id=purchase.id, error=error.code, reason=error.message)
        now, paid = self._meter.clock(), (PurchaseStatus.PAID,)
        with transaction(self._engine, purchase.organization_id) as connection:
            if store.close(connection, purchase, present=paid, status=PurchaseStatus.UNRESOLVED, reason=error.message):
                self.note(connection, purchase, "purchase.leave", at=now, after={"reason": error.message})
                self.tell(connection, purchase, EventKind.PURCHASE_UNRESOLVED, at=now, reason=error.message)

    @staticmethod
    def tell(connection: Connection, purchase: Purchase, kind: EventKind, *, at: datetime, **facts: Any) -> None:
        """Append an event on a purchase."""
        own = {name: getattr(purchase, name) for name in ("name", "amount_tokens", "price_minor", "currency")}
        detail = msgspec.json.encode({"purchase_id": purchase.id, **own, "by": purchase.started_by.name, **facts}).decode()
        append_event(connection, new_id("evt"), Event(organization_id=purchase.organization_id, at=at, kind=kind, detail=detail))

    @staticmethod
    def note(connection: Connection, purchase: Purchase, action: str, *, at: datetime, after: Any, by: Actor = SYSTEM) -> None:
        """Append an act on a purchase to the audit log."""
        owner = purchase.organization_id
        record(connection, by=by, at=at, organization_id=owner, action=action, subject=purchase.id, after=after)


_VERBS = {PurchaseStatus.WAITING: "wait", PurchaseStatus.FAILED: "fail", PurchaseStatus.EXPIRED: "expire"}


def _mismatch(purchase: Purchase, session: Session) -> str:
    """Return in what a paid session differs from what the purchase asks for, empty where in nothing."""
    if session.mode != "payment":
        return "it was not paid as a payment"
    if (session.amount_total, session.currency) != (purchase.price_minor, purchase.currency):
        return f"{session.amount_total} {session.currency} was paid instead of {purchase.price_minor} {purchase.currency}"
    return ""
