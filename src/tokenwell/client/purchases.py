"""Bodies and shapes of offers and purchases, and the calls of the SDK on them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec

from tokenwell.client.bodies import Amount, Body
from tokenwell.client.requests import Request, Tokens, at, read, write
from tokenwell.client.shapes import Page, Shape

PurchaseStatus = Literal["open", "waiting", "paid", "granted", "failed", "expired", "unresolved"]


class NewOffer(Body, frozen=True, kw_only=True):
    """A pack to sell. The price is in the smallest unit of the currency: 4900 is 49.00 EUR."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    amount: Amount
    price_minor: Annotated[int, msgspec.Meta(ge=1, le=99_999_999)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Za-z]{3}$")]
    valid_days: Annotated[int, msgspec.Meta(ge=1, le=36_600)] | None = None


class Offer(Shape, frozen=True, kw_only=True):
    """A pack that the platform sells, until it is withdrawn."""

    id: str
    name: str
    amount_tokens: int
    price_minor: int
    currency: str
    valid_days: int | None
    created_at: datetime
    withdrawn_at: datetime | None


class NewPurchase(Body, frozen=True, kw_only=True):
    """What to buy."""

    offer_id: str


class Purchase(Shape, frozen=True, kw_only=True):
    """What an organization buys. `address` is the page to pay at, `reason` why nothing was granted, `chargeback` what became of a
    payment that its bank took back."""

    id: str
    organization_id: str
    offer_id: str
    name: str
    amount_tokens: int
    price_minor: int
    currency: str
    valid_days: int | None
    status: PurchaseStatus
    reason: str
    started_at: datetime
    started_by: str
    address: str | None
    paid_at: datetime | None
    pack_id: str | None
    refunded_minor: int
    chargeback: str


class PurchaseCalls:
    """Builds requests, as `Calls` does."""

    def create_offer(
        self,
        name: str,
        amount: Tokens,
        *,
        price_minor: int,
        currency: str,
        valid_days: int | None = None,
        key: str | None = None,
    ) -> Request[Offer]:
        """Sell packs. The price is in the smallest unit of the currency."""
        body = NewOffer(name=name, amount=amount, price_minor=price_minor, currency=currency, valid_days=valid_days)
        return write("POST", "/v1/offers", Offer, key, body)

    def list_offers(
        self, *, with_withdrawn: bool | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[Offer]]:
        """List the offers that are sold now, or all, the latest first."""
        return read("/v1/offers", Page[Offer], with_withdrawn=with_withdrawn, cursor=cursor, limit=limit)

    def get_offer(self, offer_id: str) -> Request[Offer]:
        """Return an offer."""
        return read(_offer(offer_id), Offer)

    def withdraw_offer(self, offer_id: str, *, key: str | None = None) -> Request[Offer]:
        """Sell an offer no more."""
        return write("POST", _offer(offer_id) + "/withdraw", Offer, key)

    def start_purchase(self, organization_id: str, offer_id: str, *, key: str | None = None) -> Request[Purchase]:
        """Buy an offer: `address` is the page where it is paid. Raises PaymentUnavailable."""
        return write("POST", at(organization_id, "purchases"), Purchase, key, NewPurchase(offer_id=offer_id))

    def list_purchases(
        self,
        organization_id: str,
        *,
        status: PurchaseStatus | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[Purchase]]:
        """List an organization's purchases, the latest first."""
        return read(at(organization_id, "purchases"), Page[Purchase], status=status, cursor=cursor, limit=limit)

    def list_all_purchases(
        self, *, status: PurchaseStatus | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[Purchase]]:
        """List the purchases of every organization, the latest first."""
        return read("/v1/purchases", Page[Purchase], status=status, cursor=cursor, limit=limit)

    def get_purchase(self, organization_id: str, purchase_id: str) -> Request[Purchase]:
        """Return a purchase."""
        return read(at(organization_id, "purchases", purchase_id), Purchase)


def _offer(offer_id: str) -> str:
    return f"/v1/offers/{quote(offer_id, safe='')}"
