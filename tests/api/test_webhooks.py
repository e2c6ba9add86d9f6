"""Webhooks of payments over HTTP: what is understood is answered 200, what is not Stripe's is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.doubles import FrozenClock
from tests.payments import StripeServer, checkout_at, signature_of, stripe_server
from tokenwell.api.webhooks import BODY_LIMIT_BYTES, PATH, create_webhooks
from tokenwell.core.happenings import SYSTEM
from tokenwell.errors import StoreUnavailable
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

COMPLETED = "checkout.session.completed"


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    """A stand-in for Stripe."""
    with stripe_server() as server:
        yield server


@pytest.fixture
def suite(sqlite_url: str, clock: FrozenClock, stripe: StripeServer) -> Iterator[Suite]:
    """A suite that sells."""
    with Meter(sqlite_url, clock=clock) as meter:
        meter.create_organization("acme")
        suite = Suite(meter, checkout=checkout_at(stripe))
        yield suite
        suite.close()


@pytest.fixture
async def http(suite: Suite) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that has no key."""
    transport = httpx2.ASGITransport(create_webhooks(suite))
    async with httpx2.AsyncClient(transport=transport, base_url="http://tokenwell.test") as client:
        yield client


async def test_a_payment_told_twice_is_answered_twice_and_granted_once(
    suite: Suite, stripe: StripeServer, http: httpx2.AsyncClient
) -> None:
    offer = suite.offers.create("One", "1M", price_minor=100, currency="eur", by=SYSTEM)
    purchase = suite.purchases.start("acme", offer.id, by=SYSTEM)
    body, signature = stripe.event(COMPLETED, stripe.pay(str(purchase.session_id)))
    for _ in range(2):
        answer = await http.post(PATH, content=body, headers={"Stripe-Signature": signature})
        assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert suite.meter.balance("acme").balance_tokens == 1_000_000
    unknown, signature = stripe.event("invoice.paid", {"id": "in_1"})
    assert (await http.post(PATH, content=unknown, headers={"Stripe-Signature": signature})).status_code == 200


async def test_what_stripe_did_not_sign_is_refused(http: httpx2.AsyncClient) -> None:
    body = b'{"id": "evt_1", "type": "invoice.paid", "data": {"object": {}}}'
    answers = [
        await http.post(PATH, content=body),
        await http.post(PATH, content=body, headers={"Stripe-Signature": signature_of(body, secret="whsec_x")}),
    ]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(400, "request_invalid")] * 2
    assert (await http.post(PATH, content=b" " * (BODY_LIMIT_BYTES + 1))).status_code == 413
    assert (await http.get(PATH)).status_code == 405


async def test_a_database_that_fails_is_told_again(
    suite: Suite, stripe: StripeServer, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise StoreUnavailable

    monkeypatch.setattr(suite.payments, "hear", fail)
    body, signature = stripe.event("invoice.paid", {})
    assert (await http.post(PATH, content=body, headers={"Stripe-Signature": signature})).status_code == 503


async def test_nothing_is_heard_where_nothing_is_sold(sqlite_url: str, clock: FrozenClock) -> None:
    with Meter(sqlite_url, clock=clock) as meter:
        suite = Suite(meter)
        transport = httpx2.ASGITransport(create_webhooks(suite))
        async with httpx2.AsyncClient(transport=transport, base_url="http://tokenwell.test") as client:
            assert (await client.post(PATH, content=b"{}")).status_code == 404
        suite.close()
