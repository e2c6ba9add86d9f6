"""Words: how numbers and instants are written in alerts, and the catalogue of each language. The console writes them alike."""

from __future__ import annotations

from datetime import UTC, datetime
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


class Words:
    """Writes for one reader: a language, a zone, and the `now` that years refer to."""

    def __init__(self, language: str, zone: str, now: datetime) -> None:
        self.language = language if language in LANGUAGES else "en"
        self.zone_name = zone_of(zone).key
        self._zone = zone_of(zone)
        self._now = now
        self.gettext = translations(self.language).gettext

    def tokens(self, amount: int) -> str:
        """Return a number in full with grouping, and a true minus."""
        return f"{amount:,}".replace("-", "−")

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
