"""Load: callers in this process, each in a closed loop, and races in which everything measured takes short turns.

A machine is never quiet. Contestants that take turns every second or so meet the same noise, so that medians can be compared.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple

Call = Callable[[str], object]
AsyncCall = Callable[[str], Awaitable[object]]


class Sample(NamedTuple):
    """One turn: how long it took, the processor time of this process, and every call's latency in seconds."""

    seconds: float
    cpu_seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.latencies) / self.seconds


class Series(NamedTuple):
    """What one contestant did in all of its turns."""

    name: str
    samples: list[Sample]

    @property
    def rate(self) -> float:
        """The median of calls per second."""
        return statistics.median(sample.rate for sample in self.samples)

    @property
    def rates(self) -> str:
        """The slowest and the fastest turn."""
        rates = [sample.rate for sample in self.samples]
        return f"{min(rates):,.0f}–{max(rates):,.0f}"

    @property
    def cpu_micros(self) -> float:
        """The median of processor time per call, in microseconds; a database server's own is not in it."""
        return statistics.median(sample.cpu_seconds / len(sample.latencies) for sample in self.samples) * 1e6

    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return sum(len(sample.latencies) for sample in self.samples)

    def latency(self, share: float) -> float:
        """The latency in milliseconds that this share of all calls did not exceed."""
        latencies = sorted(itertools.chain.from_iterable(sample.latencies for sample in self.samples))
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1e3

    def ratio_to(self, other: Series) -> tuple[float, float, float]:
        """The ratio of the median rates, and the smallest and largest ratio of two turns of the same round."""
        ratios = [mine.rate / theirs.rate for mine, theirs in zip(self.samples, other.samples, strict=True)]
        return self.rate / other.rate, min(ratios), max(ratios)


class Limit(NamedTuple):
    """When a turn ends: after some seconds, or after some calls."""

    seconds: float = 0.0
    calls: int = 0


class _Turn:
    """Where the callers of a turn look for whether to go on, and note their latencies."""

    def __init__(self, limit: Limit) -> None:
        self.latencies: list[float] = []
        self.calls_left = itertools.count(limit.calls, -1) if limit.calls else itertools.repeat(1)
        self._cpu = _cpu_seconds()
        self.started_at = time.perf_counter()
        self.until = self.started_at + limit.seconds if limit.seconds else float("inf")

    def sample(self) -> Sample:
        return Sample(time.perf_counter() - self.started_at, _cpu_seconds() - self._cpu, self.latencies)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _visits(organizations: Sequence[str], caller: int) -> itertools.cycle[str]:
    """Every organization in turn, in another order for each caller."""
    return itertools.cycle(Random(caller).sample(organizations, len(organizations)))


def drive_tasks(call: AsyncCall, organizations: Sequence[str], callers: int, limit: Limit) -> Sample:
    """Call from so many tasks of one event loop."""

    async def caller(turn: _Turn, visits: itertools.cycle[str]) -> None:
        clock, until, note, left = time.perf_counter, turn.until, turn.latencies.append, turn.calls_left
        while (started_at := clock()) < until and next(left) > 0:
            await call(next(visits))
            note(clock() - started_at)

    async def drive() -> Sample:
        visits = [_visits(organizations, place) for place in range(callers)]
        turn = _Turn(limit)
        await asyncio.gather(*(caller(turn, own) for own in visits))
        return turn.sample()

    return asyncio.run(drive())


def drive_threads(calls: Sequence[Call], organizations: Sequence[str], limit: Limit) -> Sample:
    """Call from a thread for each of `calls`."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(calls) + 1)
    turns: list[_Turn] = []

    def caller(call: Call, visits: itertools.cycle[str]) -> None:
        barrier.wait()
        barrier.wait()
        turn, clock = turns[0], time.perf_counter
        until, note, left = turn.until, turn.latencies.append, turn.calls_left
        try:
            while (started_at := clock()) < until and next(left) > 0:
                call(next(visits))
                note(clock() - started_at)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=caller, args=(call, _visits(organizations, place)), daemon=True) for place, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    barrier.wait()
    turns.append(_Turn(limit))
    barrier.wait()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return turns[0].sample()


def race(contestants: dict[str, Callable[[], Sample]], *, rounds: int) -> dict[str, Series]:
    """Let every contestant take a turn in each round, each round beginning with another; a first round does not count."""
    series = {name: Series(name, []) for name in contestants}
    order = list(contestants)
    for place in range(-1, rounds):
        for name in order:
            sample = contestants[name]()
            if place >= 0:
                series[name].samples.append(sample)
        order.append(order.pop(0))
    return series
