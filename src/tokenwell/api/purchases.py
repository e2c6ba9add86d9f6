"""Purchases: the offers of the platform, and what organizations buy of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import purchases, shapes
from tokenwell.service.access.scopes import Scope
from tokenwell.service.supply.offers import Offer
from tokenwell.service.supply.purchases import Purchase, PurchaseStatus

router = Operations(prefix="/v1", tags=["Purchases"])

OfferId = Annotated[str, Path(description="The offer's id.")]
PurchaseId = Annotated[str, Path(description="The purchase's id.")]
Status = Annotated[PurchaseStatus | None, Query(description="Only purchases of this status.")]
WithWithdrawn = Annotated[bool, Query(description="Offers that are sold no more, too.")]
_OF_AN_ORGANIZATION = "/organizations/{organization_id}/purchases"
_OF_THE_NEW_OFFER = {"offer_id": "$response.body#/id"}
_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "purchase_id": "$response.body#/id"}


@router.post(
    "/offers",
    **writes(
        Scope.PACKS_WRITE,
        "Make an offer",
        body=purchases.NewOffer,
        answer=purchases.Offer,
        status=201,
        example={"name": "Five million tokens", "amount": "5M", "price_minor": 4900, "currency": "eur", "valid_days": 365},
        links={
            **{name: {"operationId": name, "parameters": _OF_THE_NEW_OFFER} for name in ("get_offer", "withdraw_offer")},
            "start_purchase": {"operationId": "start_purchase", "requestBody": {"offer_id": "$response.body#/id"}},
        },
    ),
)
def create_offer(call: CurrentCall) -> Response:
    """Sell packs of some tokens for a price, in the smallest unit of its currency. An offer does not change."""
    body = call.read(purchases.NewOffer)
    terms = {"price_minor": body.price_minor, "currency": body.currency, "valid_days": body.valid_days}
    made = call.suite.offers.create(body.name, body.amount, **terms, key=call.key, by=call.caller.actor)  # type: ignore[arg-type]
    return call.answer(_offer_view(made), status=201)


@router.get("/offers", **reads(Scope.PACKS_READ, "List offers", answer=shapes.Page[purchases.Offer], anywhere=True))
def list_offers(call: CurrentCall, with_withdrawn: WithWithdrawn = False, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List what the platform sells, the latest first."""
    page = call.suite.offers.list(with_withdrawn=with_withdrawn, cursor=cursor, limit=limit)
    return call.answer(page_of([_offer_view(each) for each in page.items], page.next_cursor))


@router.get("/offers/{offer_id}", **reads(Scope.PACKS_READ, "Get an offer", answer=purchases.Offer, anywhere=True))
def get_offer(call: CurrentCall, offer_id: OfferId) -> Response:
    """Return an offer."""
    return call.answer(_offer_view(call.suite.offers.get(offer_id)))


@router.post("/offers/{offer_id}/withdraw", **writes(Scope.PACKS_WRITE, "Withdraw an offer", answer=purchases.Offer))
def withdraw_offer(call: CurrentCall, offer_id: OfferId) -> Response:
    """Sell an offer no more; what is being bought already stays so."""
    return call.answer(_offer_view(call.suite.offers.withdraw(offer_id, by=call.caller.actor)))


@router.post(
    _OF_AN_ORGANIZATION,
    **writes(
        Scope.TOPUPS_WRITE,
        "Buy an offer",
        body=purchases.NewPurchase,
        answer=purchases.Purchase,
        status=201,
        example={"offer_id": "off_06f5p5p5p5p5p5p5p5p5p5p5p5"},
        links={"get_purchase": {"operationId": "get_purchase", "parameters": _OF_THE_NEW}},
    ),
)
def start_purchase(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Buy an offer. The answer's `address` is the page where it is paid; the pack is granted when the money is there."""
    body = call.read(purchases.NewPurchase)
    started = call.suite.purchases.start(organization_id, body.offer_id, key=call.key, by=call.caller.actor)
    return call.answer(_view(started), status=201)


@router.get(_OF_AN_ORGANIZATION, **reads(Scope.TOPUPS_READ, "List purchases", answer=shapes.Page[purchases.Purchase]))
def list_purchases(
    call: CurrentCall, organization_id: OrganizationId, status: Status = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List an organization's purchases, the latest first."""
    return call.answer(_page(call, organization_id, status, cursor, limit))


@router.get("/purchases", **reads(Scope.TOPUPS_READ, "List every organization's purchases", answer=shapes.Page[purchases.Purchase]))
def list_all_purchases(call: CurrentCall, status: Status = None, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the purchases of every organization, the latest first."""
    return call.answer(_page(call, None, status, cursor, limit))


@router.get(_OF_AN_ORGANIZATION + "/{purchase_id}", **reads(Scope.TOPUPS_READ, "Get a purchase", answer=purchases.Purchase))
def get_purchase(call: CurrentCall, organization_id: OrganizationId, purchase_id: PurchaseId) -> Response:
    """Return a purchase, and what has become of it."""
    return call.answer(_view(call.suite.purchases.get(organization_id, purchase_id)))


def _page(
    call: CurrentCall, organization_id: str | None, status: PurchaseStatus | None, cursor: str | None, limit: int
) -> shapes.Page[purchases.Purchase]:
    statuses = tuple(PurchaseStatus) if status is None else (status,)
    page = call.suite.purchases.list(organization_id, statuses=statuses, cursor=cursor, limit=limit)
    return page_of([_view(each) for each in page.items], page.next_cursor)


def _offer_view(offer: Offer) -> purchases.Offer:
    return shaped(purchases.Offer, offer)


def _view(purchase: Purchase) -> purchases.Purchase:
    return shaped(purchases.Purchase, purchase, status=purchase.status.value, started_by=purchase.started_by.name)
