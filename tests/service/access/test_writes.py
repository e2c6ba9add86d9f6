"""Writes of the API: begun once under a key, answered as the first time, forgotten where refused; on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.errors import IdempotencyConflict, StoreBusy
from tokenwell.service.access.writes import LEASE, FirstAnswer, Writes
from tokenwell.service.jobs import Turn
from tokenwell.service.meter import Meter
from tokenwell.service.retention import WRITES_KEPT, delete_old
from tokenwell.store.reader import reading

GIVEN = {"operation": "change_service", "service_id": "support", "name": "Help"}
DONE = FirstAnswer(status=200, content=b'{"name":"Help"}')


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        yield opened


@pytest.fixture
def writes(meter: Meter) -> Writes:
    """The writes."""
    return Writes(meter.engine, meter.clock)


def rows(meter: Meter) -> list[tuple[object, ...]]:
    """Return what is stored."""
    with reading(meter.engine) as connection:
        return [tuple(row) for row in connection.execute(sqlalchemy.text("SELECT * FROM api_write"))]


def test_a_write_that_was_done_is_answered_as_the_first_time(writes: Writes) -> None:
    assert writes.begin("acme", "k", GIVEN) is None
    writes.close("acme", "k", DONE)
    writes.close("acme", "k", FirstAnswer(status=200, content=b"later"))
    assert writes.begin("acme", "k", GIVEN) == DONE
    assert writes.begin("globex", "k", GIVEN | {"name": "Theirs"}) is None


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"name": "Desk"}, "name"), ({"service_id": "sales"}, "service_id"), ({"lane": None}, "lane"),
        ({"operation": "disable_service", "name": "Desk"}, "operation"),
    ],
)  # fmt: skip
def test_other_input_under_a_key_is_a_conflict_that_names_the_field(writes: Writes, other: dict[str, object], field: str) -> None:
    writes.begin("acme", "k", GIVEN)
    for _ in range(2):
        with pytest.raises(IdempotencyConflict) as caught:
            writes.begin("acme", "k", GIVEN | other)
        assert caught.value.details["field"] == field
        writes.close("acme", "k", DONE)


def test_a_write_that_was_refused_is_forgotten_and_one_that_was_done_is_not(writes: Writes) -> None:
    writes.begin("acme", "k", GIVEN)
    writes.forget("acme", "k")
    assert writes.begin("acme", "k", GIVEN | {"name": "Desk"}) is None
    writes.close("acme", "k", DONE)
    writes.forget("acme", "k")
    assert writes.begin("acme", "k", GIVEN | {"name": "Desk"}) == DONE


def test_of_those_that_begin_at_once_with_other_input_one_goes_on(writes: Writes) -> None:
    ready, outcomes = threading.Barrier(6), list[object]()

    def begin(number: int) -> None:
        ready.wait()
        try:
            outcomes.append(writes.begin("acme", "k", GIVEN | {"name": f"N{number}"}))
        except IdempotencyConflict as conflict:
            outcomes.append(conflict.details["field"])

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [None, *["name"] * 5]


def test_the_same_write_waits_while_it_is_under_way_and_goes_on_once_it_is_left(writes: Writes, clock: FrozenClock) -> None:
    writes.begin("acme", "k", GIVEN)
    clock.advance(LEASE - timedelta(microseconds=1))
    with pytest.raises(StoreBusy):
        writes.begin("acme", "k", GIVEN)
    clock.advance(timedelta(microseconds=1))
    with pytest.raises(IdempotencyConflict):
        writes.begin("acme", "k", GIVEN | {"name": "Desk"})
    assert writes.begin("acme", "k", GIVEN) is None
    with pytest.raises(StoreBusy):
        writes.begin("acme", "k", GIVEN)
    writes.close("acme", "k", DONE)
    assert writes.begin("acme", "k", GIVEN) == DONE


def test_what_was_given_is_not_to_be_read(writes: Writes, meter: Meter) -> None:
    for key in ("k", "l"):
        writes.begin("acme", key, GIVEN | {"code": "ABCDE-FGHJK"})
    (first, second) = rows(meter)
    assert "ABCDE" not in str(first)
    assert str(GIVEN["service_id"]) not in str(first)
    assert first[2] != second[2]


def test_answers_are_kept_for_ninety_days(writes: Writes, meter: Meter, clock: FrozenClock) -> None:
    writes.begin("acme", "old", GIVEN)
    clock.advance(timedelta(seconds=1))
    writes.begin("acme", "new", GIVEN)
    clock.advance(WRITES_KEPT - timedelta(seconds=1))
    delete_old(meter.engine, Turn(clock))
    assert len(rows(meter)) == 2
    clock.advance(timedelta(seconds=1))
    delete_old(meter.engine, Turn(clock))
    assert len(rows(meter)) == 1
