"""Words: how numbers and instants are written in alerts, and the catalogue of each language. The console writes them alike."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = ("en", "zh")
LOCALE_DIRECTORY = Path(__file__).parent / "locale"

_LOCALES = {"en": "en", "zh": "zh_Hans_CN"}
MINUS = "−"

_UNITS = {
    "en": ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")),
    "zh": ((10**12, "万亿"), (10**8, "亿"), (10**4, "万")),
}

_PATTERNS = {
    "en": {"date": "d MMM", "dated": "d MMM y", "minute": ", HH:mm"},
    "zh": {"date": "M月d日", "dated": "y年M月d日", "minute": " HH:mm"},
}


@cache
def translations(language: str) -> NullTranslations:
    """Return the words of a language, read from its .po file: nothing has to be compiled before Tokenwell runs."""
    if language == "en":
        return NullTranslations()
    compiled = BytesIO()
    with (LOCALE_DIRECTORY / language / "LC_MESSAGES" / "alerts.po").open("rb") as source:
        write_mo(compiled, read_po(source, locale=_LOCALES[language]))
    compiled.seek(0)
    return GNUTranslations(compiled)


@cache
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone, UTC where there is none of that name (any more)."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return ZoneInfo("UTC")


def compact(amount: int, language: str) -> str:
    """Return a number in at most four digits, rounded down: `1.39M`, `139.4万`."""
    size, unit = next(((size, unit) for size, unit in _UNITS[language] if abs(amount) >= size), (1, ""))
    if size == 1:
        return f"{amount:,}".replace("-", MINUS)
    hundredths = abs(amount) * 100 // size
    digits = 2 if hundredths < 1_000 else 1 if hundredths < 10_000 else 0
    whole, rest = divmod(hundredths, 100)
    fraction = f"{rest:02}"[:digits].rstrip("0")
    sign = MINUS if amount < 0 else ""
    return f"{sign}{whole:,}{'.' + fraction if fraction else ''}{unit}"


class Words:
    """Writes for one reader: a language, a zone, and the `now` that years refer to."""

    def __init__(self, language: str, zone: str, now: datetime) -> None:
        self.language = language if language in LANGUAGES else "en"
        self.zone_name = zone_of(zone).key
        self._zone = zone_of(zone)
        self._now = now
        self.space = "" if self.language == "zh" else " "
        self.gettext = translations(self.language).gettext
        self.ngettext = translations(self.language).ngettext

    def tokens(self, amount: int) -> str:
        """Return a number in full with grouping, and a true minus."""
        return f"{amount:,}".replace("-", MINUS)

    def lead(self, amount: int) -> str:
        """Return the number that a sentence is about: where it can be told apart, it is."""
        return self.tokens(amount)

    def compact(self, amount: int) -> str:
        """Return a number in at most four digits, for what is foreseen only."""
        return compact(amount, self.language)

    def join(self, parts: Iterable[str]) -> str:
        """Return sentences one after the other; what is empty is left out."""
        return self.space.join(part for part in parts if part)

    def ago(self, at: datetime) -> str:
        """Return how long ago an instant was, in its largest whole unit, rounded down."""
        apart = max(self._now - at, timedelta())
        if apart >= timedelta(days=1):
            days = apart // timedelta(days=1)
            return self.ngettext("%(num)s day ago", "%(num)s days ago", days) % {"num": days}
        if apart >= timedelta(hours=1):
            hours = apart // timedelta(hours=1)
            return self.ngettext("%(num)s hour ago", "%(num)s hours ago", hours) % {"num": hours}
        minutes = apart // timedelta(minutes=1)
        return self.ngettext("%(num)s minute ago", "%(num)s minutes ago", minutes) % {"num": minutes}

    def when(self, at: datetime, to: str = "minute") -> str:
        """Return an instant to the minute, or its date. The year is left out in the current one."""
        local = at.astimezone(self._zone)
        patterns = _PATTERNS[self.language]
        day = patterns["date" if local.year == self._now.astimezone(self._zone).year else "dated"]
        text = format_datetime(
            local, day if to == "date" else day + patterns["minute"], locale=Locale.parse(_LOCALES[self.language])
        )
        return str(text)

    def utc(self, at: datetime) -> str:
        """Return an instant in ISO 8601, UTC."""
        return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
