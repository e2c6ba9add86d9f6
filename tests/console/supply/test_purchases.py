"""Purchases in the console: offered by the platform, bought by an organization's administrator, seen by whoever may."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from tests.console.browsing import Browser
from tests.console.test_acting import send
from tests.payments import StripeServer, checkout_at, stripe_server
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite
from tokenwell.service.supply.purchases import PurchaseStatus

OpenShop = Callable[[str], Browser]


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    """A stand-in for Stripe."""
    with stripe_server() as server:
        yield server


@pytest.fixture
def suite(meter: Meter, people: People, stripe: StripeServer) -> Suite:
    """A suite that sells."""
    return Suite(meter, people=people, sealer=Sealer(lambda: ("k" * 48,)), checkout=checkout_at(stripe))


@pytest.fixture
def shop(suite: Suite) -> OpenShop:
    """Open a browser on a console that sells."""

    def opened(email: str) -> Browser:
        client = TestClient(
            create_console(suite, Settings()), base_url="http://testserver", raise_server_exceptions=False, follow_redirects=False
        )
        browser = Browser(client)
        assert browser.sign_in(email).status_code == 303
        return browser

    return opened


def offered(suite: Suite) -> str:
    """Return the id of an offer."""
    return suite.offers.create("Five million", "5M", price_minor=4_900, currency="eur", valid_days=365, by=SYSTEM).id


def test_the_platform_makes_an_offer_and_withdraws_it(shop: OpenShop, suite: Suite) -> None:
    ada = shop("ada@example.com")
    typed = {"name": "Five million", "amount": "5M", "price": "49,50", "currency": "EUR", "valid_days": "365"}
    status, page, _ = send(ada, "/admin/offers/new", **typed, preview="1")
    assert (status, "5,000,000 tokens · 49.50 EUR" in page.text, suite.offers.list().items) == (200, True, ())
    assert send(ada, "/admin/offers/new", **typed)[0] == 303
    (offer,) = suite.offers.list().items
    assert (offer.price_minor, offer.currency, offer.valid_days, offer.created_by.name) == (4_950, "eur", 365, "Ada Root")
    assert "Five million valid for 365 days" in ada.page("/admin/offers").text
    assert send(ada, f"/admin/offers/{offer.id}/withdraw")[0] == 303
    assert suite.offers.list().items == ()
    assert "Withdrawn" in ada.page("/admin/offers").text


def test_what_is_wrong_with_an_offer_is_said_beside_it_and_nothing_typed_is_lost(shop: OpenShop, suite: Suite) -> None:
    ada = shop("ada@example.com")
    good = {"name": "Five million", "amount": "5M", "price": "49", "currency": "EUR", "valid_days": ""}
    for field, wrong, said in (
        ("price", "cheap", "This is not a price."),
        ("price", "0", "This is not a price."),
        ("currency", "€", "three letters"),
        ("valid_days", "-1", "number of days"),
        ("amount", "some", "whole number of tokens"),
        ("name", "", "A name is needed"),
    ):
        status, page, _ = send(ada, "/admin/offers/new", **(good | {field: wrong}))
        assert (status, said in page.text) == (422, True), (field, page.text[-600:])
        assert [each["value"] for each in page.all("input", name=field)] == [wrong]
    assert suite.offers.list().items == ()


def test_an_administrator_buys_and_sees_what_became_of_it(shop: OpenShop, suite: Suite, stripe: StripeServer) -> None:
    mei, offer_id = shop("mei@example.com"), offered(suite)
    assert mei.page("/o/acme").all("a", href="/o/acme/buy")
    page = mei.page("/o/acme/buy")
    assert "Balance 0 → 5,000,000" in page.text
    assert "Pay 49.00 EUR" in page.text
    answer = mei.post("/o/acme/buy", send(mei, "/o/acme/buy", offer=offer_id, preview="1")[2] | {"preview": ""})
    fields = {name: value for name, value in send(mei, "/o/acme/buy", offer=offer_id, preview="1")[2].items() if name != "preview"}
    answers = [mei.post("/o/acme/buy", fields) for _ in range(2)]
    assert [each.status_code for each in (answer, *answers)] == [200, 303, 303]
    (purchase,) = suite.purchases.list("acme").items  # sent twice, bought once
    here = f"/o/acme/purchases/{purchase.id}"
    assert answers[0].headers["location"] == f"{here}?go=1"
    led = mei.page(f"{here}?go=1")
    assert led.all("meta", http_equiv="refresh")[0]["content"] == f"0;url={purchase.address}"
    assert mei.page(here).all("meta", http_equiv="refresh") == []
    assert "The payment was cancelled. Nothing was charged." in mei.page(f"{here}?back=cancelled").text
    assert "Waiting for Stripe to say that it is paid." in mei.page(f"{here}?back=paid").text
    assert suite.purchases.get("acme", purchase.id).status is PurchaseStatus.OPEN  # coming back is no payment
    suite.payments.hear(*stripe.event("checkout.session.completed", stripe.pay(str(purchase.session_id))))
    assert "5,000,000 tokens were granted." in mei.page(f"{here}?back=paid").text
    assert "Five million" in mei.page("/o/acme/purchases").text
    assert "Nothing" not in mei.page("/o/acme/purchases?show=open").text
    assert mei.page("/o/acme/purchases?show=open").having("data-purchase") == []


def test_what_waits_and_what_is_unresolved_is_said(shop: OpenShop, suite: Suite, stripe: StripeServer) -> None:
    mei, ada, offer_id = shop("mei@example.com"), shop("ada@example.com"), offered(suite)
    first, second = (suite.purchases.start("acme", offer_id, by=SYSTEM) for _ in range(2))
    suite.payments.hear(*stripe.event("checkout.session.completed", stripe.pay(str(first.session_id), at_once=False)))
    assert "Waiting for the payment." in mei.page(f"/o/acme/purchases/{first.id}").text
    suite.payments.hear(*stripe.event("checkout.session.completed", stripe.pay(str(second.session_id)), amount_total=1))
    assert "A platform admin looks into it." in mei.page(f"/o/acme/purchases/{second.id}").text
    assert "1 eur was paid instead of 4900 eur" in ada.page(f"/o/acme/purchases/{second.id}").text
    suite.payments.hear(*stripe.event("charge.refunded", stripe.charge(str(second.session_id), 4_900)))
    assert "49.00 EUR given back" in ada.page("/admin/purchases?show=open").text
    assert set(ada.page("/admin/purchases").having("data-purchase")) == {first.id, second.id}


def test_a_provider_that_fails_leaves_the_form_as_it_was(shop: OpenShop, suite: Suite, stripe: StripeServer) -> None:
    mei, offer_id = shop("mei@example.com"), offered(suite)
    stripe.fails = 500
    status, page, _ = send(mei, "/o/acme/buy", offer=offer_id)
    assert (status, "Stripe does not answer. Nothing was charged" in page.text) == (422, True)
    suite.offers.withdraw(offer_id, by=SYSTEM)
    status, page, _ = send(mei, "/o/acme/buy", offer=offer_id)
    assert (status, "sold no more" in page.text or "Nothing is sold" in page.text) == (422, True)


def test_others_do_not_buy_and_see_only_their_own(shop: OpenShop, suite: Suite) -> None:
    offer_id = offered(suite)
    purchase = suite.purchases.start("beta", offer_id, by=SYSTEM)
    mei, vic = shop("mei@example.com"), shop("vic@example.com")
    assert mei.get(f"/o/beta/purchases/{purchase.id}").status_code == 404
    assert mei.get(f"/o/acme/purchases/{purchase.id}").status_code == 404
    assert mei.get("/admin/offers").status_code == 404
    assert vic.get("/o/beta/buy").status_code == 403
    page = vic.page(f"/o/beta/purchases/{purchase.id}")
    assert not re.search(r"/pay/cs_test", page.html)
    assert vic.page("/o/beta").all("a", href="/o/beta/buy") == []


def test_nothing_is_offered_where_nothing_is_sold(open_browser: Callable[..., Browser], meter: Meter) -> None:
    mei = open_browser("mei@example.com")
    Suite(meter).offers.create("One", 1, price_minor=1, currency="eur", by=SYSTEM)
    page = mei.page("/o/acme")
    assert page.all("a", href="/o/acme/buy") == page.all("a", href="/o/acme/purchases") == []
    assert "no Stripe key is set" in open_browser("ada@example.com").page("/admin/offers").text
