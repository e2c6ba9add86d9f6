"""Series: usage cut into buckets and told apart by values, the largest first, the rest together; all of it sums up exactly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy

from tokenwell.core.account import Account
from tokenwell.service.records.buckets import Width
from tokenwell.service.records.pastdays import View
from tokenwell.service.shapes import UsageTotals
from tokenwell.store.records import browsing
from tokenwell.store.records.sessions import usage_by_session

SESSION_LINES = 50_000
"""How many lines of a range, the latest, are told apart by their sessions: no sum is kept for these."""


Table = dict[str, list[list[int]]]
"""By value: what each bucket comes to."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of one value of a dimension, bucket by bucket. `value` is empty where none was named, and for all the others
    together (`is_rest`)."""

    value: str
    is_rest: bool
    total: UsageTotals
    buckets: tuple[UsageTotals, ...]


class UsageBuckets(msgspec.Struct, frozen=True, kw_only=True):
    """Usage over [since, until): when each bucket begins, the sums of all, and the series, the largest first.

    Where it `is_partial`, only the latest SESSION_LINES lines are told apart, and the others are part of the rest.
    """

    since: datetime
    until: datetime
    zone: str
    width: Width
    starts: tuple[datetime, ...]
    total: UsageTotals
    buckets: tuple[UsageTotals, ...]
    series: tuple[Series, ...]
    is_partial: bool = False


def by_session(
    connection: sqlalchemy.Connection, account: Account, view: View, since: datetime, until: datetime, left: int
) -> tuple[Sequence[Any], int]:
    """Return the sums of sessions in [since, until), of the latest `left` lines, and how many are left; below 0 were there more."""
    after, upto = browsing.place_of(connection, account, since, until)
    if left <= 0 or upto <= after:
        return [], left if upto <= after else -1
    rows = usage_by_session(
        connection,
        view.organization_id,
        after=max(after, upto - left),
        upto=upto,
        offset_micros=view.offset_micros,
        width_micros=view.width_micros,
        only=dict(view.only),
    )
    return rows, left - (upto - after)


def told_apart(whole: UsageBuckets, named: Table, limit: int, *, is_partial: bool) -> UsageBuckets:
    """Return usage with the series of the largest sessions, and of all that is left of the whole."""
    order = sorted(named, key=lambda value: (-_summed(named[value])[0], value))[:limit]
    series = [(value, False, named[value]) for value in order]
    kept = [_summed([named[value][number] for value in order]) for number in range(len(whole.starts))]
    columns = [[getattr(bucket, name) for name in UsageTotals.__struct_fields__] for bucket in whole.buckets]
    rest = [[all_of - part for all_of, part in zip(cells, told, strict=True)] for cells, told in zip(columns, kept, strict=True)]
    if any(map(any, rest)):
        series.append(("", True, rest))
    return msgspec.structs.replace(whole, series=_series(series), is_partial=is_partial)


def _totals(numbers: list[int]) -> UsageTotals:
    return UsageTotals(**dict(zip(UsageTotals.__struct_fields__, numbers, strict=True)))


def _summed(rows: list[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * 6


def buckets_of(
    since: datetime,
    until: datetime,
    zone: str,
    width: Width,
    starts: list[datetime],
    table: Table,
    limit: int,
) -> UsageBuckets:
    """Return usage with the series of the `limit` largest values of a table, and of the rest; without series for a limit of 0."""
    whole = [_summed([cells[number] for cells in table.values()]) for number in range(len(starts))]
    order = sorted(table, key=lambda value: (-_summed(table[value])[0], value)) if limit else []
    kept, rest = order[:limit], order[limit:]
    series = [(value, False, table[value]) for value in kept]
    if rest and limit:
        series.append(("", True, [_summed([table[value][number] for value in rest]) for number in range(len(starts))]))
    return UsageBuckets(
        since=since,
        until=until,
        zone=zone,
        width=width,
        starts=tuple(starts),
        total=_totals(_summed(whole)),
        buckets=tuple(map(_totals, whole)),
        series=_series(series),
    )


def _series(told: list[tuple[str, bool, list[list[int]]]]) -> tuple[Series, ...]:
    return tuple(
        Series(value=value, is_rest=is_rest, total=_totals(_summed(cells)), buckets=tuple(map(_totals, cells)))
        for value, is_rest, cells in told
    )
