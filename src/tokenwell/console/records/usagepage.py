"""Usage: by day or hour and by model, reason, service, key or session, as a picture and as a table; and the sessions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams
from starlette.routing import Route

from tokenwell.console.filters import LONGEST, RANGES, Span
from tokenwell.console.formats import Formats
from tokenwell.console.frame import frame_of, organization_of, path_of, reads
from tokenwell.console.records.ledger import line_view
from tokenwell.console.visits import Visit
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.records.browsing import (
    BUCKETS_LIMIT,
    SESSION_LINES,
    Browsing,
    Dimension,
    LedgerFilter,
    Series,
    UsageBuckets,
    UsageFilter,
    Width,
)
from tokenwell.service.shapes import UsageTotals

DRAWN = 3
"""How many series a picture tells apart; the others are drawn as one."""

SERIES = 20
FILTERS = tuple(each for each in Dimension if each is not Dimension.SESSION)
"""What usage can be narrowed down by; a session has a page of its own."""

HOURS_MOST = timedelta(hours=BUCKETS_LIMIT - 30)
DAYS_MOST = timedelta(days=BUCKETS_LIMIT - 2)
SESSIONS_A_PAGE = 50
LINES_A_PAGE = 50


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn: the label of each bucket, and what each of at most DRAWN + 1 series used in it. With `has_rest` the last one,
    which has no name, is all the others."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    has_rest: bool
    used: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        """What was used in all."""
        return sum(sum(series) for series in self.used)

    def total_of(self, at: int) -> int:
        """Return what all series together used in a bucket."""
        return sum(series[at] for series in self.used)

    @property
    def data(self) -> str:
        """It as JSON for the script that draws; numbers as text, so that none is rounded."""
        used = [[str(value) for value in series] for series in self.used]
        return msgspec.json.encode({"labels": self.labels, "used": used}).decode()


def chart_of(usage: UsageBuckets, formats: Formats) -> Chart:
    """Return the picture of usage. What named no value has an empty name; the template has words for that and for the rest."""
    drawn, others = list(usage.series[:DRAWN]), list(usage.series[DRAWN:])
    if not usage.series:
        whole = Series(value="", is_rest=True, total=usage.total, buckets=usage.buckets)
        drawn, others = [], [whole]
    if any(series.is_rest for series in drawn):
        drawn, others = [each for each in drawn if not each.is_rest], [*(each for each in drawn if each.is_rest), *others]
    columns = [tuple(bucket.debited_tokens for bucket in series.buckets) for series in drawn]
    names = [series.value for series in drawn]
    if others:
        columns.append(tuple(sum(series.buckets[at].debited_tokens for series in others) for at in range(len(usage.starts))))
    labels = tuple(formats.bucket(start, is_hour=usage.width is Width.HOUR) for start in usage.starts)
    return Chart(labels=labels, names=tuple(names), has_rest=bool(others), used=tuple(columns))


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What an address asks of the usage explorer."""

    span: Span
    width: Width
    by: Dimension
    only: dict[str, str]

    @classmethod
    def of(cls, query: QueryParams) -> Asked:
        """Read an address. Raises RequestInvalid."""
        only = {each.value: text for each in FILTERS if (text := query.get(each.value, "").strip())}
        if any(len(text) > LONGEST or not text.isprintable() for text in only.values()):
            raise RequestInvalid(f"a filter has at most {LONGEST} characters", field="model")
        try:
            width, by = Width(query.get("width") or Width.DAY), Dimension(query.get("by") or Dimension.MODEL)
        except ValueError:
            raise RequestInvalid("there is no such view", field="by") from None
        return cls(span=Span.of(query, otherwise="30d"), width=width, by=by, only=only)

    def parameters(self) -> dict[str, str]:
        """Return what an address carries for this view."""
        return {**self.span.parameters(), "width": self.width.value, "by": self.by.value, **self.only}

    def link(self, path: str, **changes: str | None) -> str:
        """Return the address of `path` with some of this changed."""
        given: dict[str, str | None] = {**self.parameters()}
        query = {name: value for name, value in (given | changes).items() if value}
        return f"{path}?{urlencode(query)}" if query else path

    def bounds(self, formats: Formats) -> tuple[datetime, datetime, Width]:
        """Return the range, and how wide its buckets are: hours of a long range are drawn as days."""
        since, until = self.span.bounds(formats)
        until = until or formats.midnight(-1)
        since = since or max(until - DAYS_MOST, formats.midnight(364))
        if not since < until or until - since > DAYS_MOST:
            raise RequestInvalid(f"a range has between 1 and {DAYS_MOST.days} days", field="from")
        width = Width.DAY if until - since > HOURS_MOST else self.width
        return since, until, width


def read_usage(visit: Visit) -> dict[str, Any]:
    """Return what the usage explorer shows."""
    organization = organization_of(visit, Scope.LEDGER_READ)
    formats = visit.formats(visit.console.meter.clock())
    asked = Asked.of(visit.request.query_params)
    since, until, width = asked.bounds(formats)
    usage = visit.console.suite.browsing.usage(
        organization.id,
        since=since,
        until=until,
        zone=formats.zone_name,
        width=width,
        by=asked.by,
        only=UsageFilter(**asked.only),
        limit=SERIES,
    )
    path = path_of(organization.id, "usage")
    return frame_of(visit, organization) | {
        "f": formats,
        "asked": asked,
        "usage": usage,
        "width": width,
        "chart": chart_of(usage, formats),
        "rows": rows_of(usage),
        "ranges": RANGES,
        "usage_link": lambda **changes: asked.link(path, **changes),
        "dimensions": tuple(Dimension),
        "session_lines": SESSION_LINES,
    }


def rows_of(usage: UsageBuckets) -> list[tuple[datetime, UsageTotals]]:
    """Return the buckets in which anything was used, the latest first."""
    pairs = zip(usage.starts, usage.buckets, strict=True)
    return [(start, totals) for start, totals in pairs if totals != UsageTotals()][::-1]


def read_sessions(visit: Visit) -> dict[str, Any]:
    """Return what the list of sessions shows."""
    organization = organization_of(visit, Scope.LEDGER_READ)
    cursor = visit.request.query_params.get("before") or None
    page = visit.console.suite.browsing.sessions(organization.id, cursor=cursor, limit=SESSIONS_A_PAGE)
    path = path_of(organization.id, "sessions")
    return frame_of(visit, organization) | {
        "rows": page.items,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "link": _paged(path),
    }


def read_session(visit: Visit) -> dict[str, Any]:
    """Return what one session's page shows: its sums and its lines."""
    organization = organization_of(visit, Scope.LEDGER_READ)
    browsing: Browsing = visit.console.suite.browsing
    name = visit.request.path_params["session"]
    session = browsing.session(organization.id, name)
    asked = LedgerFilter(session=session.session)
    cursor = visit.request.query_params.get("before") or None
    page = browsing.ledger(organization.id, asked, cursor=cursor, limit=LINES_A_PAGE)
    return frame_of(visit, organization) | {
        "session": session,
        "lines": [line_view(line) for line in page.items],
        "ledger_cursor": page.next_cursor,
        "is_first_ledger_page": cursor is None,
        "link": _paged(path_of(organization.id, "sessions", session.session)),
        "export_link": f"{path_of(organization.id, 'ledger.csv')}?{urlencode({'session': session.session})}",
    }


def _paged(path: str) -> Any:
    def link(before: str | None = None) -> str:
        return path if before is None else f"{path}?{urlencode({'before': before})}"

    return link


ROUTES = [
    Route("/o/{organization}/usage", reads("usage", read_usage)),
    Route("/o/{organization}/sessions", reads("sessions", read_sessions)),
    Route("/o/{organization}/sessions/{session:path}", reads("session", read_session)),
]
