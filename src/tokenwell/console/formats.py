"""Formats: how numbers and instants are written for the person who reads, in their language and time zone."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from babel import Locale
from markupsafe import Markup

from tokenwell.alerts.words import MINUS, compact

UTC_NAME = "UTC"

_PATTERNS = {
    "en": {"date": "{day} {month}", "dated": "{day} {month} {year}", "minute": ", %H:%M", "second": ", %H:%M:%S"},
    "zh": {"date": "{month}{day}日", "dated": "{year}年{month}{day}日", "minute": " %H:%M", "second": " %H:%M:%S"},
}
_MONTHS = {
    language: Locale.parse(locale).months["format"]["abbreviated"] for language, locale in (("en", "en"), ("zh", "zh_Hans_CN"))
}
"""The months by their numbers, as they stand in a date. A page writes hundreds of times: Babel is asked once."""


@lru_cache(maxsize=256)
def zone_named(name: str) -> ZoneInfo | None:
    """Return the time zone of an IANA name, None for anything else."""
    if not 0 < len(name) <= 64:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # unknown, a directory of the zone database, no name at all
        return None


class Distance(msgspec.Struct, frozen=True):
    """How far an instant lies from now, in its largest whole unit (day, hour or minute), rounded down: time is never promised."""

    unit: str
    count: int
    is_ahead: bool


def distance(at: datetime, now: datetime) -> Distance:
    """Return how far `at` lies from `now`."""
    apart = abs(at - now)
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        if apart >= length:
            return Distance(unit, apart // length, at > now)
    return Distance("minute", apart // timedelta(minutes=1), at > now)


class Formats:
    """Writes numbers and instants for one page view: a language, a zone, and the `now` that years and distances refer to."""

    def __init__(self, language: str, zone_name: str, now: datetime) -> None:
        zone = zone_named(zone_name)
        self.zone_name = zone_name if zone is not None else UTC_NAME
        self.zone: tzinfo = zone if zone is not None else ZoneInfo(UTC_NAME)
        self.now = now
        self.language = language
        self._months = _MONTHS[language]
        self._patterns = _PATTERNS[language]

    def tokens(self, amount: int) -> str:
        """Return a number in full with grouping, and a true minus: `−1,234`."""
        return f"{amount:,}".replace("-", MINUS)

    def compact(self, amount: int) -> str:
        """Return a number in at most four digits, rounded down: `1.39M`, `139.4万`. For axes, chips and forecasts only."""
        return compact(amount, self.language)

    def signed(self, amount: int) -> str:
        """Return a change: `+1,234`, `−1,234`, `0`."""
        return ("+" if amount > 0 else "") + self.tokens(amount)

    def when(self, at: datetime, to: str = "minute") -> Markup:
        """Return a time element: the viewer's zone on show, the exact second in UTC on hover. `to` is date, minute or second.

        The year is left out in the current year.
        """
        try:
            local = at.astimezone(self.zone)
        except OverflowError:  # the last hours of the year 9999
            local = at
        day = "date" if local.year == self.now.astimezone(self.zone).year else "dated"
        text = self._written(local, day, "" if to == "date" else to)
        utc = at.astimezone(ZoneInfo(UTC_NAME))
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M:%S} UTC", text
        )

    def bucket(self, at: datetime, *, is_hour: bool) -> str:
        """Return how a day or an hour is called: `22 Nov`, `22 Nov, 14:00`; with its year where that is not the current one."""
        local = at.astimezone(self.zone)
        day = "date" if local.year == self.now.astimezone(self.zone).year else "dated"
        return self._written(local, day, "minute" if is_hour else "")

    def clock(self, at: datetime) -> str:
        """Return the time of day: `22:04`."""
        return f"{at.astimezone(self.zone):%H:%M}"

    def day(self, at: datetime) -> str:
        """Return a day in a picture: `22 Nov`."""
        return self._written(at.astimezone(self.zone), "date", "")

    def full(self, at: datetime) -> Markup:
        """Return an instant in the zone on show, with its name, and in UTC: `20 Feb 2027, 23:59 Asia/Shanghai · 15:59 UTC`."""
        local, utc = at.astimezone(self.zone), at.astimezone(ZoneInfo(UTC_NAME))
        written = self._written(local, "dated", "minute")
        if self.zone_name == UTC_NAME:
            return Markup("{} UTC").format(written)
        same = local.date() == utc.date()
        other = f"{utc:%H:%M}" if same else self._written(utc, "dated", "minute")
        return Markup("{} {} · {} UTC").format(written, self.zone_name.replace("_", " "), other)

    def _written(self, at: datetime, day: str, to: str) -> str:
        """Return an instant as its zone has it: the day, with or without the year, and the time as `to` says, or none."""
        text = self._patterns[day].format(day=at.day, month=self._months[at.month], year=at.year)
        return text + at.strftime(self._patterns[to]) if to else text

    @property
    def zone_label(self) -> str:
        """The zone and its distance from UTC now: `Asia/Kolkata (UTC+5:30)`; `UTC` alone."""
        if self.zone_name == UTC_NAME:
            return UTC_NAME
        offset = self.now.astimezone(self.zone).utcoffset() or timedelta()
        minutes = abs(offset) // timedelta(minutes=1)
        sign = MINUS if offset < timedelta() else "+"
        minute_part = f":{minutes % 60:02}" if minutes % 60 else ""
        return f"{self.zone_name.replace('_', ' ')} (UTC{sign}{minutes // 60}{minute_part})"

    def midnight(self, days_ago: int = 0) -> datetime:
        """Return when the viewer's day began that many days ago (0: today), as an instant."""
        local = self.now.astimezone(self.zone)
        day = (local - timedelta(days=days_ago)).date()
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(ZoneInfo(UTC_NAME))
