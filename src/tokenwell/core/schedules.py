"""Schedules: when a recurring grant is due. Pure; the zone is handed in.

An occurrence is a day and a time of day on the clocks of a zone. Every month counts from the day of the start: a month that has no
31st takes its last day, and a leap day becomes the 28th elsewhere. A time that clocks leave out in spring is taken as much later;
one that they show twice in autumn is the first of the two.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

import msgspec

from tokenwell.errors import RequestInvalid

MOST_EVERY = 366
"""The longest period, in its own unit."""


class Unit(StrEnum):
    """What a period is counted in."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Recurrence(msgspec.Struct, frozen=True, kw_only=True):
    """Every so many days, weeks or months from a day on, at a time of day; until a last day, if one is given.

    Occurrences are numbered from 0.
    """

    unit: Unit
    every: int
    first_day: date
    at: time
    last_day: date | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.every <= MOST_EVERY:
            raise RequestInvalid(f"every must be between 1 and {MOST_EVERY}", field="every")
        if self.at.tzinfo is not None or self.at.second or self.at.microsecond:
            raise RequestInvalid("a time of day is hours and minutes, such as 09:00", field="at")
        if self.last_day is not None and self.last_day < self.first_day:
            raise RequestInvalid("the last day must not be before the first", field="last_day")

    def day(self, number: int) -> date | None:
        """Return the day of an occurrence; None where it lies after the last day, or after the calendar ends."""
        try:
            day = self._day(number)
        except (OverflowError, ValueError):
            return None
        return None if self.last_day is not None and day > self.last_day else day

    def _day(self, number: int) -> date:
        if self.unit is Unit.MONTH:
            return _months_later(self.first_day, number * self.every)
        return self.first_day + timedelta(days=number * self.every * (7 if self.unit is Unit.WEEK else 1))

    def instant(self, number: int, zone: tzinfo) -> datetime | None:
        """Return when an occurrence is due, in UTC; None where there is no such occurrence."""
        day = self.day(number)
        return None if day is None else instant_of(day, self.at, zone)

    def number_after(self, instant: datetime, zone: tzinfo) -> int:
        """Return the number of the first occurrence due after an instant, whether or not it is past the last day."""
        day = instant.astimezone(zone).date()
        number = max(0, self._estimate(day) - 1)
        while True:
            due = msgspec.structs.replace(self, last_day=None).instant(number, zone)
            if due is None or due > instant:
                return number
            number += 1

    def _estimate(self, day: date) -> int:
        """Return the number of an occurrence that lies at most one before a day."""
        if self.unit is Unit.MONTH:
            months = (day.year - self.first_day.year) * 12 + day.month - self.first_day.month
            return months // self.every
        return (day - self.first_day).days // (self.every * (7 if self.unit is Unit.WEEK else 1))


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a schedule is due: its number from the start on, and the instant in UTC."""

    number: int
    at: datetime


def due(recurrence: Recurrence, zone: tzinfo, *, next_number: int, now: datetime) -> Iterator[Occurrence]:
    """Give the occurrences from `next_number` on that are due by `now`, in order."""
    number = next_number
    while True:
        at = recurrence.instant(number, zone)
        if at is None or at > now:
            return
        yield Occurrence(number=number, at=at)
        number += 1


def instant_of(day: date, at: time, zone: tzinfo) -> datetime:
    """Return the instant at which the clocks of a zone show a time on a day, in UTC."""
    # Of a time that clocks show twice this is the first; one they leave out is counted with the distance from before the change.
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)


def _months_later(day: date, months: int) -> date:
    month = day.month - 1 + months
    year, month = day.year + month // 12, month % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))
