"""Purchases: paid at the provider, granted once, whatever is told, how often and in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tests.payments import KEY, SECRET, StripeServer, checkout_at, signature_of, stripe_server
from tests.service.suites import actions_in
from tests.service.supply.victim import die_at_grant
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import (
    AmountInvalid,
    IdempotencyConflict,
    NotFound,
    OrganizationNotFound,
    PaymentUnavailable,
    RequestInvalid,
    StoreUnavailable,
)
from tokenwell.service.jobs import Turn
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite
from tokenwell.service.supply.offers import Offer
from tokenwell.service.supply.payments import ASKED_AFTER, GIVEN_UP_AFTER
from tokenwell.service.supply.purchases import Purchase, PurchaseStatus
from tokenwell.store import schema
from tokenwell.store.reader import reading

MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin")
ROOT = Actor(kind=ActorKind.PERSON, id="per_root", name="Root")
COMPLETED = "checkout.session.completed"


@pytest.fixture(scope="module")
def server() -> Iterator[StripeServer]:
    """A stand-in for Stripe."""
    with stripe_server() as opened:
        yield opened


@pytest.fixture
def stripe(server: StripeServer) -> StripeServer:
    """That server, with nothing asked yet."""
    server.asked.clear()
    server.fails = 0
    return server


@contextmanager
def selling(url: str, clock: FrozenClock, stripe: StripeServer) -> Iterator[Suite]:
    """Give a suite that sells, with two organizations."""
    checkout = checkout_at(stripe, "whsec_next")
    with Meter(url, clock=clock, tenant_role=tenant_role_on(url)) as meter:
        meter.create_organization("acme")
        meter.create_organization("other")
        suite = Suite(meter, checkout=checkout)
        yield suite
        suite.close()


@pytest.fixture
def suite(database_url: str, clock: FrozenClock, stripe: StripeServer) -> Iterator[Suite]:
    """A suite that sells, on SQLite and on PostgreSQL."""
    with selling(database_url, clock, stripe) as suite:
        yield suite


@pytest.fixture
def lone(sqlite_url: str, clock: FrozenClock, stripe: StripeServer) -> Iterator[Suite]:
    """A suite that sells, on SQLite: for what no database makes a difference to."""
    with selling(sqlite_url, clock, stripe) as suite:
        yield suite


def five_million(suite: Suite) -> Offer:
    """Return an offer: five million tokens for 49 euros."""
    return suite.offers.create("Five million", "5M", price_minor=4_900, currency="EUR", valid_days=365, by=ROOT)


@pytest.fixture
def offer(suite: Suite) -> Offer:
    """That offer, on both."""
    return five_million(suite)


def session_of(purchase: Purchase) -> str:
    """Return the id of a purchase's session."""
    assert purchase.session_id is not None
    return purchase.session_id


def events_of(suite: Suite) -> list[tuple[str, dict[str, Any]]]:
    """Return the events on purchases and packs, in order: kind and detail."""
    query = select(schema.event.c.kind, schema.event.c.detail).order_by(schema.event.c.event_id)
    with reading(suite.meter.engine) as connection:
        return [(kind, msgspec.json.decode(detail)) for kind, detail in connection.execute(query)]


def kinds_of(suite: Suite) -> list[str]:
    """Return the kinds of those events."""
    return [kind for kind, _ in events_of(suite) if kind.startswith(("purchase", "pack"))]


def test_what_is_paid_becomes_a_pack(suite: Suite, stripe: StripeServer, offer: Offer, clock: FrozenClock) -> None:
    purchase = suite.purchases.start("acme", offer.id, key="k", by=MEI)
    assert purchase.status is PurchaseStatus.OPEN
    assert purchase.address == f"{stripe.url}/pay/{purchase.session_id}"
    (_, _, form) = stripe.asked[-1]
    assert form["line_items[0][price_data][unit_amount]"] == "4900"
    assert form["success_url"] == f"https://ai.example.com/o/acme/purchases/{purchase.id}?back=paid"
    assert form["payment_intent_data[metadata][purchase_id]"] == purchase.id
    clock.advance(timedelta(minutes=3))
    assert suite.payments.hear(*stripe.event(COMPLETED, stripe.pay(session_of(purchase)))) == COMPLETED
    paid = suite.purchases.get("acme", purchase.id)
    (line,) = suite.meter.packs("acme").items
    assert (paid.status, paid.pack_id, paid.paid_at) == (PurchaseStatus.GRANTED, line.pack.id, clock())
    assert (line.pack.total_tokens, line.pack.note, line.pack.expires_at) == (
        5_000_000,
        "Five million",
        clock() + timedelta(days=365),
    )
    assert actions_in(suite, "acme") == ["purchase.start", "purchase.pay", "pack.grant", "purchase.grant"]
    assert kinds_of(suite) == ["pack.granted", "purchase.completed"]


def test_an_event_told_again_grants_once(lone: Suite, stripe: StripeServer, clock: FrozenClock) -> None:
    offer = five_million(lone)
    purchase = lone.purchases.start("acme", offer.id, by=MEI)
    event = stripe.event(COMPLETED, stripe.pay(session_of(purchase)))
    for _ in range(3):
        lone.payments.hear(*event)
        clock.advance(timedelta(hours=1))
    assert lone.meter.balance("acme").balance_tokens == 5_000_000
    assert kinds_of(lone) == ["pack.granted", "purchase.completed"]
    assert actions_in(lone, "acme").count("purchase.grant") == 1


def test_many_hear_the_same_at_once_and_grant_once(suite: Suite, stripe: StripeServer, offer: Offer) -> None:
    purchase = suite.purchases.start("acme", offer.id, by=MEI)
    event = stripe.event(COMPLETED, stripe.pay(session_of(purchase)))
    threads = [threading.Thread(target=suite.payments.hear, args=event) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert suite.meter.balance("acme").balance_tokens == 5_000_000
    assert kinds_of(suite) == ["pack.granted", "purchase.completed"]


def test_a_payment_that_takes_days_is_waited_for(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    purchase = lone.purchases.start("acme", offer.id, by=MEI)
    session = stripe.pay(session_of(purchase), at_once=False)
    lone.payments.hear(*stripe.event(COMPLETED, session))
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.WAITING
    assert lone.meter.balance("acme").balance_tokens == 0
    lone.payments.hear(*stripe.event("checkout.session.async_payment_succeeded", session, payment_status="paid"))
    lone.payments.hear(*stripe.event(COMPLETED, session))  # told late
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.GRANTED
    assert lone.meter.balance("acme").balance_tokens == 5_000_000


def test_a_payment_that_fails_grants_nothing_and_is_told(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    purchase = lone.purchases.start("acme", offer.id, by=MEI)
    session = stripe.pay(session_of(purchase), at_once=False)
    lone.payments.hear(*stripe.event("checkout.session.async_payment_failed", session))
    lone.payments.hear(*stripe.event(COMPLETED, session))  # out of order
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.FAILED
    assert kinds_of(lone) == ["purchase.failed"]
    assert actions_in(lone, "acme")[-1] == "purchase.fail"


def test_money_that_came_counts_whatever_was_told_before(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    purchase = lone.purchases.start("acme", offer.id, by=MEI)
    session = stripe.sessions[session_of(purchase)]
    lone.payments.hear(*stripe.event("checkout.session.expired", session, status="expired"))
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.EXPIRED
    lone.payments.hear(*stripe.event(COMPLETED, stripe.pay(session_of(purchase))))
    lone.payments.hear(*stripe.event("checkout.session.expired", session, status="expired"))
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.GRANTED


def test_money_that_is_not_what_was_asked_for_is_left_to_people(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    for changed in ({"amount_total": 1}, {"currency": "jpy"}, {"mode": "subscription"}, {"amount_total": None}):
        purchase = lone.purchases.start("acme", offer.id, by=MEI)
        for _ in range(2):
            lone.payments.hear(*stripe.event(COMPLETED, stripe.pay(session_of(purchase)), **changed))
        left = lone.purchases.get("acme", purchase.id)
        assert (left.status, bool(left.reason), left.pack_id) == (PurchaseStatus.UNRESOLVED, True, None)
    assert lone.meter.balance("acme").balance_tokens == 0
    assert kinds_of(lone) == ["purchase.unresolved"] * 4


def test_what_is_told_of_something_else_changes_nothing(lone: Suite, stripe: StripeServer) -> None:
    purchase = lone.purchases.start("acme", five_million(lone).id, by=MEI)
    event = partial(stripe.event, COMPLETED, stripe.pay(session_of(purchase)))
    for metadata in (
        {},
        None,
        {"organization_id": "other"},
        {"organization_id": "other", "purchase_id": purchase.id},
        {"organization_id": "acme", "purchase_id": "pur_none"},
    ):
        lone.payments.hear(*event(metadata=metadata))
    lone.payments.hear(*event(id="cs_test_of_somebody_else"))
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.OPEN
    assert kinds_of(lone) == []


def test_events_that_are_not_known_change_nothing(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    purchase = lone.purchases.start("acme", offer.id, by=MEI)
    for kind in ("payment_intent.succeeded", "checkout.session.invented", "customer.created"):
        assert lone.payments.hear(*stripe.event(kind, stripe.pay(session_of(purchase)))) == kind
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.OPEN


def test_only_what_stripe_signed_a_moment_ago_is_believed(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    purchase = lone.purchases.start("acme", offer.id, by=MEI)
    body, signature = stripe.event(COMPLETED, stripe.pay(session_of(purchase)))
    stale, foreign = signature_of(body, at=time.time() - 301), signature_of(body, secret="whsec_other")
    for tried in (None, "", "t=1", "t=x,v1=y", signature.replace("v1=", "v2="), stale, foreign):
        with pytest.raises(RequestInvalid) as caught:
            lone.payments.hear(body, tried)
        assert caught.value.details == {"field": "Stripe-Signature"}
    for changed in (body.replace(b"4900", b"1"), body + b" ", b"\xff" + body):
        with pytest.raises(RequestInvalid):
            lone.payments.hear(changed, signature)
    with pytest.raises(RequestInvalid, match="cannot be read"):
        lone.payments.hear(b"[]", signature_of(b"[]"))
    broken = b'{"id": "evt_1", "type": "checkout.session.completed", "data": {"object": {"id": 5}}}'
    with pytest.raises(RequestInvalid, match="cannot be read"):
        lone.payments.hear(broken, signature_of(broken))
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.OPEN
    lone.payments.hear(body, signature_of(body, secret="whsec_next"))  # while the secret is rolled over
    assert lone.purchases.get("acme", purchase.id).status is PurchaseStatus.GRANTED


def test_a_grant_that_was_interrupted_is_completed_by_the_job(
    suite: Suite, stripe: StripeServer, offer: Offer, monkeypatch: pytest.MonkeyPatch, clock: FrozenClock
) -> None:
    purchase = suite.purchases.start("acme", offer.id, by=MEI)
    event = stripe.event(COMPLETED, stripe.pay(session_of(purchase)))
    with monkeypatch.context() as patched:
        patched.setattr(suite.meter.batcher, "submit", _unreachable)
        with pytest.raises(StoreUnavailable):
            suite.payments.hear(*event)
    assert suite.purchases.get("acme", purchase.id).status is PurchaseStatus.PAID
    clock.advance(timedelta(days=1))
    assert suite.purchases.finish_paid() == 1
    assert suite.purchases.finish_paid() == 0
    (line,) = suite.meter.packs("acme").items
    assert line.pack.expires_at == clock() + timedelta(days=364)  # valid from when it was paid
    suite.payments.hear(*event)
    assert suite.meter.balance("acme").balance_tokens == 5_000_000


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_between_webhook_and_grant_loses_and_doubles_nothing(
    when: str, database_url: str, suite: Suite, stripe: StripeServer, offer: Offer, clock: FrozenClock
) -> None:
    purchase = suite.purchases.start("acme", offer.id, by=MEI)
    body, signature = stripe.event(COMPLETED, stripe.pay(session_of(purchase)))
    task = {"url": database_url, "now": clock().isoformat(), "stripe": stripe.url, "secret": SECRET}
    die_at_grant(when, **task, body=body.decode(), signature=signature)
    assert suite.purchases.get("acme", purchase.id).status is PurchaseStatus.PAID
    assert suite.purchases.finish_paid() == 1
    suite.payments.hear(body, signature)  # Stripe, which had no answer, tells it again
    assert suite.purchases.get("acme", purchase.id).status is PurchaseStatus.GRANTED
    assert suite.meter.balance("acme").balance_tokens == 5_000_000
    assert kinds_of(suite) == ["pack.granted", "purchase.completed"]
    assert actions_in(suite, "acme") == ["purchase.start", "purchase.pay", "pack.grant", "purchase.grant"]


def _unreachable(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable


def test_a_pack_that_is_refused_is_left_to_people(lone: Suite, stripe: StripeServer, clock: FrozenClock) -> None:
    short = lone.offers.create("A day", "1k", price_minor=100, currency="eur", valid_days=1, by=ROOT)
    purchase = lone.purchases.start("acme", short.id, by=MEI)
    with reading(lone.meter.engine) as connection:
        assert connection.execute(select(schema.purchase.c.status)).scalar_one() == "open"
    lone.meter.grant("acme", 10**16, key="all")
    lone.payments.hear(*stripe.event(COMPLETED, stripe.pay(session_of(purchase))))
    left = lone.purchases.get("acme", purchase.id)
    assert (left.status, bool(left.reason)) == (PurchaseStatus.UNRESOLVED, True)
    assert lone.purchases.finish_paid() == 0
    assert kinds_of(lone)[-1] == "purchase.unresolved"


def test_money_given_back_is_told_and_the_pack_stays(suite: Suite, stripe: StripeServer, offer: Offer) -> None:
    purchase = suite.purchases.start("acme", offer.id, by=MEI)
    session_id = session_of(purchase)
    suite.payments.hear(*stripe.event(COMPLETED, stripe.pay(session_id)))
    for refunded in (1_000, 1_000, 4_900, 1_000):
        suite.payments.hear(*stripe.event("charge.refunded", stripe.charge(session_id, refunded)))
    assert suite.purchases.get("acme", purchase.id).refunded_minor == 4_900
    told = [detail for kind, detail in events_of(suite) if kind == "purchase.refunded"]
    assert [each["refunded_minor"] for each in told] == [1_000, 4_900]
    assert suite.meter.balance("acme").balance_tokens == 5_000_000
    assert actions_in(suite, "acme").count("purchase.refund") == 2


def test_a_refund_told_before_the_payment_is_kept(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    purchase = lone.purchases.start("acme", offer.id, by=MEI)
    session = stripe.pay(session_of(purchase))
    lone.payments.hear(*stripe.event("charge.refunded", stripe.charge(session_of(purchase), 4_900)))
    lone.payments.hear(*stripe.event(COMPLETED, session))
    told = lone.purchases.get("acme", purchase.id)
    assert (told.status, told.refunded_minor) == (PurchaseStatus.GRANTED, 4_900)


def test_a_chargeback_is_told_when_it_begins_and_ends(suite: Suite, stripe: StripeServer, offer: Offer) -> None:
    purchase = suite.purchases.start("acme", offer.id, by=MEI)
    session_id = session_of(purchase)
    suite.payments.hear(*stripe.event(COMPLETED, stripe.pay(session_id)))
    steps = (("created", "needs_response"), ("created", "needs_response"), ("updated", "under_review"), ("closed", "lost"))
    for kind, status in (*steps, ("updated", "under_review")):
        suite.payments.hear(*stripe.event(f"charge.dispute.{kind}", stripe.dispute(session_id, status)))
    assert suite.purchases.get("acme", purchase.id).chargeback == "lost"
    told = [detail["chargeback"] for kind, detail in events_of(suite) if kind == "purchase.charged_back"]
    assert told == ["needs_response", "lost"]
    assert suite.meter.balance("acme").balance_tokens == 5_000_000


def test_the_same_key_is_the_same_purchase(suite: Suite, stripe: StripeServer, offer: Offer) -> None:
    first = suite.purchases.start("acme", offer.id, key="k", by=MEI)
    assert suite.purchases.start("acme", offer.id, key="k", by=MEI) == first
    assert len(stripe.asked) == 1
    assert suite.purchases.checkout is not None
    assert suite.purchases.checkout.open(first).id == first.session_id  # one purchase has one page, at Stripe too
    dear = suite.offers.create("Dear", 1, price_minor=9_900, currency="eur", by=ROOT)
    with pytest.raises(IdempotencyConflict) as caught:
        suite.purchases.start("acme", dear.id, key="k", by=MEI)
    assert caught.value.details == {"field": "offer_id"}
    assert len(suite.purchases.list("acme").items) == 1


def test_where_the_provider_fails_the_same_key_tries_again(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    for status in (400, 500):
        stripe.fails = status
        with pytest.raises(PaymentUnavailable) as caught:
            lone.purchases.start("acme", offer.id, key="k", by=MEI)
        assert caught.value.details["status"] == status
        assert KEY not in repr(caught.value.details) + str(caught.value)
    stripe.fails = 0
    purchase = lone.purchases.start("acme", offer.id, key="k", by=MEI)
    assert purchase.address is not None
    assert lone.purchases.list("acme").items == (purchase,)


def test_an_offer_is_sold_until_it_is_withdrawn(lone: Suite, stripe: StripeServer) -> None:
    offer = five_million(lone)
    purchase = lone.purchases.start("acme", offer.id, by=MEI)
    assert lone.offers.withdraw(offer.id, by=ROOT) == lone.offers.withdraw(offer.id, by=ROOT)
    with pytest.raises(NotFound, match="sold no more"):
        lone.purchases.start("acme", offer.id, by=MEI)
    assert lone.offers.list().items == ()
    assert [each.id for each in lone.offers.list(with_withdrawn=True).items] == [offer.id]
    lone.payments.hear(*stripe.event(COMPLETED, stripe.pay(session_of(purchase))))  # what was being bought stays so
    assert lone.meter.balance("acme").balance_tokens == 5_000_000
    assert actions_in(lone, "") == ["offer.create", "offer.withdraw"]


def test_an_offer_out_of_bounds_is_refused(lone: Suite) -> None:
    for field, value in (
        ("price_minor", 0), ("price_minor", 100_000_000), ("currency", "euro"),
        ("name", ""), ("name", "x" * 101), ("valid_days", 0),
    ):  # fmt: skip
        words: dict[str, Any] = {"name": "Some", "amount": 1, "price_minor": 100, "currency": "eur", "by": ROOT, field: value}
        with pytest.raises(RequestInvalid) as caught:
            lone.offers.create(**words)
        assert caught.value.details["field"] == field
    with pytest.raises(AmountInvalid):
        lone.offers.create("Some", 0, price_minor=1, currency="eur", by=ROOT)
    assert lone.offers.list().items == ()


def test_the_same_key_is_the_same_offer(lone: Suite) -> None:
    first = lone.offers.create("One", 1, price_minor=1, currency="eur", key="k", by=ROOT)
    assert lone.offers.create("One", 1, price_minor=1, currency="eur", key="k", by=ROOT) == first
    with pytest.raises(IdempotencyConflict):
        lone.offers.create("One", 1, price_minor=2, currency="eur", key="k", by=ROOT)


def test_purchases_are_told_apart_by_organization(lone: Suite) -> None:
    offer = five_million(lone)
    own = lone.purchases.start("acme", offer.id, key="k", by=MEI)
    others = lone.purchases.start("other", offer.id, key="k", by=MEI)
    with pytest.raises(NotFound):
        lone.purchases.get("other", own.id)
    with pytest.raises(OrganizationNotFound):
        lone.purchases.start("none", offer.id, by=MEI)
    assert [each.id for each in lone.purchases.list().items] == [others.id, own.id]
    page = lone.purchases.list(limit=1)
    assert [each.id for each in lone.purchases.list(cursor=page.next_cursor).items] == [own.id]


def test_nothing_is_sold_without_a_provider(sqlite_url: str, clock: FrozenClock) -> None:
    with Meter(sqlite_url, clock=clock) as meter:
        meter.create_organization("acme")
        suite = Suite(meter)
        offer = suite.offers.create("One", 1, price_minor=1, currency="eur", by=ROOT)
        with pytest.raises(NotFound, match="nothing is sold"):
            suite.purchases.start("acme", offer.id, by=MEI)
        with pytest.raises(NotFound):
            suite.payments.hear(b"{}", signature_of(b"{}"))
        assert suite.payments.ask(Turn(clock)) == 0
        suite.close()


async def test_what_nobody_told_is_asked_for(suite: Suite, stripe: StripeServer, offer: Offer, clock: FrozenClock) -> None:
    purchases = {name: suite.purchases.start("acme", offer.id, by=MEI) for name in ("paid", "waiting", "over", "open")}
    stripe.pay(session_of(purchases["paid"]))
    stripe.pay(session_of(purchases["waiting"]), at_once=False)
    stripe.sessions[session_of(purchases["over"])]["status"] = "expired"
    assert suite.payments.ask(Turn(clock)) == 0
    clock.advance(ASKED_AFTER + timedelta(seconds=1))
    stripe.fails = 500
    assert suite.payments.ask(Turn(clock)) == 1  # leaves off at the first failure
    stripe.fails = 0
    clock.advance(ASKED_AFTER + timedelta(seconds=1))
    assert suite.payments.ask(Turn(clock)) == 4
    assert suite.payments.ask(Turn(clock)) == 0
    statuses = {name: suite.purchases.get("acme", each.id).status.value for name, each in purchases.items()}
    assert statuses == {"paid": "granted", "waiting": "waiting", "over": "expired", "open": "open"}


async def test_a_purchase_that_never_got_a_page_expires(lone: Suite, stripe: StripeServer, clock: FrozenClock) -> None:
    offer = five_million(lone)
    stripe.fails = 400
    with pytest.raises(PaymentUnavailable):
        lone.purchases.start("acme", offer.id, by=MEI)
    clock.advance(GIVEN_UP_AFTER + timedelta(seconds=1))
    assert lone.payments.ask(Turn(clock)) == 1
    assert [each.status for each in lone.purchases.list("acme").items] == [PurchaseStatus.EXPIRED]
