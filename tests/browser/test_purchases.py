"""Buying in a browser: from the packs page to the page where it is paid, and back to a pack that was granted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.payments import StripeServer, checkout_at, stripe_server
from tokenwell.api.webhooks import PATH, create_webhooks
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

OpenPage = Callable[..., Page]


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    """A stand-in for Stripe, with a page to pay at."""
    with stripe_server() as server:
        yield server


@pytest.fixture
def address(meter: Meter, people: People, stripe: StripeServer) -> Iterator[str]:
    """Where a server answers that sells, and hears webhooks."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    suite = Suite(meter, people=people, checkout=checkout_at(stripe, address=address))
    suite.offers.create("Five million tokens", "5M", price_minor=4_900, currency="eur", valid_days=365, by=SYSTEM)
    suite.offers.create("A million tokens", "1M", price_minor=1_250, currency="eur", by=SYSTEM)
    stripe.webhooks = address + PATH
    console = create_console(suite, Settings())
    app = Starlette(routes=[*create_webhooks(suite).routes, Mount("/", console)])
    app.state = console.state
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield address
    server.should_exit = True
    thread.join()
    listener.close()


def test_tokens_are_bought_paid_and_granted(open_page: OpenPage, meter: Meter, stripe: StripeServer) -> None:
    page = open_page()
    page.get_by_role("link", name="Buy tokens").click()
    dialog = page.get_by_role("dialog", name="Buy tokens")
    dialog.get_by_label("Five million tokens").check()
    expect(dialog.get_by_text("0→5,000,000")).to_be_visible()
    dialog.get_by_role("button", name="Pay 49.00 EUR").click()
    page.wait_for_url(stripe.url + "/pay/**")
    page.get_by_role("link", name="Back").click()
    expect(page.get_by_text("The payment was cancelled. Nothing was charged.")).to_be_visible()
    page.get_by_role("link", name="Pay 49.00 EUR").click()
    page.get_by_role("button", name="Pay").click()
    expect(page.get_by_role("heading", name="5,000,000 tokens were granted.")).to_be_visible()
    page.get_by_role("link", name="AI resource packs").last.click()
    expect(page.locator('[data-pack="PK-1"]')).to_contain_text("Five million tokens")
    assert meter.balance("northwind").balance_tokens == 5_000_000


def test_the_platform_makes_an_offer_in_front_of_its_page(open_page: OpenPage) -> None:
    page = open_page("ada@example.com")
    page.goto("/admin/offers")
    page.get_by_role("link", name="New offer").click()
    dialog = page.get_by_role("dialog", name="New offer")
    for label, text in (("Name", "Ten million"), ("Tokens", "10M"), ("Price", "89"), ("Currency", "EUR")):
        dialog.get_by_label(label, exact=False).first.fill(text)
    expect(dialog.get_by_text("10,000,000 tokens · 89.00 EUR")).to_be_visible()
    dialog.get_by_role("button", name="Sell it").click()
    expect(page.get_by_text("Ten million is sold now.")).to_be_visible()
    expect(page.get_by_role("row", name="Ten million")).to_contain_text("89.00 EUR")
