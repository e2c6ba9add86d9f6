"""The forecast: never later than the truth under constant use, and close to it under any that repeats itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import ORGANIZATION_ID, build_pack
from tests.core.properties import steady
from tests.doubles import START
from tokenwell.core.burnrate import HOUR_MICROS, Basis, BurnHistory
from tokenwell.core.forecast import HORIZON, Forecast, forecast, rounded_up
from tokenwell.core.health import Thresholds
from tokenwell.core.instants import to_micros
from tokenwell.core.packs import Pack

NOW_HOUR = to_micros(START) // HOUR_MICROS
THRESHOLDS = Thresholds(1_000, 100)

Use = Callable[[int], int]
"""How many tokens an hour takes, by its number."""


def history_of(use: Use, hours: int) -> BurnHistory:
    """Return the history of the whole hours before tests begin, and the piece of an hour before them."""
    first = NOW_HOUR - hours - 1
    return BurnHistory(first_hour=first, tokens={hour: use(hour) for hour in range(first, NOW_HOUR)} | {first: use(first) // 3})


def forecast_of(packs: list[Pack], use: Use, *, hours: int = 24 * 7, thresholds: Thresholds = THRESHOLDS) -> Forecast:
    """Return the forecast after so many hours of use."""
    told = forecast(ORGANIZATION_ID, packs, thresholds=thresholds, history=history_of(use, hours), now=START)
    assert told is not None
    return told


class Truth:
    """What really happens: as many tokens are used each minute, from the pack that is first in burn-down order."""

    def __init__(self, packs: list[Pack], a_minute: int, thresholds: Thresholds) -> None:
        left = {pack.id: pack.remaining_tokens for pack in packs}
        self.low_at: datetime | None = None
        self.stopped_at: datetime | None = None
        self.forfeits: dict[str, int] = {}
        at = START
        while at < START + HORIZON and self.stopped_at is None:
            for pack in packs:
                if pack.expires_at is not None and pack.expires_at <= at and left[pack.id]:
                    self.forfeits[pack.id] = left[pack.id]
                    left[pack.id] = 0
            self._look(at, sum(left.values()), thresholds)
            wanted = a_minute
            for pack in sorted(packs, key=lambda pack: pack.burn_order()):
                taken = min(wanted, left[pack.id])
                left[pack.id] -= taken
                wanted -= taken
            at += timedelta(minutes=1)
            self._look(at, sum(left.values()), thresholds)

    def _look(self, at: datetime, balance: int, thresholds: Thresholds) -> None:
        if self.low_at is None and balance < thresholds.warning_tokens:
            self.low_at = at
        if self.stopped_at is None and (balance < thresholds.reserve_tokens or balance == 0):
            self.stopped_at = at


def test_without_a_day_of_use_nothing_is_told() -> None:
    packs = [build_pack(10_000)]
    for hours in (0, 1, 23):
        told = forecast(ORGANIZATION_ID, packs, thresholds=THRESHOLDS, history=history_of(lambda hour: 10, hours), now=START)
        assert told is None
    assert forecast(ORGANIZATION_ID, packs, thresholds=THRESHOLDS, history=None, now=START) is None
    assert forecast_of(packs, lambda hour: 10, hours=24).basis is Basis.MEAN


def test_constant_use_is_told_to_the_second() -> None:
    """9,900 tokens above the reserve at 100 an hour last 99 hours; the warning threshold is met nine hours before."""
    told = forecast_of([build_pack(10_000)], lambda hour: 100)
    assert told.expected.ai_stops_at == START + timedelta(hours=99)
    assert told.expected.runway == timedelta(hours=99)
    assert told.expected.running_low_at == START + timedelta(hours=90)
    assert told.tokens_per_day == 2_400
    assert told.suggested_tokens == 72_000


def test_two_weeks_of_use_have_a_pattern() -> None:
    assert forecast_of([build_pack(10_000)], lambda hour: 100, hours=24 * 14 - 1).basis is Basis.MEAN
    told = forecast_of([build_pack(10_000)], lambda hour: 100, hours=24 * 14)
    assert told.basis is Basis.WEEKLY_PATTERN
    assert told.expected.ai_stops_at == START + timedelta(hours=99)


def test_packs_are_spent_in_burn_down_order_and_forfeit_what_is_left_at_their_expiry() -> None:
    soon = build_pack(3_000, number=1, expires_at=START + timedelta(hours=20))
    later = build_pack(5_000, number=2, expires_at=START + timedelta(hours=40))
    never = build_pack(1_000, number=3)
    told = forecast_of([never, later, soon], lambda hour: 100)
    assert [(each.pack_number, each.tokens) for each in told.expected.forfeits] == [(1, 1_000), (2, 3_000)]
    assert told.expected.ai_stops_at == START + timedelta(hours=49)
    assert told.expected.running_low_at == START + timedelta(hours=40)


def test_an_expiry_alone_stops_ai() -> None:
    packs = [build_pack(5_000, number=1, expires_at=START + timedelta(hours=5)), build_pack(50, number=2)]
    told = forecast_of(packs, lambda hour: 100)
    assert told.expected.ai_stops_at == START + timedelta(hours=5)
    assert told.expected.running_low_at == START + timedelta(hours=5)


def test_packs_that_are_not_used_any_more_expire_after_ai_has_stopped() -> None:
    told = forecast_of([build_pack(150, expires_at=START + timedelta(hours=9))], lambda hour: 100)
    assert told.expected.ai_stops_at == START + timedelta(minutes=30)
    assert [(each.at, each.tokens) for each in told.expected.forfeits] == [(START + timedelta(hours=9), 100)]


def test_what_is_crossed_already_is_told_as_now() -> None:
    low = forecast_of([build_pack(500)], lambda hour: 100)
    assert low.expected.running_low_at == START
    assert low.expected.ai_stops_at == START + timedelta(hours=4)
    stopped = forecast_of([build_pack(99)], lambda hour: 100)
    assert (stopped.expected.ai_stops_at, stopped.expected.runway) == (START, timedelta(0))
    empty = forecast_of([], lambda hour: 100)
    assert (empty.expected.running_low_at, empty.expected.ai_stops_at) == (START, START)


def test_without_a_reserve_ai_stops_with_the_last_token() -> None:
    told = forecast_of([build_pack(1_000)], lambda hour: 100, thresholds=Thresholds(0, 0))
    assert told.expected.ai_stops_at == told.expected.running_low_at == START + timedelta(hours=10)


def test_where_nothing_is_used_any_more_nothing_runs_out() -> None:
    told = forecast_of([build_pack(5_000)], lambda hour: 0)
    assert (told.expected.ai_stops_at, told.expected.running_low_at, told.expected.runway) == (None, None, None)
    assert (told.tokens_per_day, told.suggested_tokens) == (0, 0)


def test_what_lies_beyond_the_horizon_is_not_told() -> None:
    told = forecast_of([build_pack(10**12), build_pack(5, number=2, expires_at=START + HORIZON * 2)], lambda hour: 1)
    assert told.expected.ai_stops_at is None
    assert told.expected.forfeits == ()


def test_the_suggestion_repays_the_overage_too() -> None:
    told = forecast(
        ORGANIZATION_ID,
        [],
        thresholds=THRESHOLDS,
        history=history_of(lambda hour: 100, 48),
        now=START,
        overage_tokens=12_345,
    )
    assert told is not None
    assert told.suggested_tokens == 85_000


@pytest.mark.parametrize(
    ("tokens", "rounded"), [(0, 0), (7, 7), (99, 99), (101, 110), (123_456, 130_000), (10**15 + 1, 11 * 10**14)]
)
def test_suggestions_have_two_digits(tokens: int, rounded: int) -> None:
    assert rounded_up(tokens) == rounded


def test_the_picture_goes_from_now_to_the_end_and_never_up() -> None:
    packs = [build_pack(3_000, expires_at=START + timedelta(hours=20)), build_pack(9_000, number=2)]
    told = forecast_of(packs, lambda hour: 100).expected
    assert told.points[0].at == START
    assert told.points[0].balance_tokens == 12_000
    assert told.points[-1].at >= (told.ai_stops_at or START)
    for before, after in zip(told.points, told.points[1:], strict=False):
        assert before.at <= after.at
        assert before.balance_tokens >= after.balance_tokens


pack_lists = st.lists(
    st.builds(
        lambda tokens, hours, priority: (tokens, hours, priority),
        st.integers(1, 4_000),
        st.one_of(st.none(), st.integers(1, 600)),
        st.integers(-1, 1),
    ),
    min_size=1,
    max_size=5,
).map(
    lambda plans: [
        build_pack(
            tokens,
            number=number,
            priority=priority,
            expires_at=None if hours is None else START + timedelta(minutes=hours * 7),
        )
        for number, (tokens, hours, priority) in enumerate(plans, start=1)
    ]
)


@steady
@given(packs=pack_lists, a_minute=st.integers(1, 40), hours=st.integers(24, 24 * 60), reserve=st.integers(0, 300))
def test_under_constant_use_it_is_never_later_than_the_truth(packs: list[Pack], a_minute: int, hours: int, reserve: int) -> None:
    thresholds = Thresholds(reserve + 200, reserve)
    told = forecast_of(packs, lambda hour: a_minute * 60, hours=hours, thresholds=thresholds).expected
    truth = Truth(packs, a_minute, thresholds)
    if truth.stopped_at is not None:
        assert told.ai_stops_at is not None
        assert told.ai_stops_at <= truth.stopped_at
        assert truth.stopped_at - told.ai_stops_at <= timedelta(minutes=2) or truth.stopped_at in {p.expires_at for p in packs}
    if truth.low_at is not None:
        assert told.running_low_at is not None
        assert told.running_low_at <= truth.low_at


uses = st.lists(st.integers(0, 500), min_size=24, max_size=24 * 20).map(lambda hourly: lambda hour: hourly[hour % len(hourly)])


@steady
@given(packs=pack_lists, use=uses, hours=st.integers(24, 24 * 40), place=st.integers(0, 4), more=st.integers(1, 3_000))
def test_a_larger_balance_never_stops_earlier(packs: list[Pack], use: Use, hours: int, place: int, more: int) -> None:
    pack = packs[place % len(packs)]
    larger = build_pack(pack.total_tokens + more, number=pack.number, priority=pack.priority, expires_at=pack.expires_at)
    before = forecast_of(packs, use, hours=hours)
    after = forecast_of([larger if each is pack else each for each in packs], use, hours=hours)
    for one, other in ((before.early, after.early), (before.expected, after.expected), (before.late, after.late)):
        assert (other.ai_stops_at or START + HORIZON) >= (one.ai_stops_at or START + HORIZON)
        assert (other.running_low_at or START + HORIZON) >= (one.running_low_at or START + HORIZON)


@steady
@given(packs=pack_lists, use=uses, hours=st.integers(24, 24 * 40))
def test_forfeits_never_exceed_what_remains_and_the_range_is_in_order(packs: list[Pack], use: Use, hours: int) -> None:
    told = forecast_of(packs, use, hours=hours)
    remaining = {pack.id: pack.remaining_tokens for pack in packs}
    for outlook in (told.early, told.expected, told.late):
        assert all(0 < each.tokens <= remaining[each.pack_id] for each in outlook.forfeits)
        assert len({each.pack_id for each in outlook.forfeits}) == len(outlook.forfeits)
    stops = [outlook.ai_stops_at or START + HORIZON for outlook in (told.early, told.expected, told.late)]
    assert stops == sorted(stops)


def constant(hour: int, world: int) -> int:
    """1,000 tokens every hour."""
    return 1_000


def weekdays(hour: int, world: int) -> int:
    """Office hours on weekdays, little else; 1970-01-01 was a Thursday."""
    is_weekend = (hour // 24 + 3) % 7 >= 5
    return 150 if is_weekend else 2_400 if 8 <= hour % 24 < 18 else 200


def noisy(hour: int, world: int) -> int:
    """Weekdays with noise of its own for every hour."""
    return weekdays(hour, world) * random.Random(hour * 100 + world).randint(40, 160) // 100


def growing(hour: int, world: int) -> int:
    """Weekdays that grow by 6 % of today's use a week."""
    return weekdays(hour, world) * max(10, 100 + 6 * (hour - NOW_HOUR) // 168) // 100


def bursts(hour: int, world: int) -> int:
    """A quiet base, and every ninth day or so a day that takes ten times as much."""
    return 400 * (10 if random.Random(hour // 24 * 100 + world).randrange(9) == 0 else 1)


BOUNDS = {constant: (1, 100), weekdays: (2, 100), noisy: (5, 90), growing: (6, 100), bursts: (70, 60)}
"""By how many percent of the true runway the forecast may be wrong on average, and of how many percent the range must hold it."""


@pytest.mark.parametrize("kind", BOUNDS, ids=lambda kind: kind.__name__)
def test_the_error_on_generated_histories_is_bounded(kind: Callable[[int, int], int]) -> None:
    """Run with -rP to read the errors: how far the expected runway was from the true one, and how often the range held it."""
    errors, held = [], []
    hour_long = timedelta(hours=1)
    for world, tokens, hours in product(range(6), (150_000, 300_000, 1_200_000), (24 * 10, 24 * 21, 24 * 56)):

        def use(hour: int, world: int = world) -> int:
            return kind(hour, world)

        told = forecast_of([build_pack(tokens)], use, hours=hours)
        left, hour = tokens - THRESHOLDS.reserve_tokens + use(NOW_HOUR) // 2, NOW_HOUR  # half of this hour is over
        while left > 0:
            left -= use(hour)
            hour += 1
        early, expected, late = (each.runway or HORIZON for each in (told.early, told.expected, told.late))
        truth = (hour - NOW_HOUR) * hour_long
        errors.append(100 * abs(expected - truth) / truth)
        held.append(early - 2 * hour_long <= truth <= late + 2 * hour_long)
    mean, within = sum(errors) / len(errors), 100 * sum(held) // len(held)
    print(f"{kind.__name__}: mean error {mean:.1f} %, worst {max(errors):.1f} %, within the range {within} %")
    most_error, least_within = BOUNDS[kind]
    assert mean <= most_error
    assert within >= least_within
