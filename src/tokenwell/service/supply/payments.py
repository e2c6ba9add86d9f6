"""Payments: what the payment provider tells of purchases, by webhook or when it is asked, and what follows from it.

Whatever is told of something else, in an order or a form that is not known, changes nothing. Money given back is written down and
told to the platform's administrators; whether the pack is revoked is theirs to decide.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from tokenwell.core.happenings import EventKind
from tokenwell.errors import NotFound, PaymentUnavailable
from tokenwell.service.jobs import Turn
from tokenwell.service.meter import Meter
from tokenwell.service.supply.paying import Charge, Chargeback, Session, Told
from tokenwell.service.supply.purchases import Purchase, Purchases, PurchaseStatus
from tokenwell.store.reader import reading
from tokenwell.store.supply import purchases as store
from tokenwell.store.writer import transaction

ASKED_AFTER = timedelta(minutes=5)
"""How long nothing may be heard of a purchase before the provider is asked."""

GIVEN_UP_AFTER = timedelta(days=2)
"""After how long a purchase that never got a page to pay at has expired."""

ASKED_AT_ONCE = 50

CLOSED = ("won", "lost", "warning_closed", "prevented")
"""What a chargeback ends with."""

log = structlog.get_logger("tokenwell.purchases")


class Payments:
    """What is told of the purchases in the meter's database."""

    def __init__(self, meter: Meter, purchases: Purchases) -> None:
        self._meter = meter
        self._engine = meter.engine
        self._purchases = purchases

    def hear(self, body: bytes, signature: str | None) -> str:
        """Take in a webhook; returns the kind of event it told. Told again it changes nothing.

        Raises NotFound where nothing is sold, RequestInvalid where the signature or the event cannot be used, StoreError: then it
        should be told again.
        """
        checkout = self._purchases.checkout
        if checkout is None or not checkout.hears:
            raise NotFound("no webhooks are expected here")
        told = checkout.believe(body, signature)
        if told.kind in _OF_SESSIONS:
            self._hear_session(told)
        elif told.kind == "charge.refunded":
            self._hear_refund(told.about(Charge))
        elif told.kind.startswith("charge.dispute."):
            self._hear_chargeback(told.about(Chargeback))
        return told.kind

    def ask(self, turn: Turn) -> int:
        """Ask what became of purchases that nothing was heard of for a while; returns how many were asked about."""
        checkout, now, count = self._purchases.checkout, turn.now, 0
        if checkout is None:
            return 0
        with reading(self._engine) as connection:
            found = store.unheard_purchases(connection, now - ASKED_AFTER, ASKED_AT_ONCE)
        for purchase in found:
            if turn.is_over:
                break
            with transaction(self._engine) as connection:
                store.set_asked(connection, purchase, now)
            count += 1
            if purchase.session_id is None:
                if now - purchase.started_at > GIVEN_UP_AFTER:
                    self._purchases.close(purchase, PurchaseStatus.EXPIRED)
                continue
            try:
                session = checkout.find(purchase.session_id)
            except PaymentUnavailable as error:
                log.warning("payment_provider_failed", error=error.message, **error.details)
                break
            self._apply(purchase, session, is_over=session.status == "expired", is_done=session.status == "complete")
        return count

    def _hear_session(self, told: Told) -> None:
        session: Session = told.about(Session)
        purchase = self._named(session.metadata)
        if purchase is None or purchase.session_id not in (None, session.id):
            log.info("payment_event_of_others", event_id=told.id, kind=told.kind)
            return
        if told.kind == "checkout.session.async_payment_failed":
            self._purchases.close(purchase, PurchaseStatus.FAILED, reason="the payment failed")
            return
        self._apply(purchase, session, is_over=told.kind == "checkout.session.expired", is_done=True)

    def _apply(self, purchase: Purchase, session: Session, *, is_over: bool, is_done: bool) -> None:
        if session.payment_status in ("paid", "no_payment_required") and is_done and not is_over:
            self._purchases.pay(purchase, session)
        elif is_over:
            self._purchases.close(purchase, PurchaseStatus.EXPIRED)
        elif is_done:
            self._purchases.close(purchase, PurchaseStatus.WAITING)

    def _hear_refund(self, charge: Charge) -> None:
        purchase = self._named(charge.metadata) or self._paid_by(charge.payment_intent)
        if purchase is None:
            return
        now, facts = self._meter.clock(), {"refunded_minor": charge.amount_refunded, "pack_id": purchase.pack_id}
        with transaction(self._engine, purchase.organization_id) as connection:
            if store.set_refunded(connection, purchase, charge.amount_refunded, charge.payment_intent):
                self._purchases.note(connection, purchase, "purchase.refund", at=now, after=facts)
                self._purchases.tell(connection, purchase, EventKind.PURCHASE_REFUNDED, at=now, **facts)

    def _hear_chargeback(self, chargeback: Chargeback) -> None:
        purchase = self._paid_by(chargeback.payment_intent)
        if purchase is None or purchase.chargeback in CLOSED or purchase.chargeback == chargeback.status:
            return
        is_news = not purchase.chargeback or chargeback.status in CLOSED
        now, facts = self._meter.clock(), {"chargeback": chargeback.status, "pack_id": purchase.pack_id}
        with transaction(self._engine, purchase.organization_id) as connection:
            if store.set_chargeback(connection, purchase, chargeback.status):
                after = facts | {"reason": chargeback.reason}
                self._purchases.note(connection, purchase, "purchase.charge_back", at=now, after=after)
                if is_news:
                    self._purchases.tell(connection, purchase, EventKind.PURCHASE_CHARGED_BACK, at=now, **after)

    def _named(self, metadata: dict[str, str] | None) -> Purchase | None:
        """Return the purchase that an object of the provider's was made for, None where it is somebody else's."""
        own = metadata or {}
        with reading(self._engine) as connection:
            return store.find_purchase(connection, own.get("organization_id", ""), own.get("purchase_id", ""))

    def _paid_by(self, payment_id: str | None) -> Purchase | None:
        if not payment_id:
            return None
        with reading(self._engine) as connection:
            return store.purchase_paid_by(connection, payment_id)


_OF_SESSIONS = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
)
