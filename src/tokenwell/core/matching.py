"""Matching: requests that a provider lists without an id the ledger knows, beside charges of their model at about their time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

EARLIER, LATER = timedelta(seconds=30), timedelta(minutes=5)
"""How long before and after a provider's instant its charge may stand: a provider notes when a request began, the ledger when it
was over, and clocks differ."""

_MICRO = timedelta(microseconds=1)


def matched(theirs: Iterable[int], ours: Sequence[int]) -> int:
    """Return how many of a provider's instants have a charge of their own within the window, as many as possible.

    All are microseconds, of one model; `ours` are sorted. As every window is as long, giving each instant, the earliest first, the
    first charge that is left in its window leaves the most for the others.
    """
    earlier, later = EARLIER // _MICRO, LATER // _MICRO
    count = place = 0
    for at in sorted(theirs):
        while place < len(ours) and ours[place] < at - earlier:
            place += 1
        if place < len(ours) and ours[place] <= at + later:
            count += 1
            place += 1
    return count
