"""The meter as a library: opened and closed, shared by threads and coroutines, its blocks and its signatures."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.doubles import START, FrozenClock
from tokenwell import AsyncMeter, Meter, Receipt, State, Thresholds
from tokenwell.core.identifiers import decode_id
from tokenwell.core.limits import KeyLimits
from tokenwell.errors import (
    BalanceHeld,
    HoldAlreadySettled,
    IdempotencyConflict,
    LimitReached,
    OrganizationNotFound,
    StoreUnavailable,
)
from tokenwell.service.intake import Intake
from tokenwell.service.meter import DEFAULT_THRESHOLDS
from tokenwell.service.ports import new_bytes, new_id, system_clock
from tokenwell.service.reading import Reading

NO_THRESHOLDS = Thresholds(0, 0)


@pytest.fixture
def meter(sqlite_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter without thresholds, with the organization "acme"."""
    with Meter(sqlite_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        meter.create_organization("acme")
        yield meter


def held_tokens(meter: Meter) -> int:
    return meter.balance("acme").held_tokens


# Opening and closing


def test_a_meter_is_ready_when_it_is_opened(sqlite_url: str) -> None:
    with Meter(sqlite_url) as meter:
        meter.ping()
        meter.create_organization("acme")
        before = datetime.now(UTC)
        granted = meter.grant("acme", "1M")
        assert before <= granted.at <= datetime.now(UTC)
        balance = meter.balance("acme")
        assert (balance.state, balance.warning_tokens, balance.reserve_tokens) == (State.NORMAL, 1_000_000, 100_000)
        assert Thresholds(1_000_000, 100_000) == DEFAULT_THRESHOLDS
        assert meter.debit("acme", 1).state is State.RUNNING_LOW


def test_a_closed_meter_refuses_to_write(sqlite_url: str) -> None:
    meter = Meter(sqlite_url)
    meter.create_organization("acme")
    meter.grant("acme", 5)
    asyncio.run(meter.aio.grant("acme", 5))
    meter.close()
    meter.close()
    with pytest.raises(StoreUnavailable):
        meter.grant("acme", 5)
    with pytest.raises(StoreUnavailable):
        asyncio.run(meter.aio.grant("acme", 5))


async def test_closing_commits_what_waits(sqlite_url: str) -> None:
    meter = Meter(sqlite_url, thresholds=NO_THRESHOLDS)
    meter.create_organization("acme")
    tasks = [asyncio.create_task(meter.aio.grant("acme", 1)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(meter.close)
    assert len(await asyncio.gather(*tasks)) == 50
    with Meter(sqlite_url, thresholds=NO_THRESHOLDS) as again:
        assert again.balance("acme").balance_tokens == 50


def test_closing_ends_every_thread_of_the_meter(sqlite_url: str) -> None:
    before = set(threading.enumerate())
    with Meter(sqlite_url) as meter:
        meter.create_organization("acme")
        asyncio.run(meter.aio.grant("acme", 5))
    assert set(threading.enumerate()) <= before


# Sharing


def test_threads_and_event_loops_share_one_meter(meter: Meter) -> None:
    meter.grant("acme", 10_000)

    async def debit_many() -> list[Receipt]:
        return await asyncio.gather(*(meter.aio.debit("acme", 1) for _ in range(50)))

    with ThreadPoolExecutor(12) as pool:
        plain = [pool.submit(meter.debit, "acme", 1) for _ in range(200)]
        loops = [pool.submit(asyncio.run, debit_many()) for _ in range(4)]
        receipts = [future.result() for future in plain] + [receipt for loop in loops for receipt in loop.result()]
    assert len({receipt.balance_tokens for receipt in receipts}) == 400
    assert meter.balance("acme").balance_tokens == 9_600
    assert [verified.problems for verified in meter.verify()] == [()]


def test_a_write_without_a_key_is_a_new_one_each_time(meter: Meter) -> None:
    meter.grant("acme", 10)
    receipts = [meter.debit("acme", 1) for _ in range(3)]
    assert len({receipt.request_id for receipt in receipts}) == 3
    assert [receipt.request_id[:4] for receipt in receipts] == ["req_"] * 3
    assert meter.debit("acme", 1, key=receipts[0].request_id).replayed


def test_fresh_ids_sort_by_time_and_never_repeat() -> None:
    ids = [new_id("req") for _ in range(2000)]
    assert len(set(ids)) == 2000
    milliseconds = [int.from_bytes(decode_id(each)[:6], "big") for each in ids]
    assert milliseconds == sorted(milliseconds)
    raw = new_bytes()
    assert (raw[6] >> 4, raw[8] >> 6) == (7, 0b10)
    assert system_clock().tzinfo is UTC


# Blocks


def test_a_block_settles_inside_and_releases_what_is_left(meter: Meter) -> None:
    meter.grant("acme", 100)
    with meter.hold("acme", 30, key="k") as held:
        assert (held.hold.tokens, held.id, held.receipt, held_tokens(meter)) == (30, held.hold.id, None, 30)
        receipt = held.settle(prompt_tokens=9, completion_tokens=1, model="m")
        assert (held.receipt, receipt.request_id, receipt.balance_tokens) == (receipt, "k", 90)
    with meter.hold("acme", 30):
        pass
    assert (held_tokens(meter), meter.balance("acme").balance_tokens) == (0, 90)


def test_a_block_that_raises_releases_its_hold_and_raises(meter: Meter) -> None:
    meter.grant("acme", 100)
    with pytest.raises(ZeroDivisionError), meter.hold("acme", 30):
        raise ZeroDivisionError
    assert held_tokens(meter) == 0


def test_a_block_that_raises_after_settling_stays_charged(meter: Meter) -> None:
    meter.grant("acme", 100)

    def work() -> None:
        with meter.hold("acme", 30) as held:
            held.settle(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert meter.balance("acme").balance_tokens == 90


def test_a_refused_block_is_not_entered(meter: Meter) -> None:
    meter.grant("acme", 10)
    with pytest.raises(BalanceHeld), meter.hold("acme", 30):
        raise AssertionError("entered")


def test_a_block_settles_late_when_it_took_too_long(meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 100)
    with meter.hold("acme", 30, ttl=timedelta(seconds=5)) as held:
        clock.advance(timedelta(seconds=6))
        assert held.settle(10).late


def test_a_block_keeps_to_its_lane_and_to_its_keys_limits_as_it_grows_too(meter: Meter) -> None:
    meter.grant("acme", 100)
    with pytest.raises(BalanceHeld), meter.hold("acme", 30, reserve_tokens=80, lane="Tagging"):
        raise AssertionError("entered")
    with meter.hold("acme", 20, reserve_tokens=70) as held, pytest.raises(BalanceHeld):
        held.extend(20)
    limits = KeyLimits(tokens_per_day=50)
    with meter.hold("acme", 30, key_id="k", limits=limits) as held:
        with pytest.raises(LimitReached):
            held.extend(30)
        held.settle(30, key_id="k")
    with pytest.raises(LimitReached), meter.hold("acme", 30, key_id="k", limits=limits):
        raise AssertionError("entered")


async def test_an_asynchronous_block_does_the_same(meter: Meter) -> None:
    meter.grant("acme", 100)
    async with meter.aio.hold("acme", 20, reserve_tokens=70) as held:
        with pytest.raises(BalanceHeld):
            await held.extend(20)
    async with meter.aio.hold("acme", 30, key="k") as held:
        assert (held.hold.tokens, held.receipt, held_tokens(meter)) == (30, None, 30)
        receipt = await held.settle(10)
        assert (held.receipt, receipt.balance_tokens) == (receipt, 90)
        with pytest.raises(HoldAlreadySettled):
            await held.settle(11)
    async with meter.aio.hold("acme", 30):
        pass
    with pytest.raises(ZeroDivisionError):
        async with meter.aio.hold("acme", 30):
            raise ZeroDivisionError
    assert (held_tokens(meter), meter.balance("acme").balance_tokens) == (0, 90)


# Signatures


@pytest.mark.parametrize("face", [Meter, AsyncMeter])
@pytest.mark.parametrize("source", [Intake, Reading])
def test_every_write_and_read_has_its_signature_and_words_on_both_faces(face: type, source: type) -> None:
    own = {name: function for name, function in vars(source).items() if inspect.isfunction(function) and name[0] != "_"}
    shared = {name for name in own if hasattr(face, name)}
    missing = set(own) - shared
    inner = {"pack_id_of", "incurred_since_advance"}
    assert missing <= (inner if face is Meter else inner | {"verify"}), missing
    for name in shared:
        method = getattr(face, name)
        assert inspect.signature(method) == inspect.signature(own[name])
        assert method.__doc__ == own[name].__doc__
        assert inspect.iscoroutinefunction(method) == (face is AsyncMeter)


async def test_errors_are_the_same_on_both_faces(meter: Meter) -> None:
    meter.grant("acme", 5, key="k")
    calls: list[tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = [
        (OrganizationNotFound, "balance", ("nobody",), {}),
        (OrganizationNotFound, "grant", ("nobody", 5), {}),
        (IdempotencyConflict, "grant", ("acme", 6), {"key": "k"}),
        (BalanceHeld, "debit", ("acme", 6), {}),
    ]
    for error, method, args, kwargs in calls:
        with pytest.raises(error) as plain:
            getattr(meter, method)(*args, **kwargs)
        with pytest.raises(error) as asynchronous:
            await getattr(meter.aio, method)(*args, **kwargs)
        assert (str(plain.value), plain.value.details) == (str(asynchronous.value), asynchronous.value.details)  # type: ignore[attr-defined]


def test_a_clock_of_any_zone_is_read_as_utc(sqlite_url: str) -> None:
    there = timezone(timedelta(hours=5, minutes=45))
    with Meter(sqlite_url, thresholds=NO_THRESHOLDS, clock=lambda: START.astimezone(there)) as meter:
        meter.create_organization("acme")
        granted = meter.grant("acme", 5, expires_at=START.astimezone(there) + timedelta(days=1))
        assert (granted.at, granted.at.tzinfo) == (START, UTC)
        assert meter.balance("acme").as_of.tzinfo is UTC
        assert [verified.problems for verified in meter.verify()] == [()]
