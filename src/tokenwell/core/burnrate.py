"""Burn rate: how many tokens an hour to come will take, learned from the hours before, in whole millionths of a token.

With two weeks of history or more, every hour of the week has its share of the week's use; with less, all hours are alike. The level
is that of the last weeks, the latest counting most; where use rose three weeks running, the rise goes on for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

HOUR_MICROS = 3_600_000_000
WEEK_HOURS = 168
DAY_HOURS = 24
MOST_WEEKS = 8
"""How many weeks of history count."""

LEAST_HOURS = DAY_HOURS
"""How many whole hours since the first use there must be before anything is told."""

MILLION = 1_000_000
EXACTLY = 1_000
"""The scale of a rate as it is expected, in thousandths."""

_LEVEL_WEIGHTS = (4, 2, 1, 1)
_RISE = 50
"""By how many thousandths a week must exceed the one before to count as a rise."""

_RISING_WEEKS = 8
_LEAST_SPREAD = 50
_MOST_SPREAD = 800


class Basis(StrEnum):
    """What a rate was learned from."""

    WEEKLY_PATTERN = "weekly_pattern"
    MEAN = "mean"


class BurnHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens used hour by hour. Hours are numbered from 1970-01-01 UTC; those that `tokens` leaves out used none.

    `first_hour` is the first hour with use, or the first that was read.
    """

    first_hour: int
    tokens: Mapping[int, int]

    def used(self, first_hour: int, end_hour: int) -> int:
        """Return the tokens used in [first_hour, end_hour)."""
        return sum(self.tokens.get(hour, 0) for hour in range(first_hour, end_hour))


class BurnRate(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens an hour, for every hour to come.

    `level` is a week's use and `growth` what each week adds to it, in millionths of a token; `shape` cuts a week into its hours,
    `weight` is its sum. `spread` says, in thousandths, by how much weeks differed from the level.
    """

    basis: Basis
    observed_hours: int
    now_hour: int
    level: int
    growth: int
    shape: tuple[int, ...]
    weight: int
    spread: int

    def in_hour(self, hour: int, scale: int = EXACTLY) -> int:
        """Return what an hour takes, in millionths of a token, rounded up; `scale` in thousandths makes it faster or slower."""
        if not self.weight:
            return 0
        ahead = (hour - self.now_hour) // WEEK_HOURS + 1
        level = (self.level + self.growth * min(ahead, _RISING_WEEKS)) * scale
        return -(-level * self.shape[hour % WEEK_HOURS] // (self.weight * EXACTLY))

    def over_days(self, days: int) -> int:
        """Return how many tokens the days to come take, rounded up."""
        return -(-sum(self.in_hour(self.now_hour + hour) for hour in range(days * DAY_HOURS)) // MILLION)


def rate_of(history: BurnHistory, now_hour: int) -> BurnRate | None:
    """Return the burn rate at the beginning of an hour; None with less than LEAST_HOURS of whole hours to learn from.

    The first hour of all is left out: most likely it was not used from its beginning.
    """
    observed = now_hour - history.first_hour - 1
    if observed < LEAST_HOURS:
        return None
    weeks = min(observed // WEEK_HOURS, MOST_WEEKS)
    return _pattern(history, now_hour, observed, weeks) if weeks >= 2 else _mean(history, now_hour, observed)


def _pattern(history: BurnHistory, now_hour: int, observed: int, weeks: int) -> BurnRate:
    shape = [0] * WEEK_HOURS
    for hour in range(now_hour - weeks * WEEK_HOURS, now_hour):
        shape[hour % WEEK_HOURS] += history.tokens.get(hour, 0)
    totals = [history.used(now_hour - (week + 1) * WEEK_HOURS, now_hour - week * WEEK_HOURS) for week in range(weeks)]
    weights = _LEVEL_WEIGHTS[:weeks]
    level = -(-sum(weight * total for weight, total in zip(weights, totals, strict=False)) * MILLION // sum(weights))
    growth = 0
    if weeks >= 3 and all(totals[week] * 1_000 > totals[week + 1] * (1_000 + _RISE) for week in (0, 1)):
        level = totals[0] * MILLION
        growth = (totals[0] - totals[2]) * MILLION // 2
    return BurnRate(
        basis=Basis.WEEKLY_PATTERN,
        observed_hours=observed,
        now_hour=now_hour,
        level=level,
        growth=growth,
        shape=tuple(shape),
        weight=sum(shape),
        spread=_spread([total * MILLION for total in totals[:4]], level, _LEAST_SPREAD),
    )


def _mean(history: BurnHistory, now_hour: int, observed: int) -> BurnRate:
    hours = min(observed, WEEK_HOURS)
    used = history.used(now_hour - hours, now_hour)
    days = hours // DAY_HOURS
    by_day = [history.used(now_hour - (day + 1) * DAY_HOURS, now_hour - day * DAY_HOURS) for day in range(days)]
    level = -(-used * WEEK_HOURS * MILLION // hours)
    return BurnRate(
        basis=Basis.MEAN,
        observed_hours=observed,
        now_hour=now_hour,
        level=level,
        growth=0,
        shape=(1,) * WEEK_HOURS,
        weight=WEEK_HOURS,
        spread=_spread([total * 7 * MILLION for total in by_day], level, max(_LEAST_SPREAD, _MOST_SPREAD // days)),
    )


def _spread(levels: list[int], level: int, least: int) -> int:
    """Return twice the mean distance of some levels from the one expected, in thousandths, within bounds."""
    if not level:
        return least
    apart = 2 * sum(abs(each - level) for each in levels) * EXACTLY // (len(levels) * level)
    return max(least, min(apart, _MOST_SPREAD))
