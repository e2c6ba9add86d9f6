"""Retention: events go where a setting says so and when nobody is told of them any more; the journal and the audit log stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from tests.doubles import FrozenClock
from tokenwell.core.happenings import SYSTEM
from tokenwell.core.instants import to_micros
from tokenwell.service.jobs import Turn
from tokenwell.service.meter import Meter
from tokenwell.service.retention import DELIVERIES_KEPT, delete_old
from tokenwell.store import schema
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

KEPT = timedelta(days=30)


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with an organization that was granted a pack: an event, an act and a line."""
    with Meter(database_url, clock=clock) as opened:
        opened.create_organization("acme")
        opened.grant("acme", "1M", key="first", by=SYSTEM)
        yield opened


def counts(meter: Meter) -> dict[str, int]:
    """Return how many events, acts and lines there are."""
    tables = {"events": schema.event, "acts": schema.act, "lines": schema.entry}
    with reading(meter.engine) as connection:
        return {name: connection.execute(select(func.count()).select_from(table)).scalar_one() for name, table in tables.items()}


def tell(meter: Meter) -> None:
    """Note that everybody was told of the events."""
    with transaction(meter.engine) as connection:
        connection.execute(update(schema.event).values(dispatched_at=to_micros(meter.clock())))


async def test_events_are_kept_as_long_as_it_is_said(meter: Meter, clock: FrozenClock) -> None:
    tell(meter)
    before = counts(meter)
    assert before["events"] > 0
    clock.advance(KEPT)
    delete_old(meter.engine, Turn(clock), events_kept=KEPT)
    assert counts(meter) == before
    clock.advance(timedelta(seconds=1))
    delete_old(meter.engine, Turn(clock), events_kept=KEPT)
    assert counts(meter) == before | {"events": 0}


async def test_events_are_kept_for_ever_where_nothing_is_said(meter: Meter, clock: FrozenClock) -> None:
    tell(meter)
    before = counts(meter)
    clock.advance(timedelta(days=36_600))
    delete_old(meter.engine, Turn(clock))
    assert counts(meter) == before


async def test_an_event_that_somebody_is_to_be_told_of_stays(meter: Meter, clock: FrozenClock) -> None:
    before = counts(meter)
    clock.advance(KEPT * 2)
    delete_old(meter.engine, Turn(clock), events_kept=KEPT)
    assert counts(meter) == before


async def test_an_event_stays_as_long_as_a_delivery_of_it(meter: Meter, clock: FrozenClock) -> None:
    tell(meter)
    before = counts(meter)
    with transaction(meter.engine) as connection:
        event_ids = [row[0] for row in connection.execute(select(schema.event.c.event_id))]
        for number, event_id in enumerate(event_ids):
            values = dict.fromkeys((column.name for column in schema.delivery.c if not column.nullable), 0)
            texts = {"organization_id": "acme", "delivery_id": f"dlv_{number}", "event_id": event_id, "status": "delivered"}
            named = {column.name: "" for column in schema.delivery.c if not column.nullable and column.type.python_type is str}
            values |= named | texts | {"finished_at": to_micros(clock())}
            connection.execute(insert(schema.delivery).values(values))
    clock.advance(DELIVERIES_KEPT)
    delete_old(meter.engine, Turn(clock), events_kept=KEPT)
    assert counts(meter) == before
    clock.advance(timedelta(seconds=1))
    delete_old(meter.engine, Turn(clock), events_kept=KEPT)
    assert counts(meter)["events"] == 0
