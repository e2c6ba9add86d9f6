"""Flatness: what a debit costs as the ledger grows and as packs pile up, at 64 callers.

Databases of all sizes are built first and then measured in turns. Small ones are built anew for every turn, as measuring makes
them grow. Packs are either at rest (the first one pays for everything) or burnt through (each pays for a hundred debits, so that
packs are depleted and new ones loaded all the time).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from bench import meters
from bench.databases import Databases
from bench.load import Limit, Sample, Series, drive_tasks, race
from bench.meters import adebit_of, open_meter
from bench.tables import Report
from tokenwell import Meter

CALLERS = 64
FLAT = 1.25
SMALL = 10_000
COLUMNS = ("", "µs per debit", "slowest–fastest", "CPU µs", "p99 ms", "× the first", "from–to")
_DEBITS_A_PACK = 100
_TOKENS_A_DEBIT = 1_000

Build = Callable[[], Meter]


def measure(databases: Databases, report: Report, *, quick: bool) -> None:
    """Measure both kinds of growth."""
    sizes = (1_000, 12_000) if quick else (1_000, 100_000, 1_000_000, 5_000_000)
    packs = (1, 100) if quick else (1, 100, 10_000)
    limit, rounds = (Limit(calls=1_000), 2) if quick else (Limit(calls=4_000), 12)
    _ledgers(databases, report, sizes, limit, rounds)
    _packs(databases, report, packs, limit, rounds)


class _Grown:
    """A database of some size: kept from turn to turn, or built anew for each."""

    def __init__(self, databases: Databases, build: Callable[[str], Meter], *, kept: bool) -> None:
        self._databases = databases
        self._build = build
        self._kept = kept
        self.meter = self._fresh() if kept else None
        self.proof = ""

    def _fresh(self) -> Meter:
        url = self._databases.fresh()
        meter = self._build(url)
        self._databases.settle(url)
        return meter

    def turn(self, limit: Limit) -> Sample:
        meter = self.meter or self._fresh()
        # What a new connection and new books cost once is not what a debit costs.
        drive_tasks(adebit_of(meter), [meters.HOT], CALLERS, Limit(calls=500))
        sample = drive_tasks(adebit_of(meter), [meters.HOT], CALLERS, limit)
        if not self._kept:
            self.proof = _proof(meter)
            meter.close()
        return sample

    def close(self) -> None:
        if self.meter is not None:
            self.meter.close()


def _proof(meter: Meter) -> str:
    return meters.prove(meter, meters.debits_in(meter), [meters.HOT])


def _ledgers(databases: Databases, report: Report, sizes: tuple[int, ...], limit: Limit, rounds: int) -> None:
    began_at = time.perf_counter()
    grown = {f"{size:,} lines": _Grown(databases, partial(_ledger, lines=size), kept=size > SMALL) for size in sizes}
    built = time.perf_counter() - began_at
    series = race({name: partial(each.turn, limit) for name, each in grown.items()}, rounds=rounds)
    name, smallest = next(iter(grown.items()))
    _show(
        f"Cost of a debit by length of the ledger · {databases.kind}", report, series, f"built in {built:.0f} s; {smallest.proof}"
    )
    worst = _worst(series)
    report.target(f"{databases.kind}, {name} to {sizes[-1]:,}", f"within {FLAT} ×", f"{worst:.2f} ×", met=worst <= FLAT)
    for each in grown.values():
        each.close()


def _ledger(url: str, *, lines: int) -> Meter:
    return open_meter(url, [meters.HOT], lines=lines)


def _packs(databases: Databases, report: Report, counts: tuple[int, ...], limit: Limit, rounds: int) -> None:
    grown: dict[str, _Grown] = {}
    for count in counts:
        grown[f"{count:,} at rest"] = _Grown(databases, partial(_rested, packs=count), kept=count > 100)
    for count in counts[1:]:
        grown[f"{count:,} burnt through"] = _Grown(databases, partial(_burning, packs=count), kept=count > 100)
    series = race({name: partial(each.turn, limit) for name, each in grown.items()}, rounds=rounds)
    proof = next(iter(grown.values())).proof
    _show(f"Cost of a debit by number of open packs · {databases.kind}", report, series, proof)
    worst = _worst(series)
    report.target(f"{databases.kind}, 1 pack to {counts[-1]:,}", f"within {FLAT} ×", f"{worst:.2f} ×", met=worst <= FLAT)
    for each in grown.values():
        each.close()


def _rested(url: str, *, packs: int) -> Meter:
    return open_meter(url, [meters.HOT], packs=packs, lines=1_000)


def _burning(url: str, *, packs: int) -> Meter:
    meter = open_meter(url, [meters.HOT], packs=0)
    meters.grant(meter, [meters.HOT], packs, tokens=_DEBITS_A_PACK * _TOKENS_A_DEBIT)
    meters.grant(meter, [meters.HOT], 1, priority=1)
    meters.fill(meter, [meters.HOT], 1_000)
    return meter


def _show(title: str, report: Report, series: dict[str, Series], note: str) -> None:
    first = next(iter(series.values()))
    rows = []
    for each in series.values():
        micros = sorted(1e6 / sample.rate for sample in each.samples)
        ratio, least, most = first.ratio_to(each)
        spread = f"{micros[0]:.0f}–{micros[-1]:.0f}"
        rows.append([each.name, 1e6 / each.rate, spread, each.cpu_micros, each.latency(0.99), ratio, f"{least:.2f}–{most:.2f}"])
    report.table(title, COLUMNS, rows, note=note)


def _worst(series: dict[str, Series]) -> float:
    first = next(iter(series.values()))
    return max(first.ratio_to(each)[0] for each in series.values())
