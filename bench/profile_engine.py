"""Where the time of a debit goes, for whoever works on the engine.

    python -m bench.profile_engine [--database sqlite|postgres] [--organizations N] [--callers N] [--seconds N]
                                   [--profile writer|loop] [--lines N]

First without a profiler: wall-clock and processor time per debit of the event loop, of the writer, of what the writer does in the
database, and of PostgreSQL's own process. With `--profile`, cProfile's list of functions for one of the two threads as well: it
makes everything slower, so read shares from it, not times.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from bench.databases import open_databases
from bench.load import Limit, drive_tasks
from bench.meters import adebit_of, open_meter
from bench.tables import Report
from tokenwell import Meter

_DRIVER = ("begin", "versions", "read", "write", "rollback")


class _Clocks:
    """Adds up wall-clock and processor time of calls, by name."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = defaultdict(int)
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)

    def timed(self, name: str, call: Callable[..., Any], profiler: cProfile.Profile | None = None) -> Callable[..., Any]:
        """Return `call` with a clock around it."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            if profiler is not None:
                profiler.enable()
            try:
                return call(*args, **kwargs)
            finally:
                if profiler is not None:
                    profiler.disable()
                self.calls[name] += 1
                self.wall[name] += time.perf_counter() - wall
                self.cpu[name] += time.thread_time() - cpu

        return timed


def arguments(given: list[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile_engine", description="Show where the time of a debit goes.")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--organizations", type=int, default=1)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--lines", type=int, default=10_000, help="journal lines before the measurement")
    parser.add_argument("--profile", choices=("writer", "loop"), help="also list the functions of one thread")
    return parser.parse_args(given)


def main(given: list[str]) -> None:
    """Profile."""
    asked = arguments(given)
    organizations = [f"organization-{place}" for place in range(asked.organizations)]
    with open_databases(asked.database) as databases:
        url = databases.fresh()
        with closing(open_meter(url, organizations, lines=asked.lines)) as meter:
            databases.settle(url)
            _profile(meter, organizations, asked)


def _profile(meter: Meter, organizations: list[str], asked: argparse.Namespace) -> None:
    limit = Limit(seconds=asked.seconds)
    drive_tasks(adebit_of(meter), organizations, asked.callers, Limit(seconds=0.5))
    profiler, clocks = cProfile.Profile(), _Clocks()
    _watch(meter, clocks, profiler if asked.profile == "writer" else None)
    drive = clocks.timed("event loop", drive_tasks, profiler if asked.profile == "loop" else None)
    server_cpu = _server_cpu(meter)
    sample = drive(adebit_of(meter), organizations, asked.callers, limit)
    clocks.cpu["server"] = _server_cpu(meter) - server_cpu
    _print(asked, clocks, len(sample.latencies), sample.rate)
    if asked.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def _watch(meter: Meter, clocks: _Clocks, profiler: cProfile.Profile | None) -> None:
    driver: Any = meter._writer._driver
    for name in _DRIVER:
        setattr(driver, name, clocks.timed(f"driver.{name}", getattr(driver, name)))
    meter.batcher._commit = clocks.timed("writer", meter.batcher._commit, profiler)


def _server_cpu(meter: Meter) -> float:
    connection = getattr(meter._writer._driver, "_connection", None)
    if not isinstance(connection, psycopg.Connection):
        return 0.0
    stat = Path(f"/proc/{connection.info.backend_pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _print(asked: argparse.Namespace, clocks: _Clocks, debits: int, rate: float) -> None:
    rows = [
        [name, clocks.calls[name], clocks.wall[name] / debits * 1e6, clocks.cpu[name] / debits * 1e6]
        for name in ("event loop", "writer", *(f"driver.{each}" for each in _DRIVER))
        if clocks.calls[name]
    ]
    if asked.database == "postgres":
        rows.append(["PostgreSQL's process", None, None, clocks.cpu["server"] / debits * 1e6])
    title = f"{asked.database}, organizations: {asked.organizations:,}, callers: {asked.callers}: {rate:,.0f} debits/s"
    batch = debits / max(1, clocks.calls["writer"])
    Report().table(title, ("", "calls", "µs per debit", "CPU µs per debit"), rows, note=f"{batch:.1f} debits in a batch")


if __name__ == "__main__":
    main(sys.argv[1:])
