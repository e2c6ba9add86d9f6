"""Formats: numbers in full, instants in the viewer's zone and language."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.doubles import START
from tokenwell.console.formats import Distance, Formats, distance, zone_named


def english(zone: str = "UTC", now: datetime = START) -> Formats:
    return Formats("en", zone, now)


@pytest.mark.parametrize(
    ("amount", "plain", "signed"),
    [
        (0, "0", "0"),
        (999, "999", "+999"),
        (1_000, "1,000", "+1,000"),
        (-1_234_567, "−1,234,567", "−1,234,567"),
        (10**16, "10,000,000,000,000,000", "+10,000,000,000,000,000"),
        (2**53 + 1, "9,007,199,254,740,993", "+9,007,199,254,740,993"),
    ],
)
def test_numbers_are_written_in_full_with_a_true_minus(amount: int, plain: str, signed: str) -> None:
    assert english().tokens(amount) == plain
    assert english().signed(amount) == signed


def test_an_instant_shows_the_zone_and_tells_the_second_in_utc() -> None:
    at = datetime(2027, 2, 1, 20, 4, 51, 999_999, tzinfo=UTC)
    assert english("Asia/Shanghai").when(at, "second") == (
        '<time datetime="2027-02-01T20:04:51Z" title="2027-02-01 20:04:51 UTC">2 Feb, 04:04:51</time>'
    )
    assert ">2月2日 04:04:51<" in Formats("zh", "Asia/Shanghai", START).when(at, "second")
    assert ">2月2日 04:04<" in Formats("zh", "Asia/Shanghai", START).when(at)
    assert ">2 Feb<" in english("Asia/Shanghai").when(at, "date")
    assert ">1 Feb, 20:04<" in english().when(at)


def test_the_year_is_written_where_it_is_not_this_one_in_the_zone_on_show() -> None:
    new_year = datetime(2026, 12, 31, 23, 0, tzinfo=UTC)
    assert ">31 Dec 2026, 23:00<" in english().when(new_year)
    assert ">1 Jan, 07:00<" in english("Asia/Shanghai").when(new_year)
    assert ">2026年12月31日 23:00<" in Formats("zh", "UTC", START).when(new_year)


def test_september_is_short_like_every_other_month() -> None:
    assert ">9 Sep<" in english().when(datetime(2027, 9, 9, tzinfo=UTC), "date")


def test_the_last_hours_of_the_calendar_can_be_written_in_every_zone() -> None:
    assert "9999" in english("Pacific/Kiritimati").when(datetime(9999, 12, 31, 23, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    ("zone", "label"),
    [
        ("UTC", "UTC"),
        ("Asia/Shanghai", "Asia/Shanghai (UTC+8)"),
        ("Asia/Kolkata", "Asia/Kolkata (UTC+5:30)"),
        ("America/New_York", "America/New York (UTC−5)"),
        ("America/St_Johns", "America/St Johns (UTC−3:30)"),
        ("../../etc/passwd", "UTC"),
        ("Mars/Olympus", "UTC"),
        ("<script>", "UTC"),
        ("", "UTC"),
        ("x" * 65, "UTC"),
        ("America", "UTC"),
        ("nul\x00", "UTC"),
    ],
)
def test_a_zone_is_named_with_its_distance_and_an_unknown_one_is_utc(zone: str, label: str) -> None:
    assert english(zone).zone_label == label


def test_days_begin_at_midnight_of_the_zone_on_show() -> None:
    now = datetime(2027, 1, 31, 9, 30, tzinfo=UTC)
    assert english("UTC", now).midnight() == datetime(2027, 1, 31, tzinfo=UTC)
    assert english("Asia/Shanghai", now).midnight() == datetime(2027, 1, 30, 16, tzinfo=UTC)
    assert english("Asia/Shanghai", now).midnight(days_ago=-1) == datetime(2027, 1, 31, 16, tzinfo=UTC)
    assert english("Asia/Kathmandu", now).midnight(days_ago=6) == datetime(2027, 1, 24, 18, 15, tzinfo=UTC)


def test_days_across_a_change_of_the_clocks_are_the_calendars_days() -> None:
    now = datetime(2027, 3, 15, 12, tzinfo=UTC)  # New York's clocks went forward on 14 March
    assert english("America/New_York", now).midnight() == datetime(2027, 3, 15, 4, tzinfo=UTC)
    assert english("America/New_York", now).midnight(days_ago=1) == datetime(2027, 3, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        (timedelta(0), Distance("minute", 0, False)),
        (timedelta(seconds=59), Distance("minute", 0, True)),
        (timedelta(minutes=59, seconds=59), Distance("minute", 59, True)),
        (timedelta(hours=1), Distance("hour", 1, True)),
        (timedelta(hours=23, minutes=59), Distance("hour", 23, True)),
        (timedelta(days=1), Distance("day", 1, True)),
        (timedelta(days=8, hours=23), Distance("day", 8, True)),
        (-timedelta(days=52, hours=1), Distance("day", 52, False)),
        (-timedelta(hours=3), Distance("hour", 3, False)),
    ],
)
def test_distances_are_rounded_down(apart: timedelta, expected: Distance) -> None:
    assert distance(START + apart, START) == expected


def test_zones_are_looked_up_by_name_alone() -> None:
    assert zone_named("Europe/Berlin") is not None
    assert zone_named("/usr/share/zoneinfo/Europe/Berlin") is None
