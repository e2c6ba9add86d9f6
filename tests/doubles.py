"""Doubles: stand-ins for what comes from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2027, 1, 31, 9, 30, tzinfo=UTC)
"""When tests begin."""


class FrozenClock:
    """A clock that stands still until it is set or advanced; calling it tells the time."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time it stands at."""
        return self.now

    def advance(self, by: timedelta) -> datetime:
        """Move on (or, with a negative step, back) and return the new time."""
        self.now += by
        return self.now
