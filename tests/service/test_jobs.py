"""Jobs run in one process at a time, are noted, and outlive those who run them, on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from tests.databases import tenant_role_on
from tests.doubles import START, FrozenClock
from tokenwell import Meter
from tokenwell.service.jobs import Job, JobRecord, Runner, Turn, job_records, period_of
from tokenwell.store import jobs as store
from tokenwell.store.writer import transaction

MINUTE = timedelta(minutes=1)
LEASE = timedelta(seconds=15)
PATIENCE_SECONDS = 30


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A new database."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        yield meter


def job_of(work: Any, every: timedelta = MINUTE, name: str = "count", **more: Any) -> Job[Any]:
    """Return a job."""
    return Job(name=name, every=every, does="Counts.", work=work, **more)


@asynccontextmanager
async def running(meter: Meter, *jobs: Job[Any], lease: timedelta = LEASE) -> AsyncIterator[Runner[Any]]:
    """Run jobs, looking often."""
    runner: Runner[Any] = Runner(meter.engine, meter.clock, None, jobs, lease=lease, look_seconds=0.02)
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        runner.stop()
        await task


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition."""
    for _ in range(PATIENCE_SECONDS * 100):
        with suppress(KeyError):  # a job that nobody has made known yet
            if is_so():
                return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


def record(meter: Meter, name: str = "count") -> JobRecord:
    """Return what is known of a job."""
    return job_records(meter.engine)[name]


async def test_a_job_runs_once_in_its_period_and_is_noted(meter: Meter, clock: FrozenClock) -> None:
    ran: list[str] = []
    job = job_of(lambda parts, turn: len(ran.append("once") or ran))
    other = job_of(lambda parts, turn: 0, name="other", every=MINUTE / 2)
    async with running(meter, job, other):
        await until(lambda: record(meter).runs == record(meter, "other").runs == 1)
        noted = record(meter)
        assert (noted.started_at, noted.done, noted.failures) == (START, 1, 0)
        assert START + MINUTE <= noted.next_at <= START + MINUTE * 1.1
        clock.advance(MINUTE / 2 * 1.1)
        await until(lambda: record(meter, "other").runs == 2)
        assert len(ran) == 1
        clock.advance(MINUTE)
        await until(lambda: record(meter).runs == 2)
    assert len(ran) == 2


async def test_of_many_runners_one_has_the_turn(meter: Meter, clock: FrozenClock) -> None:
    lock, at_once, most, runs = threading.Lock(), 0, 0, 0
    gate = threading.Semaphore(0)

    def work(parts: None, turn: Turn) -> int:
        nonlocal at_once, most, runs
        with lock:
            at_once, runs = at_once + 1, runs + 1
            most = max(most, at_once)
        assert gate.acquire(timeout=PATIENCE_SECONDS)
        with lock:
            at_once -= 1
        return 1

    async with running(meter, job_of(work)), running(meter, job_of(work)), running(meter, job_of(work)):
        for number in range(1, 6):
            await until(lambda number=number: runs == number)
            gate.release()
            await until(lambda number=number: record(meter).runs == number)
            clock.advance(MINUTE * 1.2)
        for _ in range(10):
            gate.release()
    assert most == 1


async def test_a_turn_of_a_process_that_was_killed_ends_by_time(meter: Meter, clock: FrozenClock) -> None:
    with transaction(meter.engine) as connection:
        store.add_missing(connection, ["count"], clock())
        assert store.take_turn(connection, "count", "killed", now=clock(), lease=LEASE, longest=MINUTE) is not None
    other = job_of(lambda parts, turn: 1, name="other", every=timedelta(seconds=5))
    async with running(meter, job_of(lambda parts, turn: 1), other):
        await until(lambda: record(meter, "other").owner is not None)
        assert record(meter).owner == "killed"
        clock.advance(LEASE)
        await until(lambda: record(meter).runs == 1)


@pytest.mark.parametrize("jump", [timedelta(hours=-5), timedelta(days=-400)])
async def test_a_clock_that_goes_back_puts_no_job_to_sleep(meter: Meter, clock: FrozenClock, jump: timedelta) -> None:
    with transaction(meter.engine) as connection:
        store.add_missing(connection, ["idle", "leased"], clock())
        assert store.take_turn(connection, "leased", "killed", now=clock(), lease=LEASE, longest=MINUTE) is not None
    clock.advance(jump)
    async with running(meter, job_of(lambda parts, turn: 1, name="idle"), job_of(lambda parts, turn: 1, name="leased")):
        await until(lambda: record(meter, "idle").runs == record(meter, "leased").runs == 1)


async def test_who_was_overtaken_leaves_off_and_notes_nothing(meter: Meter, clock: FrozenClock) -> None:
    begun, left = threading.Event(), threading.Event()

    def work(parts: None, turn: Turn) -> int:
        begun.set()
        assert turn._over.wait(PATIENCE_SECONDS)
        left.set()
        return 1

    async with running(meter, job_of(work, every=timedelta(hours=1)), lease=timedelta(seconds=0.3)):
        await until(begun.is_set)
        ahead = clock() + timedelta(hours=3)
        with transaction(meter.engine) as connection:
            taken = store.take_turn(connection, "count", "faster", now=ahead, lease=LEASE, longest=MINUTE)
        assert taken is not None
        await until(left.is_set)
        with transaction(meter.engine) as connection:
            assert store.end_turn(connection, "count", taken[0], next_at=clock() + MINUTE, report=store.Report())
    assert (record(meter).runs, record(meter).turn) == (0, taken[0])


async def test_a_failure_is_noted_and_the_job_goes_on(meter: Meter, clock: FrozenClock) -> None:
    answers = iter([ZeroDivisionError("by nothing"), None, None])

    async def work(parts: None, turn: Turn) -> int:
        if error := next(answers):
            raise error
        return 7

    async with running(meter, job_of(work)):
        await until(lambda: record(meter).failures == 1)
        assert (record(meter).failure, record(meter).failed_at) == ("ZeroDivisionError: by nothing", START)
        clock.advance(MINUTE * 1.2)
        await until(lambda: record(meter).runs == 2)
    assert (record(meter).done, record(meter).failures) == (7, 1)


async def test_a_frequent_job_keeps_its_turn_and_gives_it_back_when_told_to_stop(meter: Meter) -> None:
    runs = 0

    async def work(parts: None, turn: Turn) -> int:
        nonlocal runs
        runs += 1
        return 1

    job = job_of(work, every=timedelta(seconds=0.01))
    async with running(meter, job, lease=timedelta(seconds=0.3)):
        await until(lambda: runs > 20)
        turn = record(meter).turn
        assert record(meter).owner is not None
    assert (record(meter).turn, record(meter).owner, record(meter).runs) == (turn, None, runs)


async def test_work_that_stays_is_told_that_its_turn_is_over(meter: Meter) -> None:
    begun = asyncio.Event()

    async def work(parts: None, turn: Turn) -> int:
        begun.set()
        await turn.over.wait()
        return 3

    async with running(meter, job_of(work, stays=True)):
        await begun.wait()
    assert (record(meter).done, record(meter).owner) == (3, None)


async def test_told_to_stop_before_a_turn_began_it_stops_at_once(meter: Meter) -> None:
    stays = job_of(lambda parts, turn: int(turn._over.wait(PATIENCE_SECONDS)), stays=True)
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        for looks in range(5):
            runner: Runner[Any] = Runner(meter.engine, meter.clock, None, (stays,))
            running = asyncio.create_task(runner.run())
            for _ in range(looks):
                await asyncio.sleep(0)
            runner.stop()
            await running


async def test_once_runs_what_is_due_and_leaves_the_rest(meter: Meter, clock: FrozenClock) -> None:
    jobs = (job_of(lambda parts, turn: 1), job_of(lambda parts, turn: int(turn.is_once), name="stays", stays=True))

    async def once() -> list[str]:
        return await Runner(meter.engine, clock, None, jobs).run_once()

    assert await once() == ["count", "stays"]
    assert record(meter, "stays").done == 1
    clock.advance(MINUTE / 2)
    assert await once() == ["stays"]


@pytest.mark.parametrize(("seconds", "told"), [(1, "1 s"), (90, "90 s"), (300, "5 min"), (7_200, "2 h"), (86_400, "1 d")])
def test_a_period_is_told_in_its_largest_whole_unit(seconds: int, told: str) -> None:
    assert period_of(timedelta(seconds=seconds)) == told
