"""The platform's first page: every organization, those in need first."""

from __future__ import annotations

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
    """What an organization uses a day, by the last seven whole days, and for how many days its balance lasts at that rate, rounded
    down; None where nothing is used. Packs that expire are left out: the organization's own page walks through them."""

    tokens_per_day: int
    days: int | None


def pace_of(standing: Standing, used_tokens: int) -> Pace:
    """Return the pace of an organization that used so much in a week."""
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
    """Return what the list of organizations shows, from three reads however many there are."""
    frame = frame_of(visit, None)
    directory = visit.console.suite.directory
    asked = _Asked.of(visit.request.query_params)
    page = directory.organizations(state=asked.state, search=asked.search, cursor=asked.cursor, limit=ORGANIZATIONS_A_PAGE)
    counts = directory.counts(search=asked.search)
    formats = frame["f"]
    names = [row.organization_id for row in page.items]
    used = directory.used(names, since=formats.midnight(7), until=formats.midnight(0))
    every = StateTab(state=None, count=sum(counts.values()), is_current=asked.state is None)
    tabs = (StateTab(state=state, count=count, is_current=state is asked.state) for state, count in counts.items())
    return frame | {
        "rows": page.items,
        "pace": {row.organization_id: pace_of(row, used.get(row.organization_id, 0)) for row in page.items},
        "cursor": page.next_cursor,
        "is_first_page": asked.cursor is None,
        "tabs": (every, *tabs),
        "search": asked.search,
        "state": asked.state,
        "link": asked.link,
    }


ROUTES = [Route("/admin", reads("admin", read_organizations))]
