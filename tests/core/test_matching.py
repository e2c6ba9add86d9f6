"""Matching by time gives each charge to one request, and as many requests as possible a charge."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from tokenwell.core.matching import EARLIER, LATER, matched

SECOND = 1_000_000
EARLIER_SECONDS, LATER_SECONDS = EARLIER.seconds, LATER.seconds


def micros(*seconds: int) -> list[int]:
    """Return instants in microseconds."""
    return [each * SECOND for each in seconds]


def test_the_window_begins_before_the_request_and_ends_minutes_after_it() -> None:
    at = 10_000
    edges = {at - EARLIER_SECONDS: 1, at - EARLIER_SECONDS - 1: 0, at: 1, at + LATER_SECONDS: 1, at + LATER_SECONDS + 1: 0}
    assert {ours: matched(micros(at), micros(ours)) for ours in edges} == edges


def test_a_charge_is_given_to_one_request() -> None:
    assert matched(micros(100, 101, 102), micros(103, 104)) == 2
    assert matched(micros(100), micros(100, 100)) == 1
    assert matched([], micros(1)) == matched(micros(1), []) == 0


@given(st.lists(st.integers(0, 900), max_size=5), st.lists(st.integers(0, 900), max_size=5))
def test_no_other_way_to_match_finds_more(theirs: list[int], ours: list[int]) -> None:
    def fits(at: int, charge: int) -> bool:
        return at - EARLIER_SECONDS <= charge <= at + LATER_SECONDS

    short, long = (theirs, ours) if len(theirs) <= len(ours) else (ours, theirs)
    is_turned = short is ours and len(theirs) > len(ours)
    ways = permutations(long, len(short))
    best = max(sum(fits(b, a) if is_turned else fits(a, b) for a, b in zip(short, way, strict=True)) for way in ways)
    assert matched(micros(*theirs), micros(*sorted(ours))) == best
