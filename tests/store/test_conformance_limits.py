"""Both databases: what passes with a key never exceeds its limits, in a minute, a day and a month of the UTC calendar."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.doubles import FrozenClock
from tests.store.tellings import event_rows, events_of
from tests.store.tenants import NO_THRESHOLDS, Tenant, at, refused
from tests.store.workers import Workers, call, race
from tokenwell import Held, Meter, Receipt
from tokenwell.core.limits import KeyLimits
from tokenwell.errors import AiStopped, AmountInvalid, LimitReached, RequestInvalid, TokenwellError

KEY = "key_1"
TEN_SECONDS = timedelta(seconds=10)


def per_minute(most: int) -> KeyLimits:
    return KeyLimits(requests_per_minute=most)


def per_day(most: int) -> KeyLimits:
    return KeyLimits(tokens_per_day=most)


def per_month(most: int) -> KeyLimits:
    return KeyLimits(tokens_per_month=most)


def limit_events(tenant: Tenant) -> list[tuple[str, str]]:
    """Return key and limit of every limit that was told to be reached."""
    return [(detail["key_id"], detail["limit"]) for kind, _, detail in event_rows(tenant) if kind == "key.limit_reached"]


# The three windows


def test_so_many_requests_pass_in_a_minute_and_as_many_in_the_next(tenant: Tenant) -> None:
    tenant.grant(100)
    tenant.go_to(59)
    for _ in range(2):
        tenant.debit(1, key_id=KEY, limits=per_minute(3))
    tenant.open_hold(1, key_id=KEY, limits=per_minute(3))
    for act in (tenant.debit, tenant.open_hold):
        with refused(LimitReached, limit="requests_per_minute", most=3, key_id=KEY, retry_after_seconds=1):
            act(1, key_id=KEY, limits=per_minute(3))
    assert tenant.totals()[:2] == (98, 1)
    tenant.go_to(60)
    for _ in range(3):
        tenant.debit(1, key_id=KEY, limits=per_minute(3))
    with refused(LimitReached, retry_after_seconds=60):
        tenant.debit(1, key_id=KEY, limits=per_minute(3))


def test_so_many_tokens_pass_in_a_day(tenant: Tenant) -> None:
    tenant.grant(1000)
    tenant.debit(60, key_id=KEY, limits=per_day(100))
    with refused(LimitReached, limit="tokens_per_day", used_tokens=60, held_tokens=0, retry_after_seconds=52_200):
        tenant.debit(41, key_id=KEY, limits=per_day(100))
    tenant.debit(40, key_id=KEY, limits=per_day(100))
    tenant.clock.now = datetime(2027, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    with refused(LimitReached, retry_after_seconds=1):
        tenant.debit(1, key_id=KEY, limits=per_day(100))
    tenant.clock.now = datetime(2027, 2, 1, tzinfo=UTC)
    tenant.debit(100, key_id=KEY, limits=per_day(100))


def test_so_many_tokens_pass_in_a_month(tenant: Tenant) -> None:
    tenant.grant(1000)
    tenant.debit(100, key_id=KEY, limits=per_month(100))
    with refused(LimitReached, limit="tokens_per_month", retry_after_seconds=52_200):
        tenant.debit(1, key_id=KEY, limits=per_month(100))
    tenant.clock.now = datetime(2027, 2, 1, tzinfo=UTC)
    tenant.debit(100, key_id=KEY, limits=per_month(100))
    with refused(LimitReached, retry_after_seconds=28 * 86_400):
        tenant.debit(1, key_id=KEY, limits=per_month(100))


def test_a_clock_that_runs_backwards_begins_no_window_anew(tenant: Tenant) -> None:
    tenant.grant(100)
    tenant.go_to(60)
    tenant.debit(1, key_id=KEY, limits=per_minute(1))
    tenant.go_to(0)
    with refused(LimitReached):
        tenant.debit(1, key_id=KEY, limits=per_minute(1))


# Holds


def test_what_is_held_counts_until_it_is_settled_and_what_was_used_stays(tenant: Tenant) -> None:
    tenant.grant(1000)
    limits = per_day(100)
    holds = [tenant.open_hold(50, key_id=KEY, limits=limits).hold.id for _ in range(2)]
    with refused(LimitReached, held_tokens=100, used_tokens=0, retry_after_seconds=1):
        tenant.open_hold(1, key_id=KEY, limits=limits)
    tenant.settle(holds[0], 10)
    assert tenant.settle(holds[0], 10).replayed
    with refused(LimitReached, held_tokens=50, used_tokens=10):
        tenant.open_hold(41, key_id=KEY, limits=limits)
    third = tenant.open_hold(40, key_id=KEY, limits=limits).hold.id
    tenant.release(holds[1])
    tenant.settle(third, 90)
    with refused(LimitReached, held_tokens=0, used_tokens=100):
        tenant.debit(1, key_id=KEY, limits=limits)


def test_a_hold_that_lapses_or_is_cancelled_counts_no_more(tenant: Tenant, shared_url: str) -> None:
    tenant.grant(1000)
    limits = per_day(100)
    late = tenant.open_hold(60, key_id=KEY, limits=limits, ttl=TEN_SECONDS).hold.id
    tenant.go_to(10)
    with Meter(shared_url, thresholds=NO_THRESHOLDS, clock=tenant.clock, migrate=False) as other:
        other.open_hold(tenant.id, 100, key_id=KEY, limits=limits)
    tenant.revoke("PK-1", cancel_holds=True)
    tenant.grant(1000)
    tenant.settle(late, 70)
    with refused(LimitReached, held_tokens=0, used_tokens=70):
        tenant.debit(31, key_id=KEY, limits=limits)
    tenant.debit(30, key_id=KEY, limits=limits)


def test_a_growth_counts(tenant: Tenant) -> None:
    tenant.grant(1000)
    limits = KeyLimits(requests_per_minute=1, tokens_per_day=100)
    hold = tenant.open_hold(50, key_id=KEY, limits=limits).hold
    with refused(LimitReached, held_tokens=50):
        tenant.extend_hold(hold.id, 51, limits=limits)
    tenant.extend_hold(hold.id, 50, limits=limits)
    with refused(LimitReached, held_tokens=100):
        tenant.extend_hold(hold.id, 1, limits=limits)
    tenant.release(hold.id)
    tenant.go_to(60)
    tenant.debit(100, key_id=KEY, limits=limits)


# What does not count, and what does


def test_a_key_without_limits_is_not_counted(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(1, key_id=KEY).hold
    tenant.settle(hold.id, 1, key_id=KEY)
    tenant.debit(1, key_id=KEY, limits=KeyLimits())
    assert rows_of(tenant) == []


def test_what_was_used_before_there_were_limits_counts(tenant: Tenant) -> None:
    tenant.grant(1000)
    tenant.clock.now = datetime(2027, 3, 30, 23, 59, tzinfo=UTC)
    tenant.debit(30, key_id=KEY)
    tenant.clock.now = datetime(2027, 3, 31, 0, 1, tzinfo=UTC)
    tenant.debit(20, key_id=KEY)
    tenant.debit(500, key_id="other")
    with refused(LimitReached, used_tokens=20):
        tenant.debit(31, key_id=KEY, limits=per_day(50))
    with refused(LimitReached, used_tokens=50):
        tenant.debit(31, key_id=KEY, limits=per_month(80))


def test_keys_and_organizations_are_counted_apart(tenant: Tenant) -> None:
    other = Tenant(tenant.meter, tenant.clock)
    for each in (tenant, other):
        each.grant(100)
        for key_id in (KEY, "key_2"):
            each.debit(10, key_id=key_id, limits=per_day(10))


def test_tokens_used_already_count_and_are_charged_beyond_the_limit(tenant: Tenant) -> None:
    tenant.grant(1000)
    tenant.debit(150, key_id=KEY, limits=per_day(100), already_used=True)
    with refused(LimitReached, used_tokens=150):
        tenant.debit(1, key_id=KEY, limits=per_day(100))


def test_the_balance_is_asked_first(tenant: Tenant) -> None:
    with refused(AiStopped):
        tenant.debit(1, key_id=KEY, limits=per_day(0))


def test_a_repetition_counts_once_and_is_answered_when_the_limit_is_reached(tenant: Tenant) -> None:
    tenant.grant(100)
    limits = KeyLimits(requests_per_minute=2, tokens_per_day=50)
    tenant.debit(20, key="d", key_id=KEY, limits=limits)
    tenant.open_hold(30, key="h", key_id=KEY, limits=limits)
    assert tenant.debit(20, key="d", key_id=KEY, limits=limits).replayed
    assert tenant.open_hold(30, key="h", key_id=KEY, limits=limits).replayed
    assert limit_events(tenant) == []
    assert rows_of(tenant) == [(KEY, 2, 20, 20, 30)]


def test_a_limit_that_is_reached_is_told_once_in_its_window(tenant: Tenant) -> None:
    tenant.grant(1000)
    limits = KeyLimits(requests_per_minute=1, tokens_per_day=10)
    before = tenant.balance()
    for minute in range(2):
        tenant.go_to(60 * minute)
        tenant.debit(5, key_id=KEY, limits=limits)
        for _ in range(3):
            with refused(LimitReached):
                tenant.debit(5, key_id=KEY, limits=limits)
    tenant.go_to(120)
    for _ in range(3):
        with refused(LimitReached):
            tenant.debit(5, key_id=KEY, limits=limits)
    assert limit_events(tenant) == [(KEY, "requests_per_minute")] * 2 + [(KEY, "tokens_per_day")]
    assert (before.balance_tokens, tenant.totals()[0]) == (1000, 990)


@pytest.mark.parametrize("limits", [{"requests_per_minute": -1}, {"tokens_per_day": 1.5}, {"tokens_per_month": True}])
def test_limits_are_whole_numbers(limits: dict[str, Any]) -> None:
    with refused(AmountInvalid, field=next(iter(limits))):
        KeyLimits(**limits)


def test_limits_without_a_key_are_invalid(tenant: Tenant) -> None:
    for act in (tenant.debit, tenant.open_hold):
        with refused(RequestInvalid, field="key_id"):
            act(1, limits=per_day(1))


def rows_of(tenant: Tenant) -> list[tuple[Any, ...]]:
    """Return what is kept of every key: requests of the minute, tokens of the day and of the month, held tokens."""
    query = "SELECT key_id, minute_requests, day_tokens, month_tokens, held_tokens FROM key_usage WHERE organization_id = :o"
    with tenant.meter.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), {"o": tenant.id})]


# A second telling: every request that passed, kept in a list and summed up anew for each


@dataclass
class Passed:
    """What passed with one key."""

    requests: list[datetime] = field(default_factory=list)
    used: list[tuple[datetime, int]] = field(default_factory=list)
    holds: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    def held(self, now: datetime) -> int:
        """Return what is reserved."""
        return sum(tokens for lapses_at, tokens in self.holds.values() if lapses_at > now)

    def may_pass(self, now: datetime, limits: KeyLimits, tokens: int) -> bool:
        """Return whether a request passes."""
        requests = sum(
            instant.replace(second=0, microsecond=0) == now.replace(second=0, microsecond=0) for instant in self.requests
        )
        day = sum(used for instant, used in self.used if instant.date() == now.date())
        month = sum(used for instant, used in self.used if (instant.year, instant.month) == (now.year, now.month))
        held = self.held(now)
        return (
            (limits.requests_per_minute is None or requests + 1 <= limits.requests_per_minute)
            and (limits.tokens_per_day is None or day + held + tokens <= limits.tokens_per_day)
            and (limits.tokens_per_month is None or month + held + tokens <= limits.tokens_per_month)
        )


@pytest.fixture
def meters(shared_url: str, tenant: Tenant) -> Iterator[list[Meter]]:
    """Two meters on one database."""
    with Meter(shared_url, thresholds=NO_THRESHOLDS, clock=tenant.clock, migrate=False) as second:
        yield [tenant.meter, second]


@pytest.mark.parametrize("seed", range(4))
def test_requests_pass_as_a_list_of_all_before_them_says(tenant: Tenant, meters: list[Meter], seed: int) -> None:
    chance = random.Random(seed)
    tenant.grant(10**9)
    keys = {key_id: (limits, Passed()) for key_id, limits in some_limits(chance).items()}
    refusals = 0
    for _ in range(120):
        tenant.clock.advance(chance.choice([timedelta(0), timedelta(seconds=7), timedelta(minutes=1), timedelta(hours=9)]))
        meter, key_id = chance.choice(meters), chance.choice(sorted(keys))
        limits, passed = keys[key_id]
        refusals += not one_request(meter, tenant, chance, key_id, limits, passed)
    assert refusals > 5


def some_limits(chance: random.Random) -> dict[str, KeyLimits]:
    def some(most: int) -> int | None:
        return chance.choice([None, chance.randint(1, most)])

    return {
        f"key_{number}": KeyLimits(requests_per_minute=chance.randint(1, 3), tokens_per_day=some(60), tokens_per_month=some(300))
        for number in range(3)
    }


def one_request(meter: Meter, tenant: Tenant, chance: random.Random, key_id: str, limits: KeyLimits, passed: Passed) -> bool:
    """Make one request, or end one, and return whether it passed; fails unless the list says the same."""
    now, tokens = tenant.clock.now, chance.randint(1, 20)
    ending = [hold_id for hold_id, (lapses_at, _) in passed.holds.items()]
    if ending and chance.random() < 0.4:
        hold_id = chance.choice(ending)
        del passed.holds[hold_id]
        if chance.random() < 0.3:
            meter.release(tenant.id, hold_id)
        else:
            meter.settle(tenant.id, hold_id, tokens)
            passed.used.append((now, tokens))
        return True
    expected = passed.may_pass(now, limits, tokens)
    try:
        if chance.random() < 0.5:
            meter.debit(tenant.id, tokens, key_id=key_id, limits=limits)
            passed.used.append((now, tokens))
        else:
            hold = meter.open_hold(
                tenant.id, tokens, key_id=key_id, limits=limits, ttl=timedelta(seconds=chance.randint(1, 90))
            ).hold
            passed.holds[hold.id] = (hold.lapses_at, tokens)
        passed.requests.append(now)
    except LimitReached:
        assert not expected
        return False
    assert expected
    return True


# Several processes


@pytest.mark.parametrize("mode", ["threads", "tasks"])
def test_never_more_passes_than_the_limit_whoever_asks(tenant: Tenant, shared_url: str, workers: Workers, mode: str) -> None:
    tenant.grant(100_000)
    requests, tokens = per_minute(40), KeyLimits(tokens_per_day=100)
    scripts = [
        [
            call("debit", tenant.id, 1, key_id="by requests", limits=requests),
            call("debit", tenant.id, 3, key_id="by tokens", limits=tokens),
            call("open_hold", tenant.id, 3, key_id="held", limits=tokens),
        ]
        for _ in range(32)
    ]
    clock = FrozenClock(at(5))
    outcomes = workers.run(race, [{"url": shared_url, "scripts": scripts, "mode": mode, "clock": clock}] * 3)
    by_call = list(zip(*(script for process in outcomes for script in process), strict=True))
    assert {type(outcome) for outcomes in by_call for outcome in outcomes} == {Receipt, Held, LimitReached}
    passed = [sum(not isinstance(outcome, TokenwellError) for outcome in outcomes) for outcomes in by_call]
    assert passed == [40, 33, 33]
    assert sorted(rows_of(tenant)) == [("by requests", 40, 40, 40, 0), ("by tokens", 33, 99, 99, 0), ("held", 33, 0, 0, 99)]
    assert sorted(limit_events(tenant)) == [
        ("by requests", "requests_per_minute"),
        ("by tokens", "tokens_per_day"),
        ("held", "tokens_per_day"),
    ]
    assert len(events_of(tenant)) == 4
