"""Overload: more callers than the queue takes. It must refuse (StoreBusy) and stay as small as it is, not grow."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

from bench import meters
from bench.databases import Databases
from bench.meters import adebit_of, open_meter
from bench.tables import Report
from tokenwell import Meter
from tokenwell.errors import StoreBusy

COLUMNS = ("queue limit", "callers", "longest queue", "charged", "refused", "memory before", "in the middle", "at the end")
GROWTH = 4.0
"""How many megabytes more at the end than in the middle are noise."""


class _Flood:
    """Callers without patience: refused, they ask again a few milliseconds later."""

    def __init__(self, meter: Meter) -> None:
        self._debit = adebit_of(meter)
        self.charged = 0
        self.refused = 0

    async def caller(self, until: float) -> None:
        while time.perf_counter() < until:
            try:
                await self._debit(meters.HOT)
                self.charged += 1
            except StoreBusy:
                self.refused += 1
                await asyncio.sleep(0.02)


async def _watch(meter: Meter, until: float, lengths: list[int], memory: list[float]) -> None:
    while time.perf_counter() < until:
        lengths.append(len(meter.batcher._queue))
        memory.append(_megabytes())
        await asyncio.sleep(0.005)


def _megabytes() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 1e6


def measure(databases: Databases, report: Report, *, quick: bool) -> None:
    """Flood a short queue, and watch its length and this process's memory."""
    queue_limit, callers, seconds = (100, 400, 0.5) if quick else (1_000, 4_000, 6.0)
    with closing(open_meter(databases.fresh(), [meters.HOT], queue_limit=queue_limit)) as meter:
        flood, lengths, memory = _Flood(meter), [], []

        async def run() -> None:
            until = time.perf_counter() + seconds
            await asyncio.gather(_watch(meter, until, lengths, memory), *(flood.caller(until) for _ in range(callers)))

        before = _megabytes()
        asyncio.run(run())
        middle, end = memory[len(memory) // 2], _megabytes()
        proof = meters.prove(meter, flood.charged, [meters.HOT])
    row = [
        f"{queue_limit:,}",
        callers,
        max(lengths),
        flood.charged,
        flood.refused,
        *(f"{each:.0f} MB" for each in (before, middle, end)),
    ]
    report.table(f"More callers than the queue takes · {databases.kind}", COLUMNS, [row], note=proof)
    bounded = flood.refused > 0 and max(lengths) <= queue_limit and end - middle <= GROWTH
    measured = f"queue ≤ {max(lengths):,}, {flood.refused:,} refused, {end - middle:+.1f} MB in the second half"
    report.target(f"{databases.kind}, overload", "refuses instead of growing", measured, met=bounded)
