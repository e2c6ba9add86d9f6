"""When alerts are told and tried again: nights, digests, clock changes, and waits that grow by chance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwell.core.alerts import (
    ABOUT,
    AT_ONCE,
    ATTEMPTS,
    FIRST_WAIT,
    LONGEST_WAIT,
    MILLION,
    Schedule,
    Secret,
    Subscription,
    due_at,
    longest_wait,
    wait_after,
)
from tokenwell.core.happenings import EventKind

BERLIN, KOLKATA, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("UTC")
NIGHT = Schedule(quiet_from=22 * 60, quiet_until=7 * 60)


def at(text: str) -> datetime:
    """Return an instant."""
    return datetime.fromisoformat(text + "Z")


def test_every_kind_of_event_is_known() -> None:
    assert set(ABOUT) == set(EventKind)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("2027-01-31T12:00", "2027-01-31T12:00"),
        ("2027-01-31T20:59", "2027-01-31T20:59"),
        ("2027-01-31T21:00", "2027-02-01T06:00"),
        ("2027-01-31T23:30", "2027-02-01T06:00"),
        ("2027-02-01T05:59", "2027-02-01T06:00"),
        ("2027-02-01T06:00", "2027-02-01T06:00"),
        ("2027-03-27T22:00", "2027-03-28T05:00"),  # the night in which the clock goes ahead
        ("2027-10-30T21:00", "2027-10-31T06:00"),  # and the one in which it goes back
    ],
)
def test_a_night_ends_by_the_readers_clock(now: str, told: str) -> None:
    assert due_at(at(now), BERLIN, NIGHT, is_urgent=False) == at(told)
    assert due_at(at(now), BERLIN, NIGHT, is_urgent=True) == at(now)


def test_a_digest_comes_at_its_minute_of_the_readers_day() -> None:
    digest = Schedule(digest_at=8 * 60)
    assert due_at(at("2027-01-31T02:29"), KOLKATA, digest, is_urgent=False) == at("2027-01-31T02:30")
    assert due_at(at("2027-01-31T02:30"), KOLKATA, digest, is_urgent=False) == at("2027-02-01T02:30")
    assert due_at(at("2027-01-31T02:29"), KOLKATA, digest, is_urgent=True) == at("2027-01-31T02:29")


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]),
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.none() | st.integers(0, 1439),
)
def test_what_is_put_off_comes_within_a_day_and_outside_the_night(
    now: datetime, zone: str, begin: int, end: int, digest: int | None
) -> None:
    schedule = Schedule(quiet_from=begin, quiet_until=end, digest_at=digest)
    told = due_at(now, ZoneInfo(zone), schedule, is_urgent=False)
    assert now <= told <= now + timedelta(hours=25)
    if told > now:
        local = told.astimezone(ZoneInfo(zone))
        wanted = end if digest is None else digest
        # A minute that a change of the clock leaves out comes as much later.
        assert (local.hour * 60 + local.minute - wanted) % 1440 in (0, 30, 60)


@given(st.integers(1, ATTEMPTS - 1), st.integers(0, MILLION))
def test_a_wait_is_any_time_up_to_one_that_doubles(attempts: int, chance: int) -> None:
    wait = wait_after(attempts, chance)
    assert wait is not None
    assert timedelta() <= wait <= longest_wait(attempts)
    assert longest_wait(attempts) == min(FIRST_WAIT * 2 ** (attempts - 1), LONGEST_WAIT)


def test_waits_add_up_to_a_day() -> None:
    waits = [wait_after(attempts, MILLION // 2) for attempts in range(1, ATTEMPTS)]
    assert timedelta(hours=23) < sum((wait for wait in waits if wait), timedelta()) < timedelta(hours=26)
    assert wait_after(ATTEMPTS, 0) is None


def test_a_wait_that_was_asked_for_is_kept_within_bounds() -> None:
    assert wait_after(1, 0, asked=timedelta(minutes=5)) == timedelta(minutes=5)
    assert wait_after(1, 0, asked=timedelta(days=5)) == LONGEST_WAIT
    assert wait_after(ATTEMPTS, 0, asked=timedelta(minutes=5)) is None


def test_an_old_key_is_used_until_its_time() -> None:
    secret = Secret(target="x", keys=("new", "old"), old_until=at("2027-02-01T00:00"))
    assert secret.keys_at(at("2027-01-31T23:59")) == ("new", "old")
    assert secret.keys_at(at("2027-02-01T00:00")) == ("new",)
    assert Secret(target="x", keys=("only",)).keys_at(at("2027-02-01T00:00")) == ("only",)


@given(st.sampled_from(["", "acme", "a-b_c"]), st.sampled_from(["per_1", "chn_2"]), st.none() | st.sampled_from(list(EventKind)))
def test_a_subscription_is_read_as_it_was_written(home: str, channel_id: str, kind: EventKind | None) -> None:
    wanted = Subscription(home=home, channel_id=channel_id, kind=kind)
    assert Subscription.parse(wanted.text) == wanted


@pytest.mark.parametrize("text", ["", "/", "acme", "acme//", "acme/per_1/state.none", "acme/per_1/a/b"])
def test_what_is_no_subscription_is_not_read(text: str) -> None:
    assert Subscription.parse(text) is None


def test_at_once_is_at_once() -> None:
    assert due_at(at("2027-01-31T02:29"), UTC_ZONE, AT_ONCE, is_urgent=False) == at("2027-01-31T02:29")
