"""Outlooks: the forecast of every organization, kept, so that all of them can be put in order by when their AI stops.

An outlook is as old as its last turn: organizations with a new pack come first, those that were used after a quarter of an hour,
the others a few times a day. It orders lists and says when about; an organization's own page reckons anew.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from tokenwell.errors import OrganizationNotFound
from tokenwell.service.meter import Meter
from tokenwell.store.reader import reading
from tokenwell.store.records import outlooks as store
from tokenwell.store.records.outlooks import Due, Outlook
from tokenwell.store.writer import transaction

CHANGED_AGE = timedelta(minutes=15)
"""How old the outlook of an organization that is used becomes."""

AGE = timedelta(hours=6)
"""How old any outlook becomes."""

AT_ONCE = 100
"""How many outlooks are written in one transaction."""


class _Turn(Protocol):
    @property
    def is_over(self) -> bool:
        """Whether to leave off."""


class Outlooks:
    """The outlooks in the meter's database."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def refresh(self, turn: _Turn | None = None) -> int:
        """Write anew what is due; returns how many outlooks were written. Raises StoreError."""
        written = 0
        while turn is None or not turn.is_over:
            now = self._meter.clock()
            with reading(self._meter.engine) as connection:
                found = store.due(connection, now=now, changed_before=now - CHANGED_AGE, before=now - AGE, limit=AT_ONCE)
            outlooks = [outlook for each in found if (outlook := self._outlook(each)) is not None]
            if not outlooks:
                break
            with transaction(self._meter.engine) as connection:
                for outlook in outlooks:
                    store.put(connection, outlook)
            written += len(outlooks)
            if len(found) < AT_ONCE:
                break
        return written

    def _outlook(self, due: Due) -> Outlook | None:
        now = self._meter.clock()
        try:
            told = self._meter.forecast(due.organization_id)
        except OrganizationNotFound:
            return None
        return Outlook(
            organization_id=due.organization_id,
            at=now,
            version=due.version,
            pack_count=due.pack_count,
            stops_at=None if told is None else told.expected.ai_stops_at,
            tokens_per_day=0 if told is None else told.tokens_per_day,
        )
