"""Forecasts from a database: the hours of use are read from the rollups, the packs as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.core.burnrate import Basis
from tokenwell.errors import OrganizationNotFound
from tokenwell.service.meter import Meter


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with one organization that used 100 tokens an hour for two days, of 10,000, and another that used none."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        opened.create_organization("acme")
        opened.create_organization("other")
        opened.set_thresholds("acme", warning=1_000, reserve=100)
        opened.grant("acme", 10_000)
        for _ in range(50):
            opened.debit("acme", 60, model="one")
            clock.advance(timedelta(minutes=30))
            opened.debit("acme", 40, model="two")
            clock.advance(timedelta(minutes=30))
        yield opened


def test_the_hours_of_use_are_walked_through_the_packs(meter: Meter, clock: FrozenClock) -> None:
    told = meter.forecast("acme")
    assert told is not None
    assert (told.organization_id, told.as_of, told.basis) == ("acme", clock(), Basis.MEAN)
    assert told.tokens_per_day == 2_400
    assert told.expected.ai_stops_at == clock() + timedelta(hours=49)
    assert told.expected.running_low_at == clock() + timedelta(hours=40)
    assert told.expected.forfeits == ()


def test_a_grant_shows_at_once(meter: Meter, clock: FrozenClock) -> None:
    before = meter.forecast("acme")
    granted = meter.grant("acme", 5_000, expires_at=clock() + timedelta(hours=20))
    after = meter.forecast("acme")
    assert before is not None
    assert after is not None
    assert after.expected.ai_stops_at == clock() + timedelta(hours=69)
    assert [(each.pack_id, each.tokens) for each in after.expected.forfeits] == [(granted.pack.id, 3_000)]


def test_use_is_read_anew_in_the_next_hour(meter: Meter, clock: FrozenClock) -> None:
    before = meter.forecast("acme")
    meter.debit("acme", 1_000)
    assert before is not None
    clock.advance(timedelta(hours=1))
    after = meter.forecast("acme")
    assert after is not None
    assert after.tokens_per_day > before.tokens_per_day


def test_refunds_are_taken_off_and_overage_is_used_too(meter: Meter, clock: FrozenClock) -> None:
    before = meter.forecast("acme")
    assert before is not None
    meter.debit("acme", 20_000, already_used=True, key="too much")
    overage = meter.balance("acme").overage_tokens
    assert overage > 0
    clock.advance(timedelta(hours=1))
    used = meter.forecast("acme")
    assert used is not None
    assert used.tokens_per_day > before.tokens_per_day + 24 * 300
    assert used.suggested_tokens >= 30 * used.tokens_per_day + overage
    meter.refund("acme", "too much")
    clock.advance(timedelta(hours=1))
    refunded = meter.forecast("acme")
    assert refunded is not None
    assert refunded.tokens_per_day < used.tokens_per_day


def test_an_organization_without_use_has_no_forecast(meter: Meter) -> None:
    assert meter.forecast("other") is None
    with pytest.raises(OrganizationNotFound):
        meter.forecast("nobody")


def test_it_can_be_asked_for_on_the_library_s_asynchronous_face(meter: Meter) -> None:
    assert asyncio.run(meter.aio.forecast("acme")) == meter.forecast("acme")
