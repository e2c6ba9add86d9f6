"""Buckets: hours and days as a named time zone counts them, also where its clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tokenwell.core.instants import from_micros, to_micros
from tokenwell.errors import RequestInvalid

_QUARTER = timedelta(minutes=15)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_DAY = date(1970, 1, 1)


class Width(StrEnum):
    """How long a bucket is."""

    HOUR = "hour"
    DAY = "day"

    @property
    def micros(self) -> int:
        """The microseconds of a bucket in which no clock changes."""
        return (3_600 if self is Width.HOUR else 86_400) * 1_000_000


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name in the IANA database. Raises RequestInvalid."""
    try:
        if not isinstance(name, str) or not name or len(name) > 64:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RequestInvalid("zone must be the name of a time zone such as Europe/Berlin", field="zone") from None


def spans(zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime, int]]:
    """Yield the spans of [since, until) in which the zone's clocks do not change, with its offset from UTC in microseconds.

    Both ends lie on a quarter of an hour, as every change of clocks does.
    """
    start = since
    while start < until:
        offset = _offset(zone, start)
        end = min(until, start + timedelta(days=1))
        while end < until and _offset(zone, end) == offset:
            end = min(until, end + timedelta(days=1))
        if _offset(zone, end - _QUARTER) != offset:
            low, high = max(start, end - timedelta(days=1)), end - _QUARTER
            while high - low > _QUARTER:
                middle = low + (high - low) // _QUARTER // 2 * _QUARTER
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            end = high
        yield start, end, offset // _MICROSECOND
        start = end


def start_of(width: Width, number: int, offset_micros: int, zone: ZoneInfo, span_start: datetime) -> datetime:
    """Return when the bucket with this number begins: a day at its first instant in the zone, an hour no earlier than its span
    (an hour in which the clocks change is two buckets)."""
    if width is Width.DAY:
        day = _EPOCH_DAY + timedelta(days=number)
        return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    begins = from_micros(number * width.micros - offset_micros)
    return begins if begins >= span_start or _offset(zone, begins) // _MICROSECOND == offset_micros else span_start


def starts_in(width: Width, zone: ZoneInfo, since: datetime, until: datetime) -> list[datetime]:
    """Return when every bucket that touches [since, until) begins, in order."""
    starts: dict[datetime, None] = {}
    for start, end, offset in spans(zone, since, until):
        first, last = (to_micros(start) + offset) // width.micros, (to_micros(end - _QUARTER) + offset) // width.micros
        for number in range(first, last + 1):
            starts[start_of(width, number, offset, zone, start)] = None
    return list(starts)


def count_between(width: Width, since: datetime, until: datetime) -> int:
    """Return about how many buckets lie in [since, until)."""
    return (until - since) // timedelta(microseconds=width.micros) + 2


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()
