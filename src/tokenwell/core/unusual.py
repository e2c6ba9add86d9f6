"""Unusual use: today against what is usual by this time of a day. Whole numbers only; pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

LEAST_DAYS = 7
"""With less history nothing is usual yet."""

SAME_WEEKDAYS = 3
"""With so many days of the same weekday, these alone say what is usual: weekends are not weekdays."""

TIMES_USUAL = 3
LEAST_TOKENS = 10_000
"""What is worth telling: so many times what is usual, so much more than it, and half as much again as ever before."""


class Day(msgspec.Struct, frozen=True):
    """What was used on a day until the time of day at hand; `weekday` is 0 to 6."""

    weekday: int
    tokens: int


def unusual(today: Day, past: Sequence[Day]) -> int | None:
    """Return what is usual where today's use is unusual, else None. `past` are whole days in any order, those without use too."""
    if len(past) < LEAST_DAYS:
        return None
    alike = [day.tokens for day in past if day.weekday == today.weekday]
    usual = _median(alike if len(alike) >= SAME_WEEKDAYS else [day.tokens for day in past])
    is_much = today.tokens > usual * TIMES_USUAL and today.tokens - usual >= LEAST_TOKENS
    is_most = today.tokens * 2 > max(day.tokens for day in past) * 3
    return usual if is_much and is_most else None


def _median(numbers: Sequence[int]) -> int:
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2
