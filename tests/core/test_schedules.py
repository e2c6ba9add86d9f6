"""Schedules: months of any length, leap days, and clocks that change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.properties import steady
from tokenwell.core.schedules import Recurrence, Unit, due
from tokenwell.errors import RequestInvalid

BERLIN, NEW_YORK, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")


def monthly(first_day: date, at: time = time(9), *, every: int = 1, last_day: date | None = None) -> Recurrence:
    """Return a monthly recurrence."""
    return Recurrence(unit=Unit.MONTH, every=every, first_day=first_day, at=at, last_day=last_day)


def days_of(recurrence: Recurrence, count: int) -> list[str]:
    """Return the days of the first occurrences."""
    return [str(recurrence.day(number)) for number in range(count)]


def test_a_month_without_a_31st_takes_its_last_day_and_the_next_has_the_31st_again() -> None:
    assert days_of(monthly(date(2027, 1, 31)), 5) == ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]


def test_leap_days() -> None:
    assert days_of(monthly(date(2028, 1, 30)), 3) == ["2028-01-30", "2028-02-29", "2028-03-30"]
    assert days_of(monthly(date(2028, 2, 29), every=12), 5) == [
        "2028-02-29",
        "2029-02-28",
        "2030-02-28",
        "2031-02-28",
        "2032-02-29",
    ]
    assert days_of(monthly(date(2099, 12, 29)), 3) == ["2099-12-29", "2100-01-29", "2100-02-28"]


def test_weeks_and_days_are_counted_from_the_first() -> None:
    weekly = Recurrence(unit=Unit.WEEK, every=2, first_day=date(2027, 1, 4), at=time(0))
    assert days_of(weekly, 3) == ["2027-01-04", "2027-01-18", "2027-02-01"]
    daily = Recurrence(unit=Unit.DAY, every=10, first_day=date(2028, 2, 20), at=time(0))
    assert days_of(daily, 3) == ["2028-02-20", "2028-03-01", "2028-03-11"]


def test_the_time_of_day_is_the_zones_in_summer_and_in_winter() -> None:
    recurrence = monthly(date(2027, 3, 1))
    assert recurrence.instant(0, BERLIN) == datetime(2027, 3, 1, 8, tzinfo=UTC)
    assert recurrence.instant(1, BERLIN) == datetime(2027, 4, 1, 7, tzinfo=UTC)
    assert recurrence.instant(0, KOLKATA) == datetime(2027, 3, 1, 3, 30, tzinfo=UTC)


def test_a_time_that_clocks_leave_out_is_as_much_later() -> None:
    """On 28 March 2027 Berlin goes from 02:00 to 03:00: half past two is half past three there."""
    recurrence = Recurrence(unit=Unit.DAY, every=1, first_day=date(2027, 3, 27), at=time(2, 30))
    instants = [recurrence.instant(number, BERLIN) for number in range(3)]
    assert instants == [
        datetime(2027, 3, 27, 1, 30, tzinfo=UTC),
        datetime(2027, 3, 28, 1, 30, tzinfo=UTC),
        datetime(2027, 3, 29, 0, 30, tzinfo=UTC),
    ]


def test_a_time_that_clocks_show_twice_is_the_first_of_the_two() -> None:
    """On 7 November 2027 New York goes from 02:00 back to 01:00."""
    recurrence = Recurrence(unit=Unit.DAY, every=1, first_day=date(2027, 11, 7), at=time(1, 30))
    assert recurrence.instant(0, NEW_YORK) == datetime(2027, 11, 7, 5, 30, tzinfo=UTC)
    assert recurrence.instant(1, NEW_YORK) == datetime(2027, 11, 8, 6, 30, tzinfo=UTC)


def test_nothing_is_due_after_the_last_day_or_after_the_calendar() -> None:
    recurrence = monthly(date(2027, 1, 31), last_day=date(2027, 3, 30))
    assert [recurrence.day(number) for number in range(4)] == [date(2027, 1, 31), date(2027, 2, 28), None, None]
    assert monthly(date(9999, 12, 1)).day(1) is None
    assert monthly(date(9999, 12, 1)).instant(1, BERLIN) is None


def test_what_is_due_is_given_in_order_from_the_next_on() -> None:
    recurrence = monthly(date(2027, 1, 31))
    found = list(due(recurrence, UTC, next_number=1, now=datetime(2027, 4, 30, 9, tzinfo=UTC)))
    assert [(each.number, str(each.at.date())) for each in found] == [(1, "2027-02-28"), (2, "2027-03-31"), (3, "2027-04-30")]
    assert list(due(recurrence, UTC, next_number=3, now=datetime(2027, 4, 30, 8, 59, tzinfo=UTC))) == []


recurrences = st.builds(
    Recurrence,
    unit=st.sampled_from(Unit),
    every=st.integers(1, 40),
    first_day=st.dates(date(2020, 1, 1), date(2030, 12, 31)),
    at=st.times().map(lambda at: at.replace(second=0, microsecond=0)),
)


@steady
@given(
    recurrence=recurrences, zone=st.sampled_from([BERLIN, NEW_YORK, KOLKATA, ZoneInfo("Pacific/Apia")]), number=st.integers(0, 60)
)
def test_occurrences_follow_each_other_and_the_next_is_found(recurrence: Recurrence, zone: ZoneInfo, number: int) -> None:
    at, following = recurrence.instant(number, zone), recurrence.instant(number + 1, zone)
    assert at is not None
    assert following is not None
    assert at < following
    assert recurrence.number_after(at, zone) == number + 1
    assert recurrence.number_after(at - timedelta(microseconds=1), zone) == number
    shown = at.astimezone(zone)
    assert shown.date() == recurrence.day(number) or shown.time() < recurrence.at


@pytest.mark.parametrize(
    "fields",
    [{"every": 0}, {"every": 367}, {"at": time(9, 0, 1)}, {"at": time(9, tzinfo=UTC)}, {"last_day": date(2026, 12, 31)}],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    given_fields = {"unit": Unit.MONTH, "every": 1, "first_day": date(2027, 1, 1), "at": time(9)} | fields
    with pytest.raises(RequestInvalid):
        Recurrence(**given_fields)  # type: ignore[arg-type]
