"""Wishes: what somebody is to be told of, in which language, and when; checked where they are made."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import msgspec

from tokenwell.core.alerts import AT_ONCE, MINUTES_A_DAY, Schedule
from tokenwell.core.happenings import EventKind
from tokenwell.errors import RequestInvalid

LANGUAGES = ("en", "zh")


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is told of by e-mail. `is_default`: they have not said what they want."""

    kinds: frozenset[EventKind]
    language: str
    zone: str
    schedule: Schedule
    is_default: bool


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel is to be told of (None: of everything), in which language, in whose day, and when."""

    kinds: frozenset[EventKind] | None = None
    language: str = "en"
    zone: str = "UTC"
    schedule: Schedule = AT_ONCE

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise RequestInvalid("language must be one of " + ", ".join(LANGUAGES), field="language")
        try:
            ZoneInfo(self.zone)
        except (KeyError, OSError, ValueError):
            raise RequestInvalid("zone must be a time zone such as Europe/Berlin", field="zone") from None
        minutes = (self.schedule.quiet_from, self.schedule.quiet_until, self.schedule.digest_at)
        if not all(minute is None or 0 <= minute < MINUTES_A_DAY for minute in minutes):
            raise RequestInvalid("a time of day lies between 00:00 and 23:59", field="schedule")
        if (self.schedule.quiet_from is None) != (self.schedule.quiet_until is None):
            raise RequestInvalid("quiet hours need a beginning and an end", field="schedule")


def minute_of(text: str) -> int | None:
    """Return the minute of the day of `22:30`, None for nothing. Raises RequestInvalid."""
    if not text:
        return None
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", text)
    if match is None:
        raise RequestInvalid("a time of day is written as 22:30", field="schedule")
    return int(match[1]) * 60 + int(match[2])
