"""Jobs: what Tokenwell does by itself, again and again, in whichever process has the turn.

A runner looks every second at which jobs are due and nobody's, takes their turns by rows in a table, and lengthens them while it
works. A job that is due every few seconds keeps its turn until its process stops; the others give it back after each run. A process
that is killed loses its turns by time; one that is told to stop gives them back. Nothing a job does may depend on being the only
one: turns save work, keys in tables make it right.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Generic, TypeVar, cast

import msgspec
import sqlalchemy
import structlog

from tokenwell.errors import StoreError
from tokenwell.observability import JOB_FAILURES, JOB_LAG_SECONDS, JOB_RUNS, JOB_SECONDS
from tokenwell.service.ports import Clock, new_id
from tokenwell.store import jobs as store
from tokenwell.store.jobs import JobRecord, Report
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["Job", "JobRecord", "Runner", "Turn", "job_records", "period_of"]

LEASE = timedelta(seconds=15)
"""How long a turn lasts without being lengthened: after so long another process takes over from one that was killed."""

LOOK_SECONDS = 1.0
"""How often a runner looks for jobs that are due."""

STAYS_UNDER = timedelta(seconds=30)
"""A job that is due more often keeps its turn from run to run."""

JITTER = 0.1
"""By how much of its period a run may come later, so that many processes do not all begin at once."""

GRACE_SECONDS = 10.0
"""How long work in progress is waited for when a runner is told to stop."""

FAILURE_WAIT_SECONDS = 60.0
"""The longest wait after failures in a row, for jobs that are due more often."""

P = TypeVar("P")
Work = Callable[[P, "Turn"], int] | Callable[[P, "Turn"], Awaitable[int]]

log = structlog.get_logger("tokenwell.jobs")


class Turn:
    """One turn of a job, as its work sees it. Work that takes long asks `is_over` between its steps, and then leaves off.
    Where `is_once`, work that stays leaves off as soon as there is nothing to do."""

    def __init__(self, clock: Clock, *, is_once: bool = False) -> None:
        self.is_once = is_once
        self._clock = clock
        self._over = threading.Event()
        self.over = asyncio.Event()

    @property
    def now(self) -> datetime:
        """What time it is."""
        return self._clock()

    @property
    def is_over(self) -> bool:
        """Whether to leave off: the process is told to stop, or another one has taken over."""
        return self._over.is_set()

    def end(self) -> None:
        """Say that it is over; called in the event loop."""
        self._over.set()
        self.over.set()


class Job(msgspec.Struct, Generic[P], frozen=True, kw_only=True):
    """Something to do every so often. `work` is given the parts it works on and its turn, blocks or awaits, and returns how many
    things it did. Work that `stays` goes on until its turn is over."""

    name: str
    every: timedelta
    does: str
    work: Work[P]
    stays: bool = False

    @property
    def keeps_turn(self) -> bool:
        """Whether its turn is kept from run to run."""
        return self.stays or self.every < STAYS_UNDER

    @property
    def longest(self) -> timedelta:
        """The longest time ahead that its next run is set."""
        return self.every * 2 + timedelta(seconds=FAILURE_WAIT_SECONDS * 2)


def period_of(every: timedelta) -> str:
    """Return a period in words: `2 s`, `5 min`, `1 h`, `1 d`."""
    seconds = int(every.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def job_records(engine: sqlalchemy.Engine) -> dict[str, JobRecord]:
    """Return what is known of each job that was ever due."""
    with reading(engine) as connection:
        return store.records(connection)


class Runner(Generic[P]):
    """Runs jobs in this process, in turns with every other. `run` until `stop`."""

    def __init__(
        self,
        engine: sqlalchemy.Engine,
        clock: Clock,
        parts: P,
        jobs: tuple[Job[P], ...],
        *,
        lease: timedelta = LEASE,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._lease = lease
        self._look_seconds = look_seconds
        self._engine = engine
        self._clock = clock
        self._parts = parts
        self._jobs = jobs
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{new_id('run')[-6:]}"
        self._threads = ThreadPoolExecutor(max_workers=max(4, len(jobs)), thread_name_prefix="tokenwell-jobs")
        self._stopping = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, Turn] = {}
        self._random = random.Random(self._owner)

    def stop(self) -> None:
        """Leave off soon; called in the event loop."""
        self._stopping.set()
        for turn in self._turns.values():
            turn.end()

    async def run(self) -> None:
        """Run jobs until told to stop; then wait for what is in progress, for a while."""
        try:
            while not self._stopping.is_set():
                with suppress(StoreError):
                    for job in await self._due():
                        self._working[job.name] = asyncio.create_task(self._work(job), name=f"job {job.name}")
                await self._pause(self._look_seconds)
        finally:
            self.stop()
            await self._wind_up()

    async def run_once(self) -> list[str]:
        """Run every job that is due and nobody's once, one after the other; returns their names."""
        jobs = await self._due()
        for job in jobs:
            await self._work(job, is_once=True)
        self._threads.shutdown(wait=False)
        return [job.name for job in jobs]

    async def _wind_up(self) -> None:
        tasks = set(self._working.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def _due(self) -> list[Job[P]]:
        """Return the jobs that are due, nobody's, and not in progress here; those that are new are made known."""
        records = await self._in_thread(job_records, self._engine)
        if any(job.name not in records for job in self._jobs):
            await self._in_thread(self._make_known)
            records = await self._in_thread(job_records, self._engine)
        now = self._clock()
        waiting = [job for job in self._jobs if job.name not in self._working]
        return [job for job in waiting if store.is_free(records[job.name], now=now, lease=self._lease, longest=job.longest)]

    def _make_known(self) -> None:
        with transaction(self._engine) as connection:
            store.add_missing(connection, [job.name for job in self._jobs], self._clock())

    async def _work(self, job: Job[P], *, is_once: bool = False) -> None:
        turn = self._turns[job.name] = Turn(self._clock, is_once=is_once)
        if self._stopping.is_set():
            turn.end()  # told to stop before this began
        try:
            taken = None if turn.is_over else await self._in_thread(self._take, job)
            if taken is not None:
                number, due_at = taken
                JOB_LAG_SECONDS.labels(job.name).set(max(0.0, (self._clock() - due_at).total_seconds()))
                await _Shift(self, job, turn, number).work()
        except StoreError as error:
            log.warning("job_turn_lost", job=job.name, reason=error.message)
            await self._pause(self._look_seconds)
        finally:
            turn.end()
            del self._turns[job.name]
            self._working.pop(job.name, None)

    def _take(self, job: Job[P]) -> tuple[int, datetime] | None:
        with transaction(self._engine) as connection:
            return store.take_turn(connection, job.name, self._owner, now=self._clock(), lease=self._lease, longest=job.longest)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * (1 + JITTER * self._random.random())):
                await self._stopping.wait()

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)


T = TypeVar("T")


class _Shift(Generic[P]):
    """One turn of one job: its runs, and beside them what lengthens the turn and notes what was done."""

    def __init__(self, runner: Runner[P], job: Job[P], turn: Turn, number: int) -> None:
        self._runner = runner
        self._job = job
        self._turn = turn
        self._number = number
        self._report = Report()
        self._failed_in_a_row = 0

    async def work(self) -> None:
        """Run the job until its turn is over, then give the turn back."""
        keeping = asyncio.create_task(self._keep())
        try:
            while not self._turn.is_over:
                await self._run_once()
                if self._turn.is_once or not self._job.keeps_turn:
                    break
                await self._rest()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await asyncio.shield(self._runner._in_thread(self._give_back))

    async def _run_once(self) -> None:
        job, clock, loop = self._job, self._runner._clock, asyncio.get_running_loop()
        started_at, began = clock(), loop.time()
        try:
            if inspect.iscoroutinefunction(job.work):
                done = await job.work(self._runner._parts, self._turn)
            else:
                done = cast(int, await self._runner._in_thread(job.work, self._runner._parts, self._turn))
        except Exception as error:
            self._note_failure(error)
            done = 0
        else:
            self._failed_in_a_row = 0
        took = loop.time() - began
        JOB_RUNS.labels(job.name).inc()
        JOB_SECONDS.labels(job.name).observe(took)
        report = self._report
        report.started_at, report.ended_at, report.took_millis = started_at, clock(), int(took * 1000)
        report.runs += 1
        report.done += done

    def _note_failure(self, error: Exception) -> None:
        JOB_FAILURES.labels(self._job.name).inc()
        self._failed_in_a_row += 1
        self._report.failures += 1
        self._report.failed_at = self._runner._clock()
        self._report.failure = f"{type(error).__name__}: {error}"
        if isinstance(error, StoreError):
            log.warning("job_failed", job=self._job.name, reason=error.message)
        else:
            log.error("job_failed", job=self._job.name, exc_info=error)

    def _wait_seconds(self) -> float:
        """Return how long to wait until the next run: the period; after failures in a row of a frequent job, longer and longer."""
        period = self._job.every.total_seconds()
        if self._failed_in_a_row:
            period = max(period, min(period * 2.0**self._failed_in_a_row, FAILURE_WAIT_SECONDS))
        return period * (1 + JITTER * self._runner._random.random())

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_seconds()):
                await self._turn.over.wait()

    async def _keep(self) -> None:
        """Lengthen the turn while it lasts; where that fails for good, it is over."""
        lost_after = self._runner._lease.total_seconds()
        kept_at = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(lost_after / 3)
            try:
                is_kept = await self._runner._in_thread(self._lengthen)
            except StoreError:
                is_kept = asyncio.get_running_loop().time() - kept_at < lost_after
            else:
                kept_at = asyncio.get_running_loop().time()
            if not is_kept:
                log.info("job_overtaken", job=self._job.name)
                self._turn.end()
                return

    def _lengthen(self) -> bool:
        report, self._report = self._report, Report()
        try:
            with transaction(self._runner._engine) as connection:
                until = self._runner._clock() + self._runner._lease
                return store.keep_turn(connection, self._job.name, self._number, until=until, report=report)
        except StoreError:
            self._report = _sum(report, self._report)
            raise

    def _give_back(self) -> None:
        next_at = self._runner._clock()
        if not self._job.keeps_turn:
            next_at += timedelta(seconds=self._wait_seconds())
        with suppress(StoreError), transaction(self._runner._engine) as connection:
            store.end_turn(connection, self._job.name, self._number, next_at=next_at, report=self._report)


def _sum(before: Report, after: Report) -> Report:
    """Return one report of both."""
    newest = after if after.runs else before
    failed = after if after.failed_at else before
    return Report(
        started_at=newest.started_at,
        ended_at=newest.ended_at,
        took_millis=newest.took_millis,
        done=before.done + after.done,
        runs=before.runs + after.runs,
        failures=before.failures + after.failures,
        failed_at=failed.failed_at,
        failure=failed.failure,
    )
