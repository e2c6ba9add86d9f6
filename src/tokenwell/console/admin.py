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

ORGANIZATIONS_A_PAGE = 25


class StateTab(msgspec.Struct, frozen=True, kw_only=True):
    """One filter of the list; `state` None shows all."""

    state: State | None
    count: int
    is_current: bool


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
    """Return what the list of organizations shows, from two reads however many there are."""
    frame = frame_of(visit, None)
    directory = visit.console.suite.directory
    asked = _Asked.of(visit.request.query_params)
    page = directory.organizations(state=asked.state, search=asked.search, cursor=asked.cursor, limit=ORGANIZATIONS_A_PAGE)
    counts = directory.counts(search=asked.search)
    every = StateTab(state=None, count=sum(counts.values()), is_current=asked.state is None)
    tabs = (StateTab(state=state, count=count, is_current=state is asked.state) for state, count in counts.items())
    return frame | {
        "rows": page.items,
        "cursor": page.next_cursor,
        "is_first_page": asked.cursor is None,
        "tabs": (every, *tabs),
        "search": asked.search,
        "state": asked.state,
        "link": asked.link,
    }


ROUTES = [Route("/admin", reads("admin", read_organizations))]
