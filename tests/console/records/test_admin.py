"""The platform's list of organizations: those in need first, by what counts now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.console.browsing import Browser, statements_of
from tests.doubles import FrozenClock
from tokenwell.service.meter import Meter
from tokenwell.service.records.outlooks import Outlooks

OpenBrowser = Callable[..., Browser]


def fill(meter: Meter) -> None:
    for name, tokens in {"calm": 90_000, "tight": 5_100, "low": 4_000, "lower": 1_500, "short": 900}.items():
        meter.create_organization(name, name=name.capitalize())
        meter.grant(name, tokens)


def test_the_stopped_stand_first_then_those_nearest_to_stopping(open_browser: OpenBrowser, meter: Meter) -> None:
    fill(meter)
    page = open_browser("ada@example.com").page("/admin")
    assert page.having("data-organization") == ["acme", "beta", "short", "lower", "low", "tight", "calm"]
    assert "All 7 AI stopped 3 Running low 2 Normal 2" in page.text


def test_a_state_and_a_name_narrow_the_list(open_browser: OpenBrowser, meter: Meter) -> None:
    fill(meter)
    ada = open_browser("ada@example.com")
    assert ada.page("/admin?state=running_low").having("data-organization") == ["lower", "low"]
    assert ada.page("/admin?find=LOW").having("data-organization") == ["lower", "low"]
    assert ada.page("/admin?find=%25").having("data-organization") == []
    assert "No organization matches" in ada.page("/admin?find=nothing").text
    assert ada.page("/admin?state=normal&find=%20Acme").having("data-organization") == []


def test_what_expired_does_not_count_before_any_job_ran(open_browser: OpenBrowser, meter: Meter, clock: FrozenClock) -> None:
    fill(meter)
    meter.grant("acme", 99_000, expires_at=clock.now + timedelta(hours=1))
    ada = open_browser("ada@example.com")
    assert ada.page("/admin").having("data-organization")[-1] == "acme"
    clock.advance(timedelta(hours=1))
    page = ada.page("/admin")
    assert page.having("data-organization")[0] == "acme"
    assert "Acme Parts acme AI stopped 0" in page.text


def test_each_tells_what_it_uses_a_day_and_for_how_long_that_lasts(
    open_browser: OpenBrowser, meter: Meter, clock: FrozenClock
) -> None:
    fill(meter)
    meter.debit("calm", 7_000)
    clock.advance(timedelta(days=2))
    page = open_browser("ada@example.com").page("/admin?find=calm")
    assert "Calm calm Normal 83,000 1 1,000 in about 82 days" in page.text
    assert "Tight tight Normal 5,100 1 – No usage yet" in open_browser("ada@example.com").page("/admin").text


def test_the_soonest_to_stop_by_their_outlook_stand_before_the_others(
    open_browser: OpenBrowser, meter: Meter, clock: FrozenClock
) -> None:
    fill(meter)
    for _ in range(26):
        meter.debit("calm", 1_000)
        clock.advance(timedelta(hours=1))
    Outlooks(meter).refresh()
    ada = open_browser("ada@example.com")
    page = ada.page("/admin")
    assert page.having("data-organization") == ["acme", "beta", "short", "calm", "lower", "low", "tight"]
    told = meter.forecast("calm")
    assert told is not None
    assert told.expected.ai_stops_at is not None
    assert f"{told.expected.ai_stops_at:%Y-%m-%dT%H:%M}" in page.html
    assert "4 Feb · in about 2 days" in page.text
    with statements_of(meter.engine) as seen:
        ada.page("/admin")
    assert len([text for text in seen if "FROM account" in text or "FROM rollup" in text]) == 2


def test_nonsense_in_the_address_is_refused(open_browser: OpenBrowser) -> None:
    ada = open_browser("ada@example.com")
    wrong = ["state=king", "after=x", "after=1.2", "after=1.99999999999999999999.a", "after=-1.1.a"]
    for query in [*wrong, "find=" + "a" * 101, "find=%00"]:
        assert ada.get(f"/admin?{query}").status_code == 400, query


def test_the_platforms_pages_do_not_exist_for_others(mei: Browser) -> None:
    assert mei.get("/admin").status_code == 404
    assert "/admin" not in mei.page("/o/acme").having("href")
