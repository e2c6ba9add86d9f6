"""What the gateway costs: requests and streams a second, beside direct calls, a bare pass-through and, on request, other gateways.

    python -m bench.gateway [--quick] [--section throughput|paced|memory|workers] [--without-postgres] [--peers] [--json FILE]

A provider of our own answers at once, or an event every few milliseconds. A bare pass-through is raw ASGI on uvicorn and an HTTP
client (aiohttp, or the gateway's own), and does nothing else. Ours admits, holds, forwards, settles and commits each request
durably: two commits a request, group committed. Every server runs in a process of its own, pinned to one core where there are
several; the provider and the load share the others. Targets are measured in turns, round by round; the figures are medians of the
rounds. The journals are verified afterwards.
`--peers` also installs LiteLLM's proxy and hardcap into a directory of its own, and measures what of them can be started.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench.callers import Load, load, median_of, resident_bytes
from bench.peers import peers
from bench.provider import CHUNKS, request
from bench.servers import (
    BARE,
    BARE_OWN,
    DIRECT,
    POSTGRES,
    SQLITE,
    Target,
    cores,
    open_account,
    pin,
    process,
    run_provider,
    server,
)
from bench.tables import Cell, Report
from tests.databases import fresh_postgres, postgres_server
from tokenwell.service.meter import Meter

CALLERS = (1, 16)
PACED_STREAMS = 256
PACE_MS = 5
PACED_EVENTS = 200
OPEN_STREAMS = 1_000
SECTIONS = ("throughput", "paced", "memory", "workers")


class Bench(NamedTuple):
    """What every section is given."""

    report: Report
    provider: Target
    upstream_url: str
    databases: dict[str, str]
    secrets: dict[str, str]
    seconds: float
    rounds: int
    peers: tuple[Target, ...] = ()

    @contextmanager
    def servers(self, *, bare: bool = True) -> Iterator[list[Target]]:
        """Run the pass-throughs and Tokenwell on each database."""
        chosen = (cores()[1],)
        with ExitStack() as stack:
            targets = [
                stack.enter_context(server(each, each, self.upstream_url, chosen=chosen)) for each in (BARE, BARE_OWN) if bare
            ]
            targets += [stack.enter_context(self.ours(name, chosen)) for name in self.databases]
            yield targets

    @contextmanager
    def ours(self, name: str, chosen: tuple[set[int], ...]) -> Iterator[Target]:
        """Run Tokenwell on a database, in a process for each set of cores."""
        with server(name, self.databases[name], self.upstream_url, chosen=chosen, secret=self.secrets[name]) as target:
            yield target


def throughput(bench: Bench) -> None:
    """Measure plain requests and streams in a burst, by one caller and by many."""
    runs: dict[tuple[bool, int, str], list[Load]] = {}
    with bench.servers() as ours:
        targets = [bench.provider, *ours, *bench.peers]
        for round_number in range(bench.rounds + 1):
            for streams in (False, True):
                for callers in CALLERS:
                    for target in targets:
                        asked = request(target.port, target.secret, streams=streams)
                        seconds = bench.seconds if round_number else bench.seconds / 2
                        measured = uvloop.run(load(target, asked, callers, seconds))
                        if round_number:  # the first round warms up
                            runs.setdefault((streams, callers, target.name), []).append(measured)
    results = {each: median_of(loads) for each, loads in runs.items()}
    for streams in (False, True):
        for callers in CALLERS:
            _tell_throughput(bench.report, results, streams=streams, callers=callers)
    _tell_targets(bench.report, results)


def _tell_throughput(report: Report, results: dict[tuple[bool, int, str], Load], *, streams: bool, callers: int) -> None:
    names = [name for each_streams, each_callers, name in results if (each_streams, each_callers) == (streams, callers)]
    bare, direct = results[streams, callers, BARE], results[streams, callers, DIRECT]
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        each = results[streams, callers, name]
        added = None if name == DIRECT else each.p50_ms - direct.p50_ms
        first = (each.first_p50_ms, None if name == DIRECT else each.first_p50_ms - direct.first_p50_ms) if streams else ()
        share = None if name == DIRECT else f"{each.per_second / bare.per_second:.0%}"
        rows.append((name, each.per_second, each.p50_ms, each.p99_ms, added, *first, each.cpu_micros, share))
    what = f"Streams of {CHUNKS} chunks in a burst" if streams else "Plain requests"
    columns = (
        "",
        "per second",
        "p50 ms",
        "p99 ms",
        "added p50",
        *(("first chunk", "added") if streams else ()),
        "CPU µs",
        f"of {BARE}",
    )
    report.table(f"{what}, {callers} caller{'s' if callers > 1 else ''}", columns, rows)


def _tell_targets(report: Report, results: dict[tuple[bool, int, str], Load]) -> None:
    for name in (SQLITE, POSTGRES):
        if (False, 16, name) not in results:
            continue
        wanted_plain, wanted_streams = (3_000, 1_200) if name == SQLITE else (1_800, 720)
        for streams, wanted in ((False, wanted_plain), (True, wanted_streams)):
            reached = results[streams, 16, name].per_second
            what = "streams" if streams else "requests"
            report.target(f"{name}, {what}/s, 16 callers", f"≥ {wanted:,}", f"{reached:,.0f}", met=reached >= wanted)
        added = results[False, 1, name].p50_ms - results[False, 1, DIRECT].p50_ms
        report.target(f"{name}, added p50 alone", "≤ 1.2 ms", f"{added:.2f} ms", met=added <= 1.2)
        first = results[True, 1, name].first_p50_ms - results[True, 1, DIRECT].first_p50_ms
        report.target(f"{name}, added to the first chunk, alone", "≤ 1.2 ms", f"{first:.2f} ms", met=first <= 1.2)
    share = results[False, 16, SQLITE].per_second / results[False, 16, BARE].per_second
    report.target("SQLite, plain, share of the bare pass-through", "≥ 40 %", f"{share:.0%}", met=share >= 0.4)


def paced(bench: Bench) -> None:
    """Measure many streams at once that say something every few milliseconds."""
    rows: list[tuple[Cell, ...]] = []
    with bench.servers() as targets:
        for target in [bench.provider, *targets]:
            asked = request(target.port, target.secret, streams=True, pace_ms=PACE_MS, events=PACED_EVENTS)
            each = uvloop.run(load(target, asked, PACED_STREAMS, bench.seconds, spread_seconds=PACED_EVENTS * PACE_MS / 1000))
            rows.append((target.name, each.first_p50_ms, each.first_p99_ms, each.cpu_micros / PACED_EVENTS, each.p50_ms))
            if target.name in bench.databases:
                met = each.first_p50_ms < 20
                bench.report.target(
                    f"{target.name}, {PACED_STREAMS} paced, first chunk", "< 20 ms", f"{each.first_p50_ms:.1f} ms", met=met
                )
    bench.report.table(
        f"{PACED_STREAMS} streams at once, an event every {PACE_MS} ms",
        ("", "first chunk p50 ms", "p99 ms", "CPU µs an event", "whole stream ms"),
        rows,
        note=f"Each stream is of {PACED_EVENTS} events: undisturbed it takes {PACED_EVENTS * PACE_MS:,} ms.",
    )


def memory(bench: Bench) -> None:
    """Measure what open streams take of memory, and whether that grows while they say more."""
    rows: list[tuple[Cell, ...]] = []
    for name in bench.databases:
        with bench.ours(name, (cores()[1],)) as target:
            uvloop.run(load(target, request(target.port, target.secret, streams=True), 16, 0.5))  # warm
            before, *later = uvloop.run(_watch(target, bench.seconds))
        mib = [each / 2**20 for each in (before, *later)]
        a_stream = (later[0] - before) / OPEN_STREAMS / 1024
        rows.append((name, mib[0], mib[1], mib[2], mib[3], a_stream))
        growth = (later[2] - later[0]) / max(1, later[0])
        bench.report.target(f"{name}, memory under {OPEN_STREAMS:,} open streams", "flat", f"{growth:+.1%}", met=growth < 0.05)
    columns = ("", "before, MiB", "all open", "later", "at the end", "KiB a stream")
    bench.report.table(f"Memory with {OPEN_STREAMS:,} streams open, an event every 100 ms", columns, rows)


async def _watch(target: Target, seconds: float) -> list[int]:
    """Return the memory before streams are opened, once all are, after a while, and at the end."""
    sizes = [resident_bytes(target.process_ids)]
    pause, spread = seconds, 2.0
    events = int((2 * pause + 1.5 * spread) * 10) + 20
    asked = request(target.port, target.secret, streams=True, pace_ms=100, events=events)
    running = asyncio.ensure_future(load(target, asked, OPEN_STREAMS, 0, spread_seconds=spread))
    await asyncio.sleep(1.5 * spread)
    for _ in range(3):
        sizes.append(resident_bytes(target.process_ids))
        await asyncio.sleep(pause)
    await running
    return sizes


def workers(bench: Bench) -> None:
    """Measure one process and two on the same port and database, each on a core of its own where there are several."""
    rows: list[tuple[Cell, ...]] = []
    available = [{core} for core in sorted(cores()[0] | cores()[1], reverse=True)] or [set[int]()]
    for name in bench.databases:
        one: dict[bool, float] = {}
        for count in (1, 2):
            chosen = tuple(available[place % len(available)] for place in range(count))
            with bench.ours(name, chosen) as target:
                for streams in (False, True):
                    asked = request(target.port, target.secret, streams=streams)
                    uvloop.run(load(target, asked, 32, bench.seconds / 2))
                    each = uvloop.run(load(target, asked, 32, bench.seconds))
                    one.setdefault(streams, each.per_second)
                    what = "streams" if streams else "plain"
                    rows.append((name, what, count, each.per_second, each.cpu_micros, f"{each.per_second / one[streams]:.2f} ×"))
    bench.report.table(
        "Worker processes, 32 callers",
        ("", "", "processes", "per second", "CPU µs", "of one"),
        rows,
        note=f"{os.cpu_count()} cores for the provider, the load and the database as well: a second process has what they leave.",
    )


def _verify(bench: Bench) -> None:
    """Verify the journals that all answers have left."""
    rows: list[tuple[Cell, ...]] = []
    for name, url in bench.databases.items():
        with Meter(url) as meter:
            (found,) = meter.verify("acme")
            held = meter.balance("acme").held_tokens
        rows.append((name, found.lines, "; ".join(found.problems) or "verified", held))
    bench.report.table("The journals afterwards", ("", "lines", "", "tokens still held"), rows)


def _measure(options: argparse.Namespace, report: Report) -> None:
    with ExitStack() as stack:
        process_id, port = stack.enter_context(process(run_provider, cores()[0]))
        pin(cores()[0])
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwell_bench_")))
        databases = {SQLITE: f"sqlite:///{directory / 'bench.db'}"}
        if not options.without_postgres:
            databases[POSTGRES] = stack.enter_context(fresh_postgres(stack.enter_context(postgres_server())))
        bench = Bench(
            report,
            Target(DIRECT, port, "-", (process_id,)),
            f"http://127.0.0.1:{port}/v1",
            databases,
            {name: open_account(url) for name, url in databases.items()},
            seconds=0.3 if options.quick else options.seconds,
            rounds=1 if options.quick else options.rounds,
        )
        if options.peers:
            bench = bench._replace(peers=tuple(stack.enter_context(peers(directory, port, cores()))))
        for name, section in zip(SECTIONS, (throughput, paced, memory, workers), strict=True):
            if options.section in (None, name):
                section(bench)
        _verify(bench)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that only shows that everything works")
    parser.add_argument("--section", choices=SECTIONS, help="only this section")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each measurement lasts")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--without-postgres", action="store_true", help="measure on SQLite only")
    parser.add_argument("--peers", action="store_true", help="install other gateways beside the run, and measure them too")
    parser.add_argument("--json", type=Path, help="write the tables to this file, too")
    options = parser.parse_args()
    report = Report()
    _measure(options, report)
    report.targets()
    print(f"\nPython {sys.version.split()[0]}, {os.cpu_count()} cores.")
    if options.json:
        report.save(options.json)


if __name__ == "__main__":
    main()
