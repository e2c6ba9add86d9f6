"""Packs that will expire unused, unusual use and books that do not add up are told of: once, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from tests.databases import tenant_role_on
from tests.doubles import START, FrozenClock
from tokenwell import Meter, Thresholds
from tokenwell.core.happenings import EventKind
from tokenwell.core.unusual import Day, unusual
from tokenwell.errors import InvariantBroken
from tokenwell.service.jobs import Turn
from tokenwell.service.notices.inbox import Inbox
from tokenwell.service.notices.watching import Watching
from tokenwell.store.schema import rollup
from tokenwell.store.writer import transaction

DAY = timedelta(days=1)


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with one organization."""
    with Meter(database_url, clock=clock, thresholds=Thresholds(0, 0), tenant_role=tenant_role_on(database_url)) as meter:
        meter.create_organization("acme")
        yield meter


def told(meter: Meter, kind: EventKind) -> list[dict[str, Any]]:
    """Return the details of the events of a kind, oldest first."""
    events = Inbox(meter.engine, meter.clock).history("acme", limit=500).items
    return [msgspec.json.decode(each.event.detail) for each in reversed(events) if each.event.kind is kind]


def test_a_pack_is_told_of_fourteen_three_and_one_days_before_it_expires(meter: Meter, clock: FrozenClock) -> None:
    watching = Watching(meter)
    meter.grant("acme", 1_000, key="a", expires_at=START + 20 * DAY)
    for _ in range(21 * 4):
        watching.expiring(Turn(clock))
        clock.advance(DAY / 4)
    stages = told(meter, EventKind.PACK_EXPIRING)
    assert [each["days"] for each in stages] == [14, 3, 1]
    assert {each["forfeit_tokens"] for each in stages} == {1_000}


def test_a_pack_that_was_granted_for_less_is_told_of_from_the_next_stage_on(meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 1_000, key="a", expires_at=START + 10 * DAY)
    assert Watching(meter).expiring(Turn(clock)) == 0
    clock.advance(8 * DAY)
    assert Watching(meter).expiring(Turn(clock)) == 1
    assert Watching(meter).expiring(Turn(clock)) == 0


def test_an_extended_pack_is_told_of_again(meter: Meter, clock: FrozenClock) -> None:
    pack = meter.grant("acme", 1_000, key="a", expires_at=START + 20 * DAY).pack
    clock.advance(19.5 * DAY)
    assert Watching(meter).expiring(Turn(clock)) == 1
    meter.extend("acme", pack.id, expires_at=START + 40 * DAY, key="b")
    assert Watching(meter).expiring(Turn(clock)) == 0
    clock.advance(20 * DAY)
    assert Watching(meter).expiring(Turn(clock)) == 1


def test_what_will_be_used_up_by_then_is_not_told(meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 10_000, key="a", expires_at=START + 30 * DAY)
    meter.grant("acme", 1_000_000, key="b", expires_at=START + 31 * DAY)
    for hour in range(20 * 4):
        meter.debit("acme", 90, key=f"d{hour}")
        clock.advance(timedelta(hours=6))
    assert Watching(meter).expiring(Turn(clock)) == 1
    (only,) = told(meter, EventKind.PACK_EXPIRING)
    assert only["pack_number"] == 2
    assert 0 < only["forfeit_tokens"] < 1_000_000


def test_unusual_use_is_told_once_a_day(meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 10_000_000, key="a")
    for day in range(10):
        meter.debit("acme", 5_000, key=f"d{day}")
        assert Watching(meter).unusual(Turn(clock)) == 0
        clock.advance(DAY)
    meter.debit("acme", 90_000, key="much")
    clock.advance(timedelta(minutes=20))
    assert Watching(meter).unusual(Turn(clock)) == 1
    assert Watching(meter).unusual(Turn(clock)) == 0
    assert told(meter, EventKind.USAGE_UNUSUAL) == [{"used_tokens": 90_000, "usual_tokens": 5_000, "date": "2027-02-10"}]


def test_only_the_same_time_of_earlier_days_is_compared_with(meter: Meter, clock: FrozenClock) -> None:
    """A batch that runs each evening says nothing about the morning."""
    meter.grant("acme", 10_000_000, key="a")
    for day in range(10):
        clock.now = START + day * DAY + timedelta(hours=10)
        meter.debit("acme", 90_000, key=f"evening{day}")
        assert Watching(meter).unusual(Turn(clock)) == 0
    clock.now = START + 10 * DAY
    meter.debit("acme", 80_000, key="morning")
    clock.advance(timedelta(minutes=20))
    assert Watching(meter).unusual(Turn(clock)) == 1


def test_books_are_verified_once_a_day_and_fail_where_they_do_not_add_up(meter: Meter, clock: FrozenClock) -> None:
    meter.create_organization("beta")
    meter.grant("beta", 1_000, key="a")
    meter.debit("beta", 10, key="b")
    assert Watching(meter).verify(Turn(clock)) == 2
    assert Watching(meter).verify(Turn(clock)) == 0
    with transaction(meter.engine) as connection:
        connection.execute(update(rollup).values(debited_tokens=11))
    clock.advance(DAY * 1.1)
    with pytest.raises(InvariantBroken, match="beta"):
        Watching(meter).verify(Turn(clock))


def test_a_turn_that_is_over_ends_the_verification(meter: Meter, clock: FrozenClock) -> None:
    turn = Turn(clock)
    turn.end()
    assert Watching(meter).verify(turn) == 0


@pytest.mark.parametrize(
    ("today", "past", "usual"),
    [
        (Day(0, 90_000), [Day(day % 7, 5_000) for day in range(6)], None),  # too little history
        (Day(0, 90_000), [Day(day % 7, 5_000) for day in range(7)], 5_000),
        (Day(0, 14_000), [Day(day % 7, 1_000) for day in range(28)], 1_000),
        (Day(0, 10_999), [Day(day % 7, 1_000) for day in range(28)], None),  # not so much more
        (Day(0, 40_000), [Day(day % 7, 20_000) for day in range(28)], None),  # not so many times as much
        (Day(0, 90_000), [*(Day(day % 7, 5_000) for day in range(27)), Day(1, 80_000)], None),  # it was nearly so once
        (Day(6, 20_000), [Day(day % 7, 50_000 if day % 7 < 5 else 0) for day in range(28)], None),  # weekdays are seen as well
        (Day(6, 80_000), [Day(day % 7, 50_000 if day % 7 < 5 else 0) for day in range(28)], 0),
    ],
)
def test_what_is_unusual(today: Day, past: list[Day], usual: int | None) -> None:
    assert unusual(today, past) == usual
