"""Past days: what days that are over came to, remembered.

A line is never dated before the one it follows, so that the rollups before the last line's are final: what was read of them once is
exact for ever.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from tokenwell.store.rows import Row, bucket_of

DAY_MICROS = 86_400_000_000

ROWS_KEPT = 100_000
"""How many rows are remembered; those of the views that were asked for the longest ago are forgotten first."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What usage is looked at as: whose, by the clock of which offset, in buckets of which width, told apart and filtered how."""

    organization_id: str
    offset_micros: int
    width_micros: int
    dimension: str | None = None
    only: tuple[tuple[str, str], ...] = ()


Read = Callable[[int, int], Sequence[Row]]
"""Reads the rows of a view in [since, until), in microseconds; the first column of each is the number of its bucket."""


class PastDays:
    """Rows of usage by view and day. Safe to use from several threads."""

    def __init__(self, rows_kept: int = ROWS_KEPT) -> None:
        self._rows_kept = rows_kept
        self._views: OrderedDict[View, dict[int, list[Row]]] = OrderedDict()
        self._rows = 0
        self._lock = threading.Lock()

    def rows(self, view: View, since: int, until: int, *, last_at: int, read: Read) -> list[Row]:
        """Return the rows of a view in [since, until): of days that are over at `last_at`, the instant of the organization's last
        line, as they were read before; the others are read now."""
        first = -(-(since + view.offset_micros) // DAY_MICROS)
        over = (min(bucket_of(last_at), until) + view.offset_micros) // DAY_MICROS
        if over <= first:
            return list(read(since, until))
        found: list[Row] = []
        begin = first * DAY_MICROS - view.offset_micros
        if since < begin:
            found += read(since, begin)
        known, missing = self._known(view, first, over)
        found += known
        rest = missing * DAY_MICROS - view.offset_micros
        if rest < until:
            fresh = read(rest, until)
            found += fresh
            self._keep(view, missing, over, fresh)
        return found

    def _known(self, view: View, first: int, over: int) -> tuple[list[Row], int]:
        """Return the rows of the days from `first` on, up to the first that is not remembered, and that day."""
        with self._lock:
            days = self._views.get(view)
            if days is None:
                return [], first
            self._views.move_to_end(view)
            found: list[Row] = []
            for day in range(first, over):
                if day not in days:
                    return found, day
                found += days[day]
            return found, over

    def _keep(self, view: View, first: int, over: int, rows: Sequence[Row]) -> None:
        """Remember the days from `first` to before `over`."""
        kept: dict[int, list[Row]] = {day: [] for day in range(first, over)}
        for row in rows:
            day = row[0] * view.width_micros // DAY_MICROS
            if day in kept:
                kept[day].append(row)
        with self._lock:
            days = self._views.setdefault(view, {})
            for day, its_rows in kept.items():
                if day not in days:
                    days[day] = its_rows
                    self._rows += 1 + len(its_rows)
            while self._rows > self._rows_kept and self._views:
                _, forgotten = self._views.popitem(last=False)
                self._rows -= sum(1 + len(its_rows) for its_rows in forgotten.values())
