"""Emergency tokens in the console: offered while the balance is low and the platform allows it, shown before they are taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.console.browsing import Browser
from tests.console.test_acting import fields_of, send
from tokenwell.console.security import FORM_FIELD
from tokenwell.service.meter import Meter

OpenBrowser = Callable[..., Browser]
PATH = "/o/acme/emergency"
LIMIT = 2_000


@pytest.fixture
def mei(open_browser: OpenBrowser) -> Browser:
    """A browser in which an administrator of acme is signed in, where the platform allows 2,000 tokens."""
    return open_browser("mei@example.com", emergency_limit_tokens=LIMIT)


def test_an_administrator_whose_ai_is_stopped_takes_them_once(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 900)
    assert mei.page("/o/acme").all("a", href=PATH)
    assert fields_of(mei.page(PATH))["amount"] == "2,000"
    status, page, fields = send(mei, PATH, amount="1.5k", note="Until <Monday>", preview="1")
    assert status == 200
    assert "Balance 900 → 2,400 State AI stopped → Running low" in page.text
    assert "Owed 0 → 1,500" in page.text
    assert meter.balance("acme").balance_tokens == 900
    del fields["preview"]
    for _ in range(2):
        assert mei.post(PATH, fields).status_code == 303
    page = mei.page("/o/acme")
    assert "AI is running. 1,500 emergency tokens were taken." in page.text
    assert "1,500 tokens are owed" in page.text
    assert page.all("a", href=PATH) == []
    balance = meter.balance("acme")
    assert (balance.balance_tokens, balance.overage_tokens) == (2_400, 1_500)
    with meter.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT action, actor_name FROM act WHERE action = 'pack.advance'").all()
    assert [tuple(row) for row in rows] == [("pack.advance", "Mei Lin")]
    meter.grant("acme", 10_000)
    assert meter.balance("acme").balance_tokens == 10_900


def test_what_is_wrong_is_told_and_what_was_typed_stays(mei: Browser, meter: Meter) -> None:
    status, page, _ = send(mei, PATH, amount="3k", note="For <all>")
    assert (status, "That is more than the platform allows." in page.text) == (422, True)
    assert page.all("input", id="amount", value="3k", aria_invalid="true")
    assert page.all("input", id="note", value="For <all>")
    assert send(mei, PATH, amount="some")[0] == 422
    assert meter.packs("acme").items == ()


def test_while_the_balance_is_normal_or_something_is_owed_there_are_none(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    assert mei.page("/o/acme").all("a", href=PATH) == []
    assert "only while the balance is low" in mei.page(PATH).text
    status, page, _ = send(mei, PATH, amount="1k")
    assert (status, "only while the balance is low" in page.text) == (422, True)
    assert meter.balance("acme").balance_tokens == 9_000


def test_a_platform_without_them_offers_none(open_browser: OpenBrowser, meter: Meter) -> None:
    mei = open_browser("mei@example.com")
    assert mei.page("/o/acme").all("a", href=PATH) == []
    assert send(mei, PATH, amount="1k")[0] == 422
    assert "Emergency tokens at a time None" in open_browser("ada@example.com").page("/admin/settings").text
    ada = open_browser("ada@example.com", emergency_limit_tokens=LIMIT)
    assert "Emergency tokens at a time 2,000" in ada.page("/admin/settings").text


def test_a_viewer_takes_none(open_browser: OpenBrowser, meter: Meter) -> None:
    vic = open_browser("vic@example.com", emergency_limit_tokens=LIMIT)
    page = vic.page("/o/acme")
    assert page.all("a", href=PATH) == []
    assert vic.get(PATH).status_code == 403
    assert vic.post(PATH, {FORM_FIELD: page.csrf_token, "amount": "1"}).status_code == 403
    assert meter.packs("acme").items == ()
