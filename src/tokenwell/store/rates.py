"""Rates in their table: dated, by model, for the whole platform."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, select

from tokenwell.core.acts import act_detail
from tokenwell.core.happenings import PLATFORM, Act, Actor
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.core.rates import Rate
from tokenwell.store import schema
from tokenwell.store.happenings import append_act
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

_rate = schema.rate


def set_rate(engine: sqlalchemy.Engine, rate: Rate, *, now: datetime, by: Actor | None, act_id: str) -> None:
    """Set a rate from its date on; the same model and date again replaces it. Done `by` somebody, an act of theirs is kept."""
    key = (_rate.c.model == rate.model, _rate.c.effective_at == to_micros(rate.effective_at))
    with transaction(engine) as connection:
        before = connection.execute(select(_rate).where(*key)).one_or_none()
        connection.execute(_rate.delete().where(*key))
        _insert(connection, rate)
        if by is not None:
            old = None if before is None else _pools(_from(before))
            append_act(connection, act_id, _act(rate.model, "rate.set", now, by, before=old, after=_pools(rate)))


def add_rates(engine: sqlalchemy.Engine, rates: Sequence[Rate], *, now: datetime, by: Actor | None, act_id: str) -> list[Rate]:
    """Add those rates whose model has none of the same date, in one transaction, and return them. None that is there is changed."""
    with transaction(engine) as connection:
        known = {(row[0], row[1]) for row in connection.execute(select(_rate.c.model, _rate.c.effective_at))}
        added = [rate for rate in rates if (rate.model, to_micros(rate.effective_at)) not in known]
        for rate in added:
            _insert(connection, rate)
        if added and by is not None:
            after: dict[str, object] = {"rates": [{"model": rate.model, **_pools(rate)} for rate in added]}
            append_act(connection, act_id, _act("", "rates.import", now, by, before=None, after=after))
    return added


def rates(engine: sqlalchemy.Engine) -> tuple[Rate, ...]:
    """Return every rate ever set, by model and date."""
    with reading(engine) as connection:
        rows = connection.execute(select(_rate).order_by(_rate.c.model, _rate.c.effective_at)).all()
    return tuple(_from(row) for row in rows)


def _insert(connection: Connection, rate: Rate) -> None:
    connection.execute(
        _rate.insert().values(
            model=rate.model,
            effective_at=to_micros(rate.effective_at),
            input_millionths=rate.input_millionths,
            cache_read_millionths=rate.cache_read_millionths,
            cache_write_millionths=rate.cache_write_millionths,
            output_millionths=rate.output_millionths,
            reasoning_millionths=rate.reasoning_millionths,
        )
    )


def _from(row: Sequence[Any]) -> Rate:
    return Rate(
        model=row[0],
        effective_at=from_micros(row[1]),
        input_millionths=row[2],
        cache_read_millionths=row[3],
        cache_write_millionths=row[4],
        output_millionths=row[5],
        reasoning_millionths=row[6],
    )


def _pools(rate: Rate) -> dict[str, object]:
    names = ("input", "cache_read", "cache_write", "output", "reasoning")
    pools = {f"{name}_millionths": millionths for name, millionths in zip(names, rate.pools(), strict=True)}
    return {"effective_at": rate.effective_at, **pools}


def _act(subject: str, action: str, now: datetime, by: Actor, *, before: dict[str, object] | None, after: dict[str, object]) -> Act:
    return Act(
        organization_id=PLATFORM,
        at=now,
        actor=by,
        action=action,
        subject=subject,
        before=act_detail(before),
        after=act_detail(after),
    )
