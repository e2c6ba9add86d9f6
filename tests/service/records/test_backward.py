"""Since when AI is stopped: the instant at which the balance fell below the line and stayed there, on both databases."""

from __future__ import annotations

from datetime import timedelta

from tests.doubles import FrozenClock
from tests.service.suites import suite_on
from tokenwell.core.health import State

RESERVE = 1_000_000


def test_a_stop_lasts_since_the_balance_fell_for_the_last_time(database_url: str, clock: FrozenClock) -> None:
    with suite_on(database_url, clock) as suite:
        meter = suite.meter
        meter.set_thresholds("acme", warning=5_000_000, reserve=RESERVE)
        assert suite.backward.stopped_at("acme", RESERVE) is None
        meter.grant("acme", 6_000_000)
        clock.advance(timedelta(hours=1))
        stopped_at = clock.now
        charged = meter.debit("acme", 5_100_000, already_used=True)
        clock.advance(timedelta(hours=1))
        meter.debit("acme", 10_000, already_used=True)
        assert suite.backward.stopped_at("acme", RESERVE) == stopped_at
        # Back above the line, too little to be told as a recovery: it is a stop of its own, since later.
        meter.refund("acme", charged.request_id, 120_000, note="part")
        assert meter.balance("acme").state is State.RUNNING_LOW
        clock.advance(timedelta(hours=1))
        again_at = clock.now
        meter.debit("acme", 50_000, already_used=True)
        assert meter.balance("acme").state is State.AI_STOPPED
        assert suite.backward.stopped_at("acme", RESERVE) == again_at


def test_a_stop_by_an_expiry_lasts_since_that_instant_once_it_is_written(database_url: str, clock: FrozenClock) -> None:
    with suite_on(database_url, clock) as suite:
        meter = suite.meter
        meter.set_thresholds("acme", warning=5_000_000, reserve=RESERVE)
        expires_at = clock.now + timedelta(hours=2)
        meter.grant("acme", 6_000_000, expires_at=expires_at)
        clock.advance(timedelta(hours=9))
        assert suite.backward.stopped_at("acme", RESERVE) is None
        meter.sweep()
        assert suite.backward.stopped_at("acme", RESERVE) == expires_at
