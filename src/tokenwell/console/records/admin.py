"""The platform's first page: every organization, those in need first."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams
from starlette.routing import Route

from tokenwell.console.frame import frame_of, reads
from tokenwell.console.visits import Visit
from tokenwell.core.health import State
from tokenwell.errors import RequestInvalid
from tokenwell.service.records.directory import Standing

ORGANIZATIONS_A_PAGE = 25


class StateTab(msgspec.Struct, frozen=True, kw_only=True):
    """One filter of the list; `state` None shows all."""

    state: State | None
    count: int
    is_current: bool


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization uses a day, when its AI stops, and after how many days, rounded down; None where no stop is in sight.

    It is that of the last outlook, with the packs that expire on the way. Where there is none yet, `stops_at` is None, and the
    rate of the last seven whole days says how long the balance lasts.
    """

    tokens_per_day: int
    days: int | None
    stops_at: datetime | None = None


def pace_of(standing: Standing, used_tokens: int, now: datetime) -> Pace:
    """Return the pace of an organization that used so much in a week, unless its outlook tells more."""
    if standing.tokens_per_day is not None:
        stops_at = standing.stops_at
        days = None if stops_at is None else max(0, (stops_at - now) // timedelta(days=1))
        return Pace(tokens_per_day=standing.tokens_per_day, days=days, stops_at=stops_at)
    tokens_per_day = -(-used_tokens // 7)
    left = max(0, standing.balance_tokens - standing.reserve_tokens)
    return Pace(tokens_per_day=tokens_per_day, days=left // tokens_per_day if tokens_per_day else None)


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    state: State | None = None
    search: str = ""
    cursor: str | None = None

    @classmethod
    def of(cls, query: QueryParams) -> _Asked:
        state = query.get("state")
        try:
            chosen = State(state) if state else None
        except ValueError:
            raise RequestInvalid("there is no such state", field="state") from None
        return cls(state=chosen, search=query.get("find", "").strip(), cursor=query.get("after"))

    def link(self, **changes: str | None) -> str:
        """Return the address of this list with some of it changed."""
        now = {"state": self.state.value if self.state else None, "find": self.search or None, "after": self.cursor}
        query = {name: value for name, value in (now | changes).items() if value is not None}
        return f"/admin?{urlencode(query)}" if query else "/admin"


def read_organizations(visit: Visit) -> dict[str, Any]:
    """Return what the list of organizations shows, from two or three reads however many there are."""
    frame = frame_of(visit, None)
    directory = visit.console.suite.directory
    asked = _Asked.of(visit.request.query_params)
    page = directory.organizations(state=asked.state, search=asked.search, cursor=asked.cursor, limit=ORGANIZATIONS_A_PAGE)
    counts = directory.counts(search=asked.search)
    formats = frame["f"]
    unknown = [row.organization_id for row in page.items if row.tokens_per_day is None]
    used = directory.used(unknown, since=formats.midnight(7), until=formats.midnight(0)) if unknown else {}
    every = StateTab(state=None, count=sum(counts.values()), is_current=asked.state is None)
    tabs = (StateTab(state=state, count=count, is_current=state is asked.state) for state, count in counts.items())
    return frame | {
        "rows": page.items,
        "pace": {row.organization_id: pace_of(row, used.get(row.organization_id, 0), formats.now) for row in page.items},
        "cursor": page.next_cursor,
        "is_first_page": asked.cursor is None,
        "tabs": (every, *tabs),
        "search": asked.search,
        "state": asked.state,
        "link": asked.link,
    }


ROUTES = [Route("/admin", reads("admin", read_organizations))]
