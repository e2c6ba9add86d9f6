"""The directory: every organization with how it stands, those in need first, for the people who run the platform."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy

from tokenwell.core.health import State, Thresholds
from tokenwell.core.identifiers import decode_id, is_organization_id
from tokenwell.core.instants import NEVER_MICROS, from_micros, to_micros, to_utc
from tokenwell.core.packs import Pack
from tokenwell.errors import RequestInvalid
from tokenwell.service.pages import CURSOR_INVALID, check_limit
from tokenwell.service.ports import Clock, Page
from tokenwell.service.shapes import UsageTotals
from tokenwell.store.reader import reading
from tokenwell.store.records import directory as store
from tokenwell.store.rows import BUCKET_MICROS

SEARCH_LIMIT = 100

COUNTED = 1_000
"""Up to how many new lines are counted."""

_STATES = {store.STOPPED: State.AI_STOPPED, store.LOW: State.RUNNING_LOW, store.NORMAL: State.NORMAL}
_URGENCIES = {state: urgency for urgency, state in _STATES.items()}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An organization as it stands now. `pack_count` are the packs it was ever granted.

    `stops_at` and `tokens_per_day` are those of its last outlook: without `tokens_per_day` it has none yet, without `stops_at` no
    stop is in sight.
    """

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
    stops_at: datetime | None = None
    tokens_per_day: int | None = None


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """What an open page has to know of its organization: whether anything was written, how it stands, and its newest event."""

    seq: int
    balance_tokens: int
    held_tokens: int
    state: State
    event_id: str = ""


class GrantLine(msgspec.Struct, frozen=True, kw_only=True):
    """A pack with the name of the organization it was granted to."""

    pack: Pack
    organization_name: str


class UsageOf(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization used in a range of time."""

    organization_id: str
    name: str
    total: UsageTotals


class UsageOfAll(msgspec.Struct, frozen=True, kw_only=True):
    """What some organizations used together in a range of time."""

    organizations: int
    total: UsageTotals


class Directory:
    """Reads all organizations at once. Its methods block: an event loop calls them in a thread."""

    def __init__(self, engine: sqlalchemy.Engine, *, platform: Thresholds, clock: Clock) -> None:
        self._engine = engine
        self._platform = platform
        self._clock = clock

    def organizations(
        self, *, state: State | None = None, search: str = "", cursor: str | None = None, limit: int = 50
    ) -> Page[Standing]:
        """Return organizations: those whose AI is stopped first, then those whose AI stops the soonest by their last outlook, then
        the others by how near they are to the minimum reserve. `search` is a part of name or id. Raises RequestInvalid."""
        check_limit(limit)
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
            f"{last.stops_key}.{last.margin_tokens}.{last.organization_id}" if last is not None else None,
        )

    def pulses(self, organization_ids: Sequence[str]) -> dict[str, Pulse]:
        """Return how each of these organizations stands now, from one short statement."""
        with reading(self._engine) as connection:
            rows = store.pulses(connection, now=self._clock(), platform=self._platform, organization_ids=organization_ids)
        return {
            row.organization_id: Pulse(
                seq=row.seq,
                balance_tokens=row.balance_tokens,
                held_tokens=row.held_tokens,
                state=_STATES[row.urgency],
                event_id=row.event_id or "",
            )
            for row in rows
        }

    def lines_since(self, organization_id: str, seq: int) -> int:
        """Return how many ledger lines were written after line `seq`, at most COUNTED."""
        with reading(self._engine, organization_id) as connection:
            return store.lines_since(connection, organization_id, seq, COUNTED)

    def grants(self, *, cursor: str | None = None, limit: int = 50) -> Page[GrantLine]:
        """Return the packs of every organization, the latest grant first. Raises RequestInvalid."""
        check_limit(limit)
        if cursor is not None:
            try:
                decode_id(cursor)
            except ValueError:
                raise RequestInvalid(CURSOR_INVALID, field="cursor") from None
        with reading(self._engine) as connection:
            rows = store.grants(connection, before=cursor, limit=limit + 1)
        items = tuple(GrantLine(pack=pack, organization_name=name) for pack, name in rows[:limit])
        return Page(items, items[-1].pack.id if len(rows) > limit else None)

    def usage(
        self, *, since: datetime, until: datetime, search: str = "", cursor: str | None = None, limit: int = 25
    ) -> Page[UsageOf]:
        """Return what organizations used in [since, until), both on quarters of an hour, by their ids. Raises RequestInvalid."""
        check_limit(limit)
        if cursor is not None and not is_organization_id(cursor):
            raise RequestInvalid(CURSOR_INVALID, field="cursor")
        since_micros, until_micros = _quarters(since, until)
        with reading(self._engine) as connection:
            rows = store.usage(
                connection,
                since_micros=since_micros,
                until_micros=until_micros,
                search=_searched(search),
                after=cursor or "",
                limit=limit + 1,
            )
        items = tuple(_usage_of(row) for row in rows[:limit])
        return Page(items, items[-1].organization_id if len(rows) > limit else None)

    def usage_total(self, *, since: datetime, until: datetime, search: str = "") -> UsageOfAll:
        """Return what all organizations that are searched for used together in [since, until). Raises RequestInvalid."""
        since_micros, until_micros = _quarters(since, until)
        with reading(self._engine) as connection:
            row = store.usage_total(connection, since_micros=since_micros, until_micros=until_micros, search=_searched(search))
        return UsageOfAll(organizations=int(row.organizations), total=_totals_of(row))

    def names(self, organization_ids: Iterable[str]) -> dict[str, str]:
        """Return the names of some organizations, from one statement."""
        with reading(self._engine) as connection:
            return store.names(connection, sorted(set(organization_ids)))

    def used(self, organization_ids: Sequence[str], *, since: datetime, until: datetime) -> dict[str, int]:
        """Return what each of these organizations used in [since, until), both on quarters of an hour, from one statement."""
        since_micros, until_micros = to_micros(to_utc(since, field="since")), to_micros(to_utc(until, field="until"))
        with reading(self._engine) as connection:
            return store.used(connection, organization_ids, since_micros=since_micros, until_micros=until_micros)

    def counts(self, *, search: str = "") -> dict[State, int]:
        """Return how many organizations are in each state."""
        with reading(self._engine) as connection:
            found = store.counts(connection, now=self._clock(), platform=self._platform, search=_searched(search))
        return {state: found.get(urgency, 0) for urgency, state in _STATES.items()}


def _standing(row: sqlalchemy.Row[tuple[object, ...]]) -> Standing:
    values = row._mapping
    reckoned = ("state", "stops_at", "tokens_per_day")
    taken = {name: values[name] for name in Standing.__struct_fields__ if name not in reckoned}
    stops = values["stops_micros"]
    return Standing(
        state=_STATES[values["urgency"]],
        stops_at=None if stops == NEVER_MICROS else from_micros(stops),
        tokens_per_day=values["outlook_per_day"],
        **taken,
    )


def _usage_of(row: sqlalchemy.Row[Any]) -> UsageOf:
    return UsageOf(organization_id=row.organization_id, name=row.name, total=_totals_of(row))


def _totals_of(row: sqlalchemy.Row[Any]) -> UsageTotals:
    return UsageTotals(**{name: int(getattr(row, name)) for name in UsageTotals.__struct_fields__})


def _quarters(since: datetime, until: datetime) -> tuple[int, int]:
    since_micros, until_micros = to_micros(to_utc(since, field="since")), to_micros(to_utc(until, field="until"))
    if since_micros % BUCKET_MICROS or until_micros % BUCKET_MICROS or not since < until:
        raise RequestInvalid("usage is summed by quarters of an hour", field="since")
    return since_micros, until_micros


def _searched(search: str) -> str:
    text = search.strip()
    if len(text) > SEARCH_LIMIT or "\x00" in text or not text.isprintable():
        raise RequestInvalid(f"what is searched has at most {SEARCH_LIMIT} characters", field="search")
    return text


def _after(cursor: str | None) -> tuple[int, int, str] | None:
    if cursor is None:
        return None
    stops, _, rest = cursor.partition(".")
    margin, _, organization_id = rest.partition(".")
    try:
        after = int(stops), int(margin), organization_id
    except ValueError:
        raise RequestInvalid(CURSOR_INVALID, field="cursor") from None
    if not 0 <= after[0] <= NEVER_MICROS or abs(after[1]) >= 2**62 or not is_organization_id(organization_id):
        raise RequestInvalid(CURSOR_INVALID, field="cursor")
    return after
