"""The lone caller: nobody to share a commit with, so that latency is all that counts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial

from bench import meters
from bench.databases import Databases
from bench.load import Limit, Sample, drive_tasks, drive_threads, race
from bench.meters import adebit_of, debit_of, open_meter
from bench.raw import drive_loop, open_raw
from bench.tables import Report

COLUMNS = ("", "p50 ms", "p90 ms", "p99 ms", "CPU µs", "p50 ÷ raw loop's", "p99 ÷ raw loop's")
RATIO = 2.0


def measure(databases: Databases, report: Report, *, quick: bool) -> None:
    """Measure one caller, plain and as a task, beside the bare loop."""
    limit, rounds = (Limit(calls=50), 3) if quick else (Limit(calls=200), 25)
    organizations = [meters.HOT]
    meter = open_meter(databases.fresh(), organizations, lines=1_000)
    raw = open_raw(databases.kind, databases.fresh(), organizations)
    with closing(meter), closing(raw):
        contestants: dict[str, Callable[[], Sample]] = {
            "Meter.debit": lambda: drive_threads([debit_of(meter)], organizations, limit),
            "Meter.aio.debit": lambda: drive_tasks(adebit_of(meter), organizations, 1, limit),
        }
        for name, loop in raw.loops.items():
            contestants[name] = partial(drive_loop, loop, 1, organizations, limit)
        contestants["raw group commit, task"] = lambda: drive_tasks(raw.group.asubmit, organizations, 1, limit)
        series = race(contestants, rounds=rounds)
        fastest = min((series[name] for name in raw.loops), key=lambda each: each.latency(0.5))
        rows = []
        for each in series.values():
            p50, p90, p99 = (each.latency(share) for share in (0.5, 0.9, 0.99))
            rows.append([each.name, p50, p90, p99, each.cpu_micros, p50 / fastest.latency(0.5), p99 / fastest.latency(0.99)])
        report.table(f"A lone caller · {databases.kind}", COLUMNS, rows)
        for name in ("Meter.debit", "Meter.aio.debit"):
            ratio = series[name].latency(0.5) / fastest.latency(0.5)
            wanted = f"p50 ≤ {RATIO:.0f} × the faster raw loop's"
            report.target(f"{databases.kind}, lone caller, {name}", wanted, f"{ratio:.2f} ×", met=ratio <= RATIO)
