"""Rehearsing: what an organization's last weeks would have been under other thresholds and lanes, before anybody sets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import chain

import sqlalchemy
from sqlalchemy import Connection

from tokenwell.core.health import Lane, Thresholds
from tokenwell.core.journal import Entry
from tokenwell.core.rehearsal import Policy, Rehearsal, Rehearsed
from tokenwell.errors import RequestInvalid
from tokenwell.service.ports import Clock
from tokenwell.store import reader
from tokenwell.store.reader import reading
from tokenwell.store.records import history

_CHUNK = 2_000


class Rehearsing:
    """Rehearses policies on the journals of one database; reads only."""

    def __init__(self, engine: sqlalchemy.Engine, *, platform: Thresholds, clock: Clock) -> None:
        self._engine = engine
        self._platform = platform
        self._clock = clock

    def rehearse(
        self,
        organization_id: str,
        *,
        since: datetime,
        thresholds: Thresholds | None = None,
        lanes: Mapping[str, Lane] | None = None,
        progress: Callable[[int], None] = lambda lines: None,
    ) -> Rehearsed:
        """Decide everything since an instant once more, under `thresholds` (None: the present ones) and `lanes` (by service's id).

        A journal of a million lines takes about half a minute; `progress` is told the lines done so far. Raises
        OrganizationNotFound, RequestInvalid for an instant that is not in the past.
        """
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            now = max(self._clock(), account.last_at)
            if since >= now:
                raise RequestInvalid("a rehearsal begins in the past", field="since")
            policy = Policy(thresholds=thresholds or account.own_thresholds or self._platform, lanes=lanes or {})
            totals = history.totals_at(connection, account, since)
            rehearsal = Rehearsal(
                organization_id,
                history.packs_at(connection, account, since),
                seq=totals.seq,
                since=since,
                overage_tokens=totals.overage_tokens,
                policy=policy,
            )
            done = 0
            for lines in _commands(chain.from_iterable(_chunks(connection, organization_id, totals.seq))):
                rehearsal.take(lines)
                done += len(lines)
                progress(done)
        return rehearsal.result(now)


def _chunks(connection: Connection, organization_id: str, seq: int) -> Iterator[list[Entry]]:
    while lines := reader.lines(connection, organization_id, after=seq, limit=_CHUNK):
        seq = lines[-1].seq
        yield lines


def _commands(lines: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Give the lines of each command together."""
    for first in lines:
        yield [first, *(next(lines) for _ in range(first.parts - 1))]
