"""The breaker: leaves a provider that keeps failing alone for a while, and tries it again with one request.

It has no clock: whoever uses it says what time it is, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

from enum import StrEnum


class BreakerState(StrEnum):
    """What a breaker does with requests."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Closed, it lets every request through; after `failure_limit` failures without a success between them it is open for
    `open_seconds`; then half open: one request is let through, which closes it or opens it again. A limit of 0 never opens.
    """

    __slots__ = ("_failures", "_open_until", "_probe_until", "failure_limit", "open_seconds")

    def __init__(self, *, failure_limit: int, open_seconds: float) -> None:
        self.failure_limit = failure_limit
        self.open_seconds = open_seconds
        self._failures = 0
        self._open_until: float | None = None
        self._probe_until: float | None = None

    def state(self, now: float) -> BreakerState:
        """Return the state at `now`."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def admit(self, now: float) -> bool:
        """Return whether a request may go. Half open, the first that asks may; one that never tells how it went counts as failed
        after `open_seconds`."""
        if self._open_until is None:
            return True
        if now < self._open_until or (self._probe_until is not None and now < self._probe_until):
            return False
        self._probe_until = now + self.open_seconds
        return True

    def succeed(self) -> None:
        """Note that a request was answered: the provider is well."""
        self._failures = 0
        self._open_until = self._probe_until = None

    def fail(self, now: float) -> bool:
        """Note a failure; return whether it opened the breaker."""
        self._failures += 1
        was_open = self._open_until is not None
        if not self.failure_limit or (self._failures < self.failure_limit and not was_open):
            return False
        self._open_until, self._probe_until = now + self.open_seconds, None
        return not was_open
