"""Offers: the packs that the platform sells, each with its tokens, its price and for how long it is valid."""

from __future__ import annotations

from tokenwell.core.amounts import parse_amount
from tokenwell.core.happenings import PLATFORM, Actor
from tokenwell.core.identifiers import check_label
from tokenwell.core.money import check_currency, check_price
from tokenwell.errors import NotFound, RequestInvalid
from tokenwell.service.acts import record
from tokenwell.service.meter import Meter
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Page, new_id
from tokenwell.store.access.creations import claim
from tokenwell.store.reader import reading
from tokenwell.store.supply import offers as store
from tokenwell.store.supply.offers import Offer
from tokenwell.store.writer import transaction

__all__ = ["Offer", "Offers"]

NAME_LIMIT = 100
VALID_LIMIT_DAYS = 36_600


class Offers:
    """The offers in the meter's database."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._engine = meter.engine

    def create(
        self,
        name: str,
        amount: int | str,
        *,
        price_minor: int,
        currency: str,
        valid_days: int | None = None,
        key: str | None = None,
        by: Actor,
    ) -> Offer:
        """Sell packs of `amount` tokens for a price in the smallest unit of the currency; the same key gives the offer again.

        Raises RequestInvalid, IdempotencyConflict.
        """
        label = check_label(name, field="name", limit=NAME_LIMIT)
        if not label:
            raise RequestInvalid("name must not be empty", field="name")
        if valid_days is not None and (type(valid_days) is not int or not 1 <= valid_days <= VALID_LIMIT_DAYS):
            raise RequestInvalid(f"valid_days must be between 1 and {VALID_LIMIT_DAYS}", field="valid_days")
        offer = Offer(
            id=new_id("off"),
            name=label,
            amount_tokens=parse_amount(amount),
            price_minor=check_price(price_minor),
            currency=check_currency(currency),
            valid_days=valid_days,
            created_at=self._meter.clock(),
            created_by=by,
        )
        given = {name: getattr(offer, name) for name in ("name", "amount_tokens", "price_minor", "currency", "valid_days")}
        with transaction(self._engine) as connection:
            first = None if key is None else claim(connection, PLATFORM, key, offer.id, given, offer.created_at)
            if first is None:
                store.add_offer(connection, offer)
                at = offer.created_at
                record(connection, by=by, at=at, organization_id=PLATFORM, action="offer.create", subject=offer.id, after=given)
        return offer if first is None else self.get(first)

    def get(self, offer_id: str) -> Offer:
        """Return an offer. Raises NotFound."""
        with reading(self._engine) as connection:
            found = store.find_offer(connection, offer_id)
        if found is None:
            raise NotFound("there is no such offer", offer_id=offer_id)
        return found

    def list(self, *, with_withdrawn: bool = False, cursor: str | None = None, limit: int = 50) -> Page[Offer]:
        """Return offers, the latest first: those that are sold now, or all."""
        check_limit(limit)
        if cursor is not None:
            check_label(cursor, field="cursor")
        with reading(self._engine) as connection:
            found = store.offers(connection, with_withdrawn=with_withdrawn, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def withdraw(self, offer_id: str, *, by: Actor) -> Offer:
        """Sell an offer no more; again changes nothing. What is being bought already stays so. Raises NotFound."""
        self.get(offer_id)
        now = self._meter.clock()
        with transaction(self._engine) as connection:
            if store.withdraw_offer(connection, offer_id, now):
                record(connection, by=by, at=now, organization_id=PLATFORM, action="offer.withdraw", subject=offer_id)
        return self.get(offer_id)
