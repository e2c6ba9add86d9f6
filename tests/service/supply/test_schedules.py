"""Recurring grants: each occurrence once, whoever else is running, and what was missed is caught up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.doubles import FrozenClock
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import (
    AmountInvalid,
    Conflict,
    IdempotencyConflict,
    NotFound,
    OrganizationNotFound,
    RequestInvalid,
    StoreUnavailable,
)
from tokenwell.service.meter import Meter
from tokenwell.service.supply.schedules import Schedule, Schedules, Unit
from tokenwell.store import schema
from tokenwell.store.reader import reading

ROOT = Actor(kind=ActorKind.PERSON, id="per_root", name="Root")
BEFORE = datetime(2027, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with two organizations."""
    with Meter(database_url, clock=clock) as opened:
        opened.create_organization("acme")
        opened.create_organization("other")
        yield opened


@pytest.fixture
def schedules(meter: Meter) -> Schedules:
    """The schedules of that meter."""
    return Schedules(meter)


def monthly(schedules: Schedules, **fields: Any) -> Schedule:
    """Return a new schedule: a million on the last day of each month at nine in Berlin, valid for 31 days."""
    defaults: dict[str, Any] = {
        "unit": Unit.MONTH,
        "first_day": date(2027, 1, 31),
        "at": time(12),
        "zone": "Europe/Berlin",
        "valid_days": 31,
        "note": "Monthly plan",
        "by": ROOT,
    }
    return schedules.create("acme", "1M", **(defaults | fields))


def granted(meter: Meter) -> list[tuple[str, str]]:
    """Return when acme's packs were granted and when they expire, in order."""
    packs = [line.pack for line in meter.packs("acme").items][::-1]
    return [(f"{pack.granted_at:%m-%d %H:%M}", f"{pack.expires_at:%m-%d %H:%M}" if pack.expires_at else "never") for pack in packs]


def acts(meter: Meter) -> list[str]:
    """Return what was done to acme's schedules and packs, in order."""
    with reading(meter.engine) as connection:
        query = select(schema.act.c.action).where(schema.act.c.organization_id == "acme").order_by(schema.act.c.act_id)
        return [row[0] for row in connection.execute(query)]


def test_a_pack_is_granted_at_each_occurrence_and_never_twice(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules)
    assert (schedule.next_number, schedule.next_at) == (0, datetime(2027, 1, 31, 11, tzinfo=UTC))
    assert schedules.run_due() == 0
    for now in (
        datetime(2027, 1, 31, 11, tzinfo=UTC),
        datetime(2027, 2, 28, 11, 5, tzinfo=UTC),
        datetime(2027, 3, 31, 10, tzinfo=UTC),
    ):
        clock.now = now
        assert schedules.run_due() == 1
        assert schedules.run_due() == 0
    assert granted(meter) == [("01-31 11:00", "03-03 11:00"), ("02-28 11:05", "03-31 10:00"), ("03-31 10:00", "05-01 10:00")]
    packs = meter.packs("acme").items
    assert {(line.pack.total_tokens, line.pack.note) for line in packs} == {(1_000_000, "Monthly plan")}
    assert schedules.get("acme", schedule.id).granted == 3
    assert acts(meter).count("pack.grant") == 3


def test_what_was_missed_is_caught_up_unless_it_is_too_old(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    monthly(schedules, unit=Unit.WEEK, valid_days=None)
    clock.now = datetime(2027, 4, 1, tzinfo=UTC)
    assert schedules.run_due() == 4
    (schedule,) = schedules.list("acme").items
    assert (schedule.granted, schedule.skipped) == (4, 5)
    assert schedule.next_at == datetime(2027, 4, 4, 10, tzinfo=UTC)
    assert acts(meter).count("schedule.skip") == 5


def test_a_pack_that_would_have_expired_by_now_is_skipped(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    monthly(schedules, unit=Unit.DAY, valid_days=2)
    clock.now = datetime(2027, 2, 10, 12, tzinfo=UTC)
    assert schedules.run_due() == 2
    assert granted(meter) == [("02-10 12:00", "02-11 11:00"), ("02-10 12:00", "02-12 11:00")]


def test_what_would_be_due_already_is_left_out(schedules: Schedules) -> None:
    schedule = monthly(schedules, first_day=date(2026, 10, 31), at=time(10, 29))
    assert (schedule.next_number, schedule.next_at) == (4, datetime(2027, 2, 28, 9, 29, tzinfo=UTC))
    assert monthly(schedules, at=time(10, 30)).next_at == BEFORE


def test_many_that_run_at_once_grant_once(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules, unit=Unit.DAY)
    clock.advance(timedelta(days=3))
    threads = [threading.Thread(target=schedules.run_due) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted(meter)) == 3
    assert schedules.get("acme", schedule.id).granted == 3


@pytest.mark.parametrize("is_granted", [False, True])
def test_an_occurrence_that_was_interrupted_is_done_again(
    meter: Meter, schedules: Schedules, clock: FrozenClock, is_granted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = monthly(schedules)
    clock.advance(timedelta(days=1))
    grant = meter.grant

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if is_granted:
            grant(*args, **kwargs)
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(meter, "grant", interrupted)
        with pytest.raises(StoreUnavailable):
            schedules.run_due()
    assert schedules.get("acme", schedule.id).next_number == 0
    schedules.run_due()
    assert len(granted(meter)) == 1
    assert schedules.get("acme", schedule.id).granted == 1


def test_a_paused_schedule_grants_nothing_and_goes_on_from_now(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules, unit=Unit.DAY)
    paused = schedules.pause("acme", schedule.id, by=ROOT)
    assert paused.paused_at == clock()
    assert schedules.pause("acme", schedule.id, by=ROOT) == paused
    clock.advance(timedelta(days=5))
    assert schedules.run_due() == 0
    resumed = schedules.resume("acme", schedule.id, by=ROOT)
    assert (resumed.paused_at, resumed.next_number) == (None, 5)
    assert schedules.resume("acme", schedule.id, by=ROOT) == resumed
    clock.advance(timedelta(days=1))
    assert schedules.run_due() == 1
    assert acts(meter) == ["schedule.create", "schedule.pause", "schedule.resume", "pack.grant"]


def test_an_ended_schedule_grants_nothing_more(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules)
    clock.advance(timedelta(days=1))
    schedules.run_due()
    ended = schedules.end("acme", schedule.id, by=ROOT)
    assert (ended.ended_at, ended.next_at) == (clock(), None)
    assert schedules.end("acme", schedule.id, by=ROOT) == ended
    for change in (schedules.pause, schedules.resume):
        with pytest.raises(Conflict):
            change("acme", schedule.id, by=ROOT)
    clock.advance(timedelta(days=100))
    assert schedules.run_due() == 0
    assert len(granted(meter)) == 1


def test_after_its_last_day_a_schedule_is_over(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    monthly(schedules, last_day=date(2027, 2, 28))
    for _ in range(3):
        clock.advance(timedelta(days=29))
        schedules.run_due()
    (schedule,) = schedules.list().items
    assert (schedule.granted, schedule.next_at) == (2, None)


def test_a_key_makes_one_schedule(schedules: Schedules) -> None:
    first = monthly(schedules, key="plan")
    assert monthly(schedules, key="plan") == first
    with pytest.raises(IdempotencyConflict):
        monthly(schedules, key="plan", note="Another")
    assert len(schedules.list("acme").items) == 1


def test_another_organizations_schedule_does_not_exist(schedules: Schedules) -> None:
    schedule = monthly(schedules)
    for change in (schedules.pause, schedules.resume, schedules.end):
        with pytest.raises(NotFound):
            change("other", schedule.id, by=ROOT)
    assert schedules.list("other").items == ()
    assert schedules.get("acme", schedule.id) == schedule


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"unit": "year"}, RequestInvalid),
        ({"every": 0}, RequestInvalid),
        ({"zone": "Mars/Olympus"}, RequestInvalid),
        ({"zone": ""}, RequestInvalid),
        ({"zone": "../etc/passwd"}, RequestInvalid),
        ({"valid_days": 0}, RequestInvalid),
        ({"priority": 2_000}, RequestInvalid),
        ({"note": "x" * 501}, RequestInvalid),
        ({"last_day": date(2027, 1, 30)}, RequestInvalid),
        ({"first_day": date(2026, 1, 1), "last_day": date(2026, 12, 31)}, RequestInvalid),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedules: Schedules, fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        monthly(schedules, **fields)
    assert schedules.list().items == ()


def test_it_needs_an_organization_and_an_amount(schedules: Schedules) -> None:
    words: dict[str, Any] = {"unit": "day", "first_day": date(2027, 2, 1), "by": ROOT}
    with pytest.raises(OrganizationNotFound):
        schedules.create("nobody", "1M", **words)
    with pytest.raises(AmountInvalid):
        schedules.create("acme", "0", **words)


def test_schedules_are_listed_page_by_page(schedules: Schedules) -> None:
    made = [monthly(schedules, note=str(number)).id for number in range(3)]
    page = schedules.list("acme", limit=2)
    assert [each.id for each in page.items] == made[:0:-1]
    assert [each.id for each in schedules.list("acme", cursor=page.next_cursor).items] == made[:1]
    with pytest.raises(RequestInvalid):
        schedules.list(limit=0)
