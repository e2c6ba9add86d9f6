"""Filters: which lines of the ledger, or which usage, an address asks for. Each is a GET parameter: a link can be shared."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from starlette.datastructures import QueryParams

from tokenwell.console.formats import UTC_NAME, Formats
from tokenwell.core.journal import EntryKind
from tokenwell.errors import RequestInvalid
from tokenwell.service.records.browsing import LedgerFilter

RANGES = {"today": 1, "7d": 7, "30d": 30, "90d": 90}
"""The ranges offered, in days of the zone on show, today included."""

VALUES = ("model", "reason", "service", "key", "session", "pack")
"""The filters that are a text."""

LONGEST = 200


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A range of days: one that is offered, or from a day to a day, both included; without either all there is."""

    range: str = ""
    first: date | None = None
    last: date | None = None

    @classmethod
    def of(cls, query: QueryParams, *, otherwise: str = "") -> Self:
        """Read the range of an address. Raises RequestInvalid."""
        first, last = _day(query, "from"), _day(query, "to")
        chosen = query.get("range") or ("" if first or last else otherwise)
        if chosen not in ("", "all", *RANGES):
            raise RequestInvalid("there is no such range", field="range")
        if first and last and last < first:
            raise RequestInvalid("a range must not end before it begins", field="to")
        return cls(range=chosen, first=first, last=last) if not chosen else cls(range=chosen)

    def bounds(self, formats: Formats) -> tuple[datetime | None, datetime | None]:
        """Return the instants it begins at and ends before, by the days of the zone on show; None is open."""
        if self.range in RANGES:
            return formats.midnight(RANGES[self.range] - 1), formats.midnight(-1)
        since = None if self.first is None else _midnight(self.first, formats)
        until = None if self.last is None else _midnight(self.last + timedelta(days=1), formats)
        return since, until

    def parameters(self) -> dict[str, str]:
        """Return what an address carries for it."""
        given = {"range": self.range, "from": _text(self.first), "to": _text(self.last)}
        return {name: text for name, text in given.items() if text}


def _text(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _day(query: QueryParams, name: str) -> date | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise RequestInvalid("a day is written like 2027-01-31", field=name) from None
    if not 1971 <= day.year <= 9998:
        raise RequestInvalid("a day is written like 2027-01-31", field=name)
    return day


def _midnight(day: date, formats: Formats) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=formats.zone).astimezone(ZoneInfo(UTC_NAME))


class Sieve(msgspec.Struct, frozen=True, kw_only=True):
    """What an address asks of the ledger. `find` is a session or a request's id."""

    span: Span
    values: dict[str, str]
    kind: EntryKind | None = None
    find: str = ""
    cursor: str | None = None

    @classmethod
    def of(cls, query: QueryParams) -> Self:
        """Read an address. Raises RequestInvalid for what no page would ask."""
        values = {name: text for name in VALUES if (text := query.get(name, "").strip())}
        find = query.get("find", "").strip()
        if any(len(text) > LONGEST or not text.isprintable() for text in (*values.values(), find)):
            raise RequestInvalid(f"a filter has at most {LONGEST} characters", field="find")
        kind = query.get("kind", "")
        if kind not in ("", "debit", "refund"):
            raise RequestInvalid("kind is debit or refund", field="kind")
        return cls(
            span=Span.of(query),
            values=values,
            kind=EntryKind(kind) if kind else None,
            find=find,
            cursor=query.get("before") or None,
        )

    @property
    def is_open(self) -> bool:
        """Whether every line passes."""
        return not (self.values or self.kind or self.find or self.span.parameters())

    def asked(self, formats: Formats, *, finds_request: bool = False) -> LedgerFilter:
        """Return the filter for the ledger; what was searched for is a session's name, or a request's id."""
        since, until = self.span.bounds(formats)
        found: dict[str, Any] = {} if not self.find else {"request" if finds_request else "session": self.find}
        return LedgerFilter(since=since, until=until, kind=self.kind, **(self.values | found))

    def parameters(self) -> dict[str, str]:
        """Return what an address carries for these filters; a page of them begins at the first."""
        kind = self.kind.value if self.kind else ""
        given = {**self.values, "kind": kind, "find": self.find, **self.span.parameters()}
        return {name: text for name, text in given.items() if text}

    def link(self, path: str, **changes: str | None) -> str:
        """Return the address of `path` with these filters, some of them changed; a changed filter begins at its first page."""
        given: dict[str, str | None] = {**self.parameters()}
        query = {name: value for name, value in (given | changes).items() if value}
        return f"{path}?{urlencode(query)}" if query else path
