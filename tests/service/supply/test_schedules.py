"""Recurring grants: each occurrence once, whoever else is running, and what was missed is caught up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from tests.databases import tenant_role_on
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
from tokenwell.service.records.audit import Audit
from tokenwell.service.supply.schedules import Schedule, Schedules, Unit
from tokenwell.store import schema
from tokenwell.store.reader import reading
from tokenwell.store.supply import schedules as store
from tokenwell.store.writer import transaction

ROOT = Actor(kind=ActorKind.PERSON, id="per_root", name="Root")
BEFORE = datetime(2027, 1, 31, 9, 30, tzinfo=UTC)


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with two organizations."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
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


def test_what_comes_is_changed_and_what_was_granted_stays(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules)
    clock.advance(timedelta(hours=3))
    assert schedules.run_due() == 1
    changed = schedules.change(
        "acme", schedule.id, amount="2M", last_day=date(2027, 3, 31), valid_days=None, priority=1, note="Larger", by=ROOT
    )
    assert (changed.amount_tokens, changed.valid_days, changed.priority, changed.note) == (2_000_000, None, 1, "Larger")
    assert (changed.next_number, changed.recurrence.unit, changed.recurrence.last_day) == (1, Unit.MONTH, date(2027, 3, 31))
    again = schedules.change(
        "acme", schedule.id, amount="2M", last_day=date(2027, 3, 31), valid_days=None, priority=1, note="Larger", by=ROOT
    )
    assert again == changed
    clock.advance(timedelta(days=80))
    assert [schedules.run_due() for _ in range(2)] == [1, 0]  # February is too old to be caught up
    assert sorted(line.pack.total_tokens for line in meter.packs("acme").items) == [1_000_000, 2_000_000]
    assert schedules.get("acme", schedule.id).next_at is None
    acts = [(line.act.action, line.act.before) for line in Audit(meter.engine).list("acme").items if "schedule" in line.act.action]
    (told,) = [before for action, before in acts if action == "schedule.change"]
    assert told is not None
    assert "next_at" not in told
    assert '"amount_tokens":1000000' in told


def test_a_schedule_that_was_over_goes_on_where_its_last_day_moves(schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules, last_day=date(2027, 2, 28))
    clock.advance(timedelta(days=60))
    schedules.run_due()
    assert schedules.get("acme", schedule.id).next_at is None
    terms: dict[str, Any] = {"amount": "1M", "valid_days": 31, "priority": 0, "note": "", "by": ROOT}
    changed = schedules.change("acme", schedule.id, last_day=None, **terms)
    assert changed.next_at == datetime(2027, 4, 30, 10, tzinfo=UTC)
    with pytest.raises(RequestInvalid):
        schedules.change("acme", schedule.id, last_day=date(2027, 2, 28), **terms)
    schedules.end("acme", schedule.id, by=ROOT)
    with pytest.raises(Conflict):
        schedules.change("acme", schedule.id, last_day=None, **terms)
    with pytest.raises(NotFound):
        schedules.change("other", schedule.id, last_day=None, **terms)


def test_a_change_that_met_an_occurrence_is_refused_not_lost(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules)
    clock.advance(timedelta(hours=3))
    schedules.run_due()
    wanted = msgspec.structs.replace(schedule, amount_tokens=5)
    with transaction(meter.engine) as connection:
        assert not store.change(connection, schedule, wanted)
    assert schedules.get("acme", schedule.id).amount_tokens == 1_000_000


def test_what_is_upcoming_is_what_is_granted(meter: Meter, schedules: Schedules, clock: FrozenClock) -> None:
    schedule = monthly(schedules)
    told = schedules.upcoming(schedule.recurrence, schedule.zone, valid_days=31, count=4)
    assert [each.is_short_month for each in told] == [False, True, False, True]
    for each in told:
        clock.now = each.at
        assert schedules.run_due() == 1
        newest = meter.packs("acme").items[0].pack
        assert (newest.granted_at, newest.expires_at) == (each.at, each.expires_at)
    ending = msgspec.structs.replace(schedule.recurrence, last_day=date(2027, 6, 1))
    assert [each.day for each in schedules.upcoming(ending, schedule.zone)] == [date(2027, 4, 30), date(2027, 5, 31)]


def test_the_list_leaves_out_what_has_ended(schedules: Schedules) -> None:
    ended, going = monthly(schedules), monthly(schedules)
    schedules.end("acme", ended.id, by=ROOT)
    assert [each.id for each in schedules.list(going=True).items] == [going.id]
    assert [each.id for each in schedules.list().items] == [going.id, ended.id]
