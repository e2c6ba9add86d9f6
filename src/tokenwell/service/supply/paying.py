"""Paying: what a payment provider is asked for and what it tells, in the words of Stripe, without its library."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from tokenwell.errors import RequestInvalid
from tokenwell.store.supply.purchases import Purchase

SIGNATURE_HEADER = "Stripe-Signature"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A Checkout session, as far as it is used: amounts in the currency's smallest unit, `payment_intent` the payment's id."""

    id: str
    status: str | None = None
    mode: str | None = None
    payment_status: str | None = None
    amount_total: int | None = None
    currency: str | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None
    payment_intent: str | dict[str, Any] | None = None
    url: str | None = None

    @property
    def payment_id(self) -> str | None:
        """The provider's name of the payment; None where there is none yet."""
        found = self.payment_intent
        return found if found is None or isinstance(found, str) else str(found.get("id"))


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """A charge of which something was given back: `amount_refunded` in all, so far."""

    id: str
    amount_refunded: int = 0
    currency: str | None = None
    metadata: dict[str, str] | None = None
    payment_intent: str | None = None


class Chargeback(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that a bank wants back, and what has become of that."""

    id: str
    status: str
    payment_intent: str | None = None
    reason: str = ""


class Data(msgspec.Struct, frozen=True):
    """What an event is about, not read yet."""

    object: msgspec.Raw


class Told(msgspec.Struct, frozen=True, kw_only=True, rename={"kind": "type"}):
    """Something that Stripe tells by itself: an event."""

    id: str
    kind: str
    data: Data

    def about(self, kind: type[msgspec.Struct]) -> Any:
        """Return what it is about. Raises RequestInvalid."""
        try:
            return msgspec.json.decode(self.data.object, type=kind)
        except msgspec.DecodeError:
            raise RequestInvalid(f"the {self.kind} of {self.id} cannot be read") from None


class Checkout(Protocol):
    """Where purchases are paid. Its methods block, and raise PaymentUnavailable where the provider cannot be asked."""

    @property
    def hears(self) -> bool:
        """Whether webhooks can be believed: there is a secret that they are signed with."""

    def open(self, purchase: Purchase) -> Session:
        """Return the session in which a purchase is paid, with its address; opened again, it is the same."""

    def find(self, session_id: str) -> Session:
        """Return a session as it is now."""

    def believe(self, body: bytes, signature: str | None) -> Told:
        """Return what a webhook tells, if the provider signed it a moment ago. Raises RequestInvalid."""
