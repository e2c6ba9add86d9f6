"""Instants: UTC, to the microsecond, there and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.properties import steady
from tokenwell.core.instants import EPOCH, NEVER_MICROS, expiry_micros, from_micros, parse_instant, to_micros, to_utc
from tokenwell.errors import RequestInvalid, TimestampNaive

zones = st.timezones() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=zones)


@steady
@given(instants)
def test_an_instant_comes_back_to_the_microsecond(at: datetime) -> None:
    back = from_micros(to_micros(at))
    assert back == at.astimezone(UTC)
    assert back.tzinfo is UTC


@steady
@given(instants, instants)
def test_numbers_compare_as_instants_do(first: datetime, second: datetime) -> None:
    assert (to_micros(first) < to_micros(second)) == (first.astimezone(UTC) < second.astimezone(UTC))
    assert to_micros(first) < expiry_micros(None) == NEVER_MICROS


def test_the_epoch_is_zero_and_the_ends_of_time_fit() -> None:
    assert (to_micros(EPOCH), to_micros(EPOCH + timedelta(microseconds=1))) == (0, 1)
    for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert from_micros(to_micros(at)) == at
        assert -(2**63) < to_micros(at) < NEVER_MICROS


@steady
@given(instants)
def test_any_zone_becomes_utc(at: datetime) -> None:
    there = to_utc(at, field="at")
    # An hour that clocks skip equals nothing in another zone, by Python's own rule: the conversion is compared.
    assert there == at.astimezone(UTC)
    assert there.utcoffset() == timedelta(0)


def test_an_instant_without_a_zone_or_out_of_range_is_refused() -> None:
    with pytest.raises(TimestampNaive) as caught:
        to_utc(datetime(2027, 1, 1), field="since")
    assert caught.value.details == {"field": "since"}
    wrong: list[Any] = [date(2027, 1, 1), "2027-01-01", 0, None, datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))]
    for at in wrong:
        with pytest.raises(RequestInvalid) as refused:
            to_utc(at, field="since")
        assert type(refused.value) is RequestInvalid


@steady
@given(instants)
def test_what_is_written_in_iso_8601_is_read_back(at: datetime) -> None:
    assert parse_instant(at.isoformat(), field="at") == at.astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00+05:45", datetime(2027, 1, 31, 6, 15, tzinfo=UTC)),
        ("2027-01-31T12:00:00.000001Z", datetime(2027, 1, 31, 12, 0, 0, 1, tzinfo=UTC)),
        ("2028-02-29", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_instants_by_example(text: str, at: datetime) -> None:
    assert parse_instant(text, field="at") == at


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2027-02-29", "2027-13-01", "31.01.2027", "1801387800", "2027-01-31T25:00:00Z", "\x00"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_instant(text, field="expires_at")
    assert (type(caught.value), caught.value.details) == (RequestInvalid, {"field": "expires_at"})


@pytest.mark.parametrize("text", ["2027-01-31T12:00:00", "2027-01-31 12:00"])
def test_a_time_of_day_needs_a_zone(text: str) -> None:
    with pytest.raises(TimestampNaive):
        parse_instant(text, field="expires_at")
