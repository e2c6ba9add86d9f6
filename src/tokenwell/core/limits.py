"""Limits of a key: what may pass with it in a minute, a day and a month, by the UTC calendar."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.core.instants import EPOCH, to_micros
from tokenwell.errors import AmountInvalid, LimitReached

_MINUTE = 60_000_000
_DAY = 24 * 60 * _MINUTE
_SECOND = 1_000_000


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that passes with a key: requests in a minute, tokens in a day and in a month; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            most = getattr(self, field)
            if most is not None and (type(most) is not int or not 0 <= most <= MAX_TOKENS):
                raise AmountInvalid(f"{field} must be a whole number between 0 and {MAX_TOKENS:,}", field=field)

    def __bool__(self) -> bool:
        return self.requests_per_minute is not None or self.tokens_per_day is not None or self.tokens_per_month is not None


class Window(NamedTuple):
    """The minute, the day and the month of an instant, each counted from 1970."""

    minute: int
    day: int
    month: int


def window_of(now: datetime) -> Window:
    """Return the minute, the day and the month that an instant lies in."""
    micros = to_micros(now)
    return Window(micros // _MINUTE, micros // _DAY, (now.year - EPOCH.year) * 12 + now.month - 1)


class KeyUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What passed with a key in the present minute, day and month, and what its open holds reserve.

    `told` has a bit for each limit of which it was told, in its present window, that it was reached.
    """

    organization_id: str
    key_id: str
    minute: int = 0
    minute_requests: int = 0
    day: int = 0
    day_tokens: int = 0
    month: int = 0
    month_tokens: int = 0
    held_tokens: int = 0
    told: int = 0

    def at(self, now: datetime) -> KeyUsage:
        """Return the usage with every window begun anew that is over. Windows never run backwards."""
        window = window_of(now)
        changes: dict[str, Any] = {}
        told = self.told
        if window.minute > self.minute:
            changes |= {"minute": window.minute, "minute_requests": 0}
            told &= ~_TOLD["requests_per_minute"]
        if window.day > self.day:
            changes |= {"day": window.day, "day_tokens": 0}
            told &= ~_TOLD["tokens_per_day"]
        if window.month > self.month:
            changes |= {"month": window.month, "month_tokens": 0}
            told &= ~_TOLD["tokens_per_month"]
        return replace(self, told=told, **changes) if changes else self

    def added(self, *, requests: int = 0, held_tokens: int = 0, used_tokens: int = 0) -> KeyUsage:
        """Return the usage with more of each; what is held may be less."""
        return replace(
            self,
            minute_requests=self.minute_requests + requests,
            held_tokens=self.held_tokens + held_tokens,
            day_tokens=self.day_tokens + used_tokens,
            month_tokens=self.month_tokens + used_tokens,
        )

    def was_told(self, limit: str) -> bool:
        """Return whether it was told in the present window that a limit was reached."""
        return bool(self.told & _TOLD[limit])

    def with_told(self, limit: str) -> KeyUsage:
        """Return the usage with a limit told."""
        return replace(self, told=self.told | _TOLD[limit])


_TOLD = {"requests_per_minute": 1, "tokens_per_day": 2, "tokens_per_month": 4}


def refusal_of(usage: KeyUsage, limits: KeyLimits, tokens: int, now: datetime, *, requests: int = 1) -> LimitReached | None:
    """Return why a request of so many tokens does not pass with a key, or None. `usage` is that at `now`.

    What open holds reserve counts as used until they are settled.
    """
    most = limits.requests_per_minute
    if most is not None and requests and usage.minute_requests + requests > most:
        return _reached(usage, "requests_per_minute", most, _seconds_to((to_micros(now) // _MINUTE + 1) * _MINUTE, now))
    for limit, most, used, ends in (
        ("tokens_per_day", limits.tokens_per_day, usage.day_tokens, (to_micros(now) // _DAY + 1) * _DAY),
        ("tokens_per_month", limits.tokens_per_month, usage.month_tokens, _month_end(now)),
    ):
        if most is not None and used + usage.held_tokens + tokens > most:
            # What is held may be used by less, or not at all: a moment later there may be room.
            soon = used + tokens <= most
            return _reached(usage, limit, most, 1 if soon else _seconds_to(ends, now), used=used)
    return None


def _reached(usage: KeyUsage, limit: str, most: int, seconds: int, *, used: int | None = None) -> LimitReached:
    about = {} if used is None else {"used_tokens": used, "held_tokens": usage.held_tokens}
    return LimitReached(
        f"the key's limit of {most:,} {limit.replace('_', ' ')} is reached",
        limit=limit,
        most=most,
        key_id=usage.key_id,
        retry_after_seconds=seconds,
        **about,
    )


def _seconds_to(micros: int, now: datetime) -> int:
    return max(1, -((to_micros(now) - micros) // _SECOND))


def _month_end(now: datetime) -> int:
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return to_micros(now.replace(year=year, month=month, day=1, hour=0, minute=0, second=0, microsecond=0))
