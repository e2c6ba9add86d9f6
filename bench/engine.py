"""What the engine does: debits per second, latency of a lone caller, cost by size, and behaviour under overload.

    python -m bench.engine [--quick] [--database sqlite|postgres] [--section throughput|lone|flat|queue] [--json FILE]

The load comes from this very process, as it does in a program that uses the library. Everything is durable: every answer came after
its commit was on disk. Beside the engine run bare loops on the same database, in turns of a second or less; the figures are medians
of the turns, ratios are ratios of medians, with the smallest and the largest of any round.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import flat, lone, overload, throughput
from bench.databases import Databases, machine, open_databases
from bench.tables import Report

SECTIONS: dict[str, Callable[..., None]] = {
    "throughput": throughput.measure,
    "lone": lone.measure,
    "flat": flat.measure,
    "queue": overload.measure,
}
KINDS = ("sqlite", "postgres")


def arguments(given: list[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description="Measure the engine beside bare loops.")
    parser.add_argument("--quick", action="store_true", help="a few seconds instead of many minutes: shows that it runs, no more")
    parser.add_argument("--database", choices=KINDS, action="append", help="only this kind (may be repeated)")
    parser.add_argument("--section", choices=SECTIONS, action="append", help="only this section (may be repeated)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every table to a file")
    return parser.parse_args(given)


def main(given: list[str]) -> None:
    """Measure what was asked for."""
    asked = arguments(given)
    report = Report()
    began_at = time.perf_counter()
    report.table("Measured on", ("", ""), machine())
    for kind in asked.database or KINDS:
        with open_databases(kind) as databases:
            _measure(databases, report, asked.section or list(SECTIONS), quick=asked.quick)
    report.targets()
    print(f"\n{time.perf_counter() - began_at:.0f} s")
    if asked.json is not None:
        report.save(asked.json)


def _measure(databases: Databases, report: Report, sections: list[str], *, quick: bool) -> None:
    report.table(f"Durability · {databases.kind}", ("", ""), databases.settings(databases.fresh()))
    for name in sections:
        SECTIONS[name](databases, report, quick=quick)


if __name__ == "__main__":
    main(sys.argv[1:])
