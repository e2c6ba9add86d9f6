"""The outlook: the forecast's own instants and amounts, in words and in a picture that stays in its box."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.console.browsing import Browser
from tests.doubles import FrozenClock
from tokenwell.console.formats import Formats
from tokenwell.console.outlook import What, outlook_view
from tokenwell.core.health import Thresholds
from tokenwell.service.meter import Meter
from tokenwell.service.records.backward import Backward


def use_for_days(meter: Meter, clock: FrozenClock, *, days: int, a_day: int) -> None:
    end = clock.now
    for hour in range(days * 24):
        clock.now = end - timedelta(days=days) + timedelta(hours=hour)
        meter.debit("acme", a_day // 24, model="qwen3-max", already_used=True)
    clock.now = end


@pytest.fixture
def busy(meter: Meter, clock: FrozenClock) -> Meter:
    """Acme after ten days of use, with a pack that will expire unused and one that never does."""
    end = clock.now
    clock.now = end - timedelta(days=11)
    meter.grant("acme", 40_000, expires_at=end + timedelta(days=3))
    meter.grant("acme", 20_000)
    clock.now = end
    use_for_days(meter, clock, days=10, a_day=2_400)
    return meter


def test_the_page_tells_when_ai_stops_as_the_forecast_does(mei: Browser, busy: Meter) -> None:
    told = busy.forecast("acme")
    assert told is not None
    assert told.expected.ai_stops_at is not None
    page = mei.page("/o/acme")
    formats = Formats("en", "UTC", busy.clock())
    days = told.expected.runway // timedelta(days=1) if told.expected.runway else 0
    assert f"AI stops on {formats.day(told.expected.ai_stops_at)}" in page.text
    assert f"{days} days left · {formats.compact(told.tokens_per_day)} tokens a day" in page.text
    (forfeit,) = told.expected.forfeits
    assert f"{formats.compact(forfeit.tokens)} tokens expire unused" in page.text
    assert "balance reaches the minimum reserve" in page.text
    assert "7-day average 2,400 a day" in page.text


def test_the_picture_stays_in_its_box_and_its_events_are_in_order(busy: Meter, clock: FrozenClock) -> None:
    told = busy.forecast("acme")
    assert told is not None
    past = [(clock.now - timedelta(days=days), 60_000 - 2_400 * (10 - days)) for days in range(8, 0, -1)]
    balance = busy.balance("acme")
    view = outlook_view(told, past, balance.balance_tokens, Thresholds(5_000, 1_000))
    assert [coming.what for coming in view.events] == [What.EXPIRES, What.RUNNING_LOW, What.STOPS]
    assert [coming.at for coming in view.events] == sorted(coming.at for coming in view.events)
    assert len(view.burn.lost) == 1
    for path in (view.burn.past, view.burn.coming, view.burn.area, *view.burn.lost):
        for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path):
            assert 0 <= float(x) <= 1_000, path
            assert 0 <= float(y) <= 126, path


def test_without_a_day_of_use_nothing_is_foretold(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 20_000)
    meter.debit("acme", 100)
    page = mei.page("/o/acme")
    assert "A forecast appears after the first day of usage." in page.text
    assert "AI stops on" not in page.text


def test_a_stop_tells_since_when_and_which_pack_would_resume(mei: Browser, busy: Meter) -> None:
    busy.debit("acme", busy.balance("acme").balance_tokens - 500, already_used=True)
    page = mei.page("/o/acme")
    assert "AI replies have been paused since 31 Jan, 09:30 and resume by themselves" in page.text
    assert "Paused until a pack is granted" in page.text
    assert "5M pack resumes AI for about" in page.text


def test_past_balances_are_the_journals(meter: Meter, clock: FrozenClock) -> None:
    backward = Backward(meter.engine)
    before = clock.now - timedelta(seconds=1)
    meter.grant("acme", 9_000)
    clock.advance(timedelta(days=1))
    meter.debit("acme", 400)
    clock.advance(timedelta(days=1))
    instants = [before, clock.now - timedelta(days=2), clock.now - timedelta(days=1), clock.now]
    for _ in range(2):
        found = backward.balances("acme", instants)
        assert found == [(at, meter.balance("acme", as_of=at).balance_tokens) for at in instants[1:]]
    meter.debit("acme", 100)
    assert backward.balances("acme", [clock.now]) == [(clock.now, 8_500)]
