"""Throughput: debits per second through one `Meter`, one hot organization and a thousand, beside the bare loops."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import NamedTuple

from bench import meters
from bench.databases import Databases
from bench.load import Limit, Sample, Series, drive_tasks, drive_threads, race
from bench.meters import adebit_of, debit_of, open_meter
from bench.raw import Raw, drive_loop, open_raw
from bench.tables import Report
from tokenwell import Meter

COLUMNS = ("", "per second", "slowest–fastest", "p50 ms", "p99 ms", "CPU µs", "× raw loop", "from–to")
POSTGRES_GAIN = 8.0
SQLITE_RATE = 15_000.0
TIGERBEETLE_RATE = 11_020.0
"""TigerBeetle through its Python client, one transfer a call, 64 callers, measured once on such a machine; for orientation only."""

TASKS, THREADS, RANDOM_KEYS = "Tokenwell, tasks", "Tokenwell, threads", "Tokenwell, tasks, random keys"
GROUP_TASKS, GROUP_THREADS = "raw group commit, tasks", "raw group commit, threads"


class Plan(NamedTuple):
    """How much is measured."""

    organizations: int
    lines: int
    callers: tuple[int, ...]
    rounds: int
    seconds: float


FULL = Plan(organizations=1_000, lines=100_000, callers=(1, 16, 64), rounds=7, seconds=0.7)
QUICK = Plan(organizations=20, lines=500, callers=(1, 64), rounds=2, seconds=0.15)


class _Bench:
    """The meters and the bare loops on databases of their own, and what was acknowledged by whom."""

    def __init__(self, databases: Databases, plan: Plan, organizations: list[str]) -> None:
        self.plan = plan
        self.organizations = organizations
        self.meter = open_meter(databases.fresh(), organizations, lines=plan.lines)
        self.random = open_meter(databases.fresh(), organizations, lines=plan.lines)
        self.raw = open_raw(databases.kind, databases.fresh(), organizations)
        self.acknowledged = {self.meter: meters.debits_in(self.meter), self.random: meters.debits_in(self.random)}

    def close(self) -> None:
        for each in (self.meter, self.random, self.raw):
            each.close()

    def contestants(self, callers: int) -> dict[str, Callable[[], Sample]]:
        limit, organizations = Limit(seconds=self.plan.seconds), self.organizations
        found = {
            TASKS: self._counted(self.meter, lambda: drive_tasks(adebit_of(self.meter), organizations, callers, limit)),
            THREADS: self._counted(self.meter, lambda: drive_threads([debit_of(self.meter)] * callers, organizations, limit)),
            RANDOM_KEYS: self._counted(
                self.random, lambda: drive_tasks(adebit_of(self.random, random_keys=True), organizations, callers, limit)
            ),
            GROUP_TASKS: lambda: drive_tasks(self.raw.group.asubmit, organizations, callers, limit),
            GROUP_THREADS: lambda: drive_threads([self.raw.group.submit] * callers, organizations, limit),
        }
        for name, loop in self.raw.loops.items():
            found[name] = partial(drive_loop, loop, callers, organizations, limit)
        return found

    def _counted(self, meter: Meter, drive: Callable[[], Sample]) -> Callable[[], Sample]:
        def counted() -> Sample:
            sample = drive()
            self.acknowledged[meter] += len(sample.latencies)
            return sample

        return counted


def measure(databases: Databases, report: Report, *, quick: bool) -> None:
    """Measure, print and set the targets against what was measured."""
    plan = QUICK if quick else FULL
    everyone = [f"organization-{place}" for place in range(plan.organizations)]
    for title, organizations in (("one hot organization", [meters.HOT]), (f"{plan.organizations:,} organizations", everyone)):
        with closing(_Bench(databases, plan, organizations)) as bench:
            for callers in plan.callers:
                series = race(bench.contestants(callers), rounds=plan.rounds)
                raw = _fastest(series, bench.raw)
                report.table(
                    f"Debits · {databases.kind} · {title} · {callers} caller{'s' if callers > 1 else ''}",
                    COLUMNS,
                    [_row(each, raw) for each in series.values()],
                )
                if organizations == [meters.HOT] and callers == plan.callers[-1]:
                    _targets(databases.kind, series[TASKS], raw, report, callers)
            proofs = [meters.prove(meter, count, organizations[:20]) for meter, count in bench.acknowledged.items()]
            report.table(f"Proved · {databases.kind} · {title}", (), (), note="; ".join(proofs))


def _fastest(series: dict[str, Series], raw: Raw) -> Series:
    return max((series[name] for name in raw.loops), key=lambda each: each.rate)


def _row(each: Series, raw: Series) -> list[str | float | None]:
    ratio, least, most = each.ratio_to(raw)
    figures = [each.rate, each.rates, each.latency(0.5), each.latency(0.99), each.cpu_micros]
    return [each.name, *figures, ratio, f"{least:.1f}–{most:.1f}"]


def _targets(kind: str, ours: Series, raw: Series, report: Report, callers: int) -> None:
    if kind == "sqlite":
        name = f"SQLite, {callers} callers, hot organization"
        report.target(name, f"≥ {SQLITE_RATE:,.0f} debits/s", f"{ours.rate:,.0f}", met=ours.rate >= SQLITE_RATE)
        return
    name = f"PostgreSQL, {callers} callers, hot organization"
    ratio, least, most = ours.ratio_to(raw)
    measured = f"{ratio:.1f} × ({least:.1f}–{most:.1f})"
    report.target(name, f"≥ {POSTGRES_GAIN:.0f} × the faster raw loop", measured, met=ratio >= POSTGRES_GAIN)
    wanted = f"≥ {TIGERBEETLE_RATE:,.0f} debits/s (for orientation)"
    report.target(f"{name}, past TigerBeetle", wanted, f"{ours.rate:,.0f}", met=ours.rate >= TIGERBEETLE_RATE)
