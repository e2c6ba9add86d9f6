"""The platform's pages: grants of all, usage by organization, dated rates, settings without secrets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.console.browsing import Browser
from tests.console.test_acting import send
from tests.doubles import FrozenClock
from tokenwell.service.meter import Meter

OpenBrowser = Callable[..., Browser]


@pytest.fixture
def ada(open_browser: OpenBrowser) -> Browser:
    """A browser in which a platform administrator is signed in."""
    return open_browser("ada@example.com")


def test_the_packs_of_all_stand_newest_first_page_by_page(ada: Browser, meter: Meter) -> None:
    granted = [meter.grant(name, 1_000 + number).pack.id for number in range(40) for name in ("acme", "beta")]
    first = ada.page("/admin/grants")
    older = first.all("a", rel="next")[0]["href"]
    assert first.having("data-pack") + ada.page(older).having("data-pack") == granted[::-1]
    assert "Beta & Sons PK-40" in first.text


def test_usage_is_summed_for_each_organization(open_browser: OpenBrowser, meter: Meter, clock: FrozenClock) -> None:
    for name, tokens in (("acme", 300), ("beta", 4_000)):
        meter.grant(name, 9_000)
        meter.debit(name, tokens)
    clock.advance(timedelta(days=3))
    meter.debit("beta", 50)
    ada = open_browser("ada@example.com")
    page = ada.page("/admin/usage?range=7d")
    assert page.having("data-organization") == ["acme", "beta"]
    assert "Acme Parts acme 300" in page.text
    assert "Beta & Sons beta 4,050" in page.text
    assert "4,350 tokens in 2 organizations (3 requests, 0 refunded)" in page.text
    assert "beta 50" in ada.page("/admin/usage?range=today").text
    assert "50 tokens in 2 organizations (1 request, 0 refunded)" in ada.page("/admin/usage?range=today").text
    assert "4,050 tokens in 1 organization (2 requests, 0 refunded)" in ada.page("/admin/usage?find=bet").text
    assert ada.page("/admin/usage?find=bet").having("data-organization") == ["beta"]


def test_the_total_is_that_of_the_filter_on_every_page(ada: Browser, meter: Meter) -> None:
    for number in range(26):
        meter.create_organization(f"many-{number:02}")
        meter.grant(f"many-{number:02}", 9_000)
        meter.debit(f"many-{number:02}", 10, key="r")
    meter.refund("many-00", "r", 4, key="back")
    first = ada.page("/admin/usage?find=many")
    told = "260 tokens in 26 organizations (26 requests, 4 refunded)"
    assert len(first.having("data-organization")) == 25
    assert told in first.text
    assert told in ada.page(first.all("a", rel="next")[0]["href"]).text


def test_a_rate_is_set_from_a_day_on_and_shown_as_in_force(ada: Browser, meter: Meter, clock: FrozenClock) -> None:
    status, page, _ = send(ada, "/admin/rates/set", model="m", output="x", input="0.1234567")
    assert (status, page.text.count("at most six decimals")) == (422, 2)
    assert send(ada, "/admin/rates/set", model="m", input="0.5", output="2")[0] == 303
    assert send(ada, "/admin/rates/set", model="m", input="3", date="2027-03-01")[0] == 303
    meter.grant("acme", 9_000)
    assert meter.debit("acme", prompt_tokens=100, completion_tokens=10, model="m").amount_tokens == 70
    page = ada.page("/admin/rates")
    assert page.having("data-rate") == ["m", "m"]
    assert "m To come 1 Mar, 00:00 3 1 1 1 1" in page.text
    assert "m In force 31 Jan, 09:30 0.5 1 1 2 1" in page.text
    with meter.engine.connect() as connection:
        acts = connection.exec_driver_sql(
            "SELECT action, subject, actor_name FROM act WHERE action = 'rate.set' ORDER BY act_id"
        ).all()
    assert [tuple(act) for act in acts] == [("rate.set", "m", "Ada Root")] * 2


def test_settings_are_shown_without_secrets(open_browser: OpenBrowser) -> None:
    ada = open_browser("ada@example.com", upstream_api_key="sk-very-secret", public_url="http://testserver")
    page = ada.page("/admin/settings")
    assert "Warning threshold 5,000" in page.text
    assert "very-secret" not in page.html


@pytest.mark.parametrize("path", ["grants", "usage", "rates", "rates/set", "settings"])
def test_these_pages_do_not_exist_for_others(mei: Browser, path: str) -> None:
    assert mei.get(f"/admin/{path}").status_code == 404


@pytest.mark.parametrize(
    "path", ["grants?before=x", "usage?range=all", "usage?after=%00", "usage?from=2027-01-01", "usage?find=%00"]
)
def test_nonsense_is_refused(ada: Browser, path: str) -> None:
    assert ada.get(f"/admin/{path}").status_code == 400
