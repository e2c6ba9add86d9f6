"""Purchases: an organization buys what the platform sells and sees what became of it; the platform keeps its offers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, acting
from tokenwell.console.frame import check_platform, frame_of, organization_of, path_of, reads
from tokenwell.console.sheets import refused, sheet_of
from tokenwell.console.visits import Visit
from tokenwell.core.money import check_currency, parse_price, written_price
from tokenwell.errors import PaymentUnavailable, RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.ports import Organization
from tokenwell.service.supply.offers import Offer
from tokenwell.service.supply.purchases import PurchaseStatus

PURCHASES_A_PAGE = 25
OFFERS_SHOWN = 50
_OFFERS = "/admin/offers"
_UNDECIDED = (PurchaseStatus.OPEN, PurchaseStatus.WAITING, PurchaseStatus.PAID, PurchaseStatus.UNRESOLVED)


def offers_of(visit: Visit) -> tuple[Offer, ...]:
    """Return what can be bought now; nothing where no payment provider is configured."""
    suite = visit.console.suite
    return suite.offers.list(limit=OFFERS_SHOWN).items if suite.purchases.is_open else ()


def buy(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what can be bought, or begin to buy it: the page of the purchase leads on to where it is paid."""
    organization = organization_of(visit, Scope.TOPUPS_WRITE)
    suite = visit.console.suite
    offers = {offer.id: offer for offer in offers_of(visit)}
    chosen = offers.get(sent.text("offer") or next(iter(offers), ""))
    if sent.is_final and chosen is None:
        sent.problems["form"] = "not_sold"
    if sent.is_final and chosen is not None:
        try:
            purchase = suite.purchases.start(organization.id, chosen.id, key=sent.key, by=visit.principal.actor)
        except PaymentUnavailable as error:
            sent.problems["form"] = error.code
        else:
            return Done(path=path_of(organization.id, "purchases", purchase.id) + "?go=1", said="purchase_started")
    balance = suite.meter.balance(organization.id)
    after = None if chosen is None else balance.balance_tokens + chosen.amount_tokens - balance.overage_tokens
    shown = {"offers": offers.values(), "chosen": chosen, "balance": balance, "after_tokens": after, "price": written_price}
    return sheet_of(visit, sent, organization, "buy", path_of(organization.id), nav="packs", **shown)


def read_purchase(visit: Visit) -> dict[str, Any]:
    """Return what became of a purchase. Who just began it is led on to where it is paid."""
    organization = organization_of(visit, Scope.TOPUPS_READ)
    query = visit.request.query_params
    purchase = visit.console.suite.purchases.get(organization.id, visit.request.path_params["purchase"])
    may_pay = purchase.status is PurchaseStatus.OPEN and visit.may(Scope.TOPUPS_WRITE, organization.id)
    frame = frame_of(visit, organization)
    valid = None if purchase.valid_days is None else timedelta(days=purchase.valid_days)
    return frame | {
        "purchase": purchase,
        "price": written_price,
        "address": purchase.address if may_pay else None,
        "leads_on": may_pay and query.get("go") == "1",
        "back": query.get("back", ""),
        "is_moving": purchase.status is PurchaseStatus.PAID
        or (purchase.status is PurchaseStatus.OPEN and query.get("back") == "paid"),
        "expires_at": purchase.paid_at + valid if purchase.paid_at is not None and valid is not None else None,
    }


def read_purchases(visit: Visit) -> dict[str, Any]:
    """Return an organization's purchases, the latest first."""
    organization = organization_of(visit, Scope.TOPUPS_READ)
    shown = {"can_buy": visit.may(Scope.TOPUPS_WRITE, organization.id) and bool(offers_of(visit))}
    return _listed(visit, organization, path_of(organization.id, "purchases")) | shown


def read_all_purchases(visit: Visit) -> dict[str, Any]:
    """Return the purchases of every organization, the latest first: those to look at, or all."""
    return _listed(visit, None, "/admin/purchases")


def _listed(visit: Visit, organization: Organization | None, path: str) -> dict[str, Any]:
    frame = frame_of(visit, organization)
    query = visit.request.query_params
    cursor, shows_open = query.get("before") or None, query.get("show") == "open"
    page = visit.console.suite.purchases.list(
        organization.id if organization else None,
        statuses=_UNDECIDED if shows_open else tuple(PurchaseStatus),
        cursor=cursor,
        limit=PURCHASES_A_PAGE,
    )
    return frame | {
        "rows": page.items,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "shows_open": shows_open,
        "path": path,
        "price": written_price,
    }


def read_offers(visit: Visit) -> dict[str, Any]:
    """Return what the platform sells and sold, the latest first."""
    frame = frame_of(visit, None)
    cursor = visit.request.query_params.get("before") or None
    page = visit.console.suite.offers.list(with_withdrawn=True, cursor=cursor, limit=PURCHASES_A_PAGE)
    return frame | {
        "rows": page.items,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "price": written_price,
        "is_open": visit.console.suite.purchases.is_open,
    }


def create_offer(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show the form of a new offer, or make it."""
    check_platform(visit)
    minor = _price_of(sent)
    amount = sent.amount("amount") if sent.text("amount") or sent.is_final else None
    days = sent.text("valid_days")
    if days and not (days.isascii() and days.isdigit() and 1 <= int(days[:6]) <= 36_600):
        sent.problems["valid_days"] = "days"
    if sent.is_final and not sent.problems and amount is not None and minor is not None:
        terms: dict[str, Any] = {"price_minor": minor, "currency": sent.text("currency"), "key": sent.key}
        try:
            offers, valid_days = visit.console.suite.offers, int(days) if days else None
            made = offers.create(sent.text("name"), amount, valid_days=valid_days, **terms, by=visit.principal.actor)
        except RequestInvalid as error:
            refused(sent, error)
        else:
            return Done(path=_OFFERS, said="offer_made", about=made.name)
    said = written_price(minor, sent.text("currency").lower()) if minor is not None else ""
    return sheet_of(visit, sent, None, "offer", _OFFERS, nav="offers", amount=amount, said_price=said)


def _price_of(sent: Sent) -> int | None:
    """Return the price that was typed in the smallest unit, None (and a problem) where it cannot be read."""
    if not sent.is_final and not (sent.text("price") and sent.text("currency")):
        return None
    try:
        check_currency(sent.text("currency"))
    except RequestInvalid:
        sent.problems["currency"] = "currency"
        return None
    try:
        return parse_price(sent.text("price").replace(",", "."), sent.text("currency"))
    except RequestInvalid:
        sent.problems["price"] = "price"
        return None


def withdraw_offer(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Ask whether an offer is to be sold no more, or withdraw it."""
    check_platform(visit)
    offers = visit.console.suite.offers
    offer = offers.get(visit.request.path_params["offer"])
    if sent.is_final:
        offers.withdraw(offer.id, by=visit.principal.actor)
        return Done(path=_OFFERS, said="offer_withdrawn", about=offer.name)
    return sheet_of(visit, sent, None, "offer_withdraw", _OFFERS, nav="offers", offer=offer)


ROUTES = [
    *acting("/o/{organization}/buy", "sheet", buy),
    Route("/o/{organization}/purchases", reads("purchases", read_purchases)),
    Route("/o/{organization}/purchases/{purchase}", reads("purchase", read_purchase)),
    Route("/admin/purchases", reads("purchases", read_all_purchases)),
    Route(_OFFERS, reads("offers", read_offers)),
    *acting(f"{_OFFERS}/new", "sheet", create_offer),
    *acting(f"{_OFFERS}/{{offer}}/withdraw", "sheet", withdraw_offer),
]
