"""The directory: every organization with how it stands, those in need first, for the people who run the platform."""

from __future__ import annotations

import msgspec
import sqlalchemy

from tokenwell.core.health import State, Thresholds
from tokenwell.core.identifiers import is_organization_id
from tokenwell.errors import RequestInvalid
from tokenwell.service.ports import Clock, Page
from tokenwell.service.reading import CURSOR_INVALID, PAGE_LIMIT
from tokenwell.store import directory as store
from tokenwell.store.reader import reading

SEARCH_LIMIT = 100
_STATES = {store.STOPPED: State.AI_STOPPED, store.LOW: State.RUNNING_LOW, store.NORMAL: State.NORMAL}
_URGENCIES = {state: urgency for urgency, state in _STATES.items()}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An organization as it stands now. `pack_count` are the packs it was ever granted."""

    organization_id: str
    name: str
    state: State
    balance_tokens: int
    held_tokens: int
    overage_tokens: int
    warning_tokens: int
    reserve_tokens: int
    active_packs: int
    pack_count: int


class Directory:
    """Reads all organizations at once. Its methods block: an event loop calls them in a thread."""

    def __init__(self, engine: sqlalchemy.Engine, *, platform: Thresholds, clock: Clock) -> None:
        self._engine = engine
        self._platform = platform
        self._clock = clock

    def organizations(
        self, *, state: State | None = None, search: str = "", cursor: str | None = None, limit: int = 50
    ) -> Page[Standing]:
        """Return organizations: those whose AI is stopped first, then those that are running low, within a state those that are
        the nearest to the minimum reserve. `search` is a part of their name or id. Raises RequestInvalid."""
        if type(limit) is not int or not 1 <= limit <= PAGE_LIMIT:
            raise RequestInvalid(f"limit must be between 1 and {PAGE_LIMIT}", field="limit")
        with reading(self._engine) as connection:
            rows = store.organizations(
                connection,
                now=self._clock(),
                platform=self._platform,
                urgency=None if state is None else _URGENCIES[state],
                search=_searched(search),
                after=_after(cursor),
                limit=limit + 1,
            )
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(
            tuple(_standing(row) for row in rows[:limit]),
            f"{last.urgency}.{last.margin_tokens}.{last.organization_id}" if last is not None else None,
        )

    def counts(self, *, search: str = "") -> dict[State, int]:
        """Return how many organizations are in each state."""
        with reading(self._engine) as connection:
            found = store.counts(connection, now=self._clock(), platform=self._platform, search=_searched(search))
        return {state: found.get(urgency, 0) for urgency, state in _STATES.items()}


def _standing(row: sqlalchemy.Row[tuple[object, ...]]) -> Standing:
    values = row._mapping
    taken = {name: values[name] for name in Standing.__struct_fields__ if name != "state"}
    return Standing(state=_STATES[values["urgency"]], **taken)


def _searched(search: str) -> str:
    text = search.strip()
    if len(text) > SEARCH_LIMIT or "\x00" in text or not text.isprintable():
        raise RequestInvalid(f"what is searched has at most {SEARCH_LIMIT} characters", field="search")
    return text


def _after(cursor: str | None) -> tuple[int, int, str] | None:
    if cursor is None:
        return None
    urgency, _, rest = cursor.partition(".")
    margin, _, organization_id = rest.partition(".")
    try:
        after = int(urgency), int(margin), organization_id
    except ValueError:
        raise RequestInvalid(CURSOR_INVALID, field="cursor") from None
    if abs(after[0]) > 9 or abs(after[1]) >= 2**62 or not is_organization_id(organization_id):
        raise RequestInvalid(CURSOR_INVALID, field="cursor")
    return after
