"""Outlooks: the forecasts of all are kept, written anew when they are due and not before, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.doubles import FrozenClock
from tokenwell.core.health import Thresholds
from tokenwell.service.meter import Meter
from tokenwell.service.records.outlooks import AGE, AT_ONCE, CHANGED_AGE, Outlooks
from tokenwell.store import schema

HOUR = timedelta(hours=1)


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter on which acme used 1,000 tokens an hour for 26 hours."""
    with Meter(database_url, thresholds=Thresholds(5_000, 1_000), clock=clock) as meter:
        meter.create_organization("acme")
        meter.grant("acme", 99_000)
        for _ in range(26):
            meter.debit("acme", 1_000)
            clock.advance(HOUR)
        yield meter


@pytest.fixture
def outlooks(meter: Meter) -> Outlooks:
    """The outlooks of that meter."""
    return Outlooks(meter)


def kept(meter: Meter) -> dict[str, int | None]:
    """Return when AI stops by what is kept, in microseconds."""
    table = schema.outlook.c
    with meter.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(select(table.organization_id, table.stops_at))}


def test_what_is_kept_is_the_forecast(meter: Meter, outlooks: Outlooks) -> None:
    meter.create_organization("empty")
    assert outlooks.refresh() == 2
    told = meter.forecast("acme")
    assert told is not None
    assert told.expected.ai_stops_at is not None
    stops_at = kept(meter)
    assert stops_at["acme"] == told.expected.ai_stops_at.timestamp() * 1_000_000
    assert stops_at["empty"] is None


def test_a_grant_is_seen_at_once(meter: Meter, outlooks: Outlooks) -> None:
    outlooks.refresh()
    before = kept(meter)["acme"]
    assert outlooks.refresh() == 0
    meter.grant("acme", 500_000)
    assert outlooks.refresh() == 1
    after = kept(meter)["acme"]
    assert before is not None
    assert after is not None
    assert after > before


def test_use_is_seen_after_a_while_and_what_is_idle_a_few_times_a_day(meter: Meter, outlooks: Outlooks, clock: FrozenClock) -> None:
    outlooks.refresh()
    meter.debit("acme", 5)
    clock.advance(CHANGED_AGE)
    assert outlooks.refresh() == 0
    clock.advance(timedelta(seconds=1))
    assert outlooks.refresh() == 1
    clock.advance(CHANGED_AGE * 2)
    assert outlooks.refresh() == 0
    clock.advance(AGE)
    assert outlooks.refresh() == 1


def test_an_outlook_by_a_clock_that_went_ahead_is_written_anew(meter: Meter, outlooks: Outlooks, clock: FrozenClock) -> None:
    clock.advance(timedelta(days=3))
    outlooks.refresh()
    clock.now -= timedelta(days=2)
    assert outlooks.refresh() == 1


def test_many_are_written_in_portions_until_the_turn_is_over(meter: Meter, outlooks: Outlooks) -> None:
    class Turn:
        looks = 0

        @property
        def is_over(self) -> bool:
            self.looks += 1
            return self.looks > 1

    for number in range(AT_ONCE + 5):
        meter.create_organization(f"many-{number}")
    assert outlooks.refresh(Turn()) == AT_ONCE
    assert outlooks.refresh() == 6
