"""Pages: the server's time for every page of the console, with many packs, a long ledger and many organizations.

    python -m bench.pages [--lines 1000000] [--packs 10000] [--organizations 5000] [--repeat 15] [--kind sqlite]

A page is asked for as a browser does, by somebody signed in, through the whole application and without a network; what is measured
ends with the last byte. The first view of each page is left out: it warms what a server keeps between requests.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import argon2
import msgspec

from bench.databases import Databases, machine, open_databases
from bench.filling import fill
from bench.tables import Report
from tokenwell import Meter
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.commands import Debit
from tokenwell.core.health import Thresholds
from tokenwell.service.identity.people import People
from tokenwell.service.suite import Suite

MEDIAN_MS = 50.0
DAYS = 60
BATCH = 1_000
PASSWORD = "correct horse battery"
MODELS = ("claude-sonnet-4.5", "qwen3-max", "gpt-5-mini", "text-embed-3", "deepseek-v4")
REASONS = ("AI reply", "Summary", "Translation")
SERVICES = 3
AT_ONCE = 200
LONG = "nightly-run"
"""Sessions go on AT_ONCE and end after some twenty lines; a single one has every 5,000th line, all over the journal."""

PLATFORM_PAGES = (
    "/admin",
    "/admin?state=running_low",
    "/admin?find=49",
    "/admin/grants",
    "/admin/usage?range=7d",
    "/admin/usage?range=30d",
    "/admin/rates",
    "/admin/settings",
)
PAGES = (
    "/o/hot",
    "/o/hot?packs=depleted",
    "/o/hot?usage=90d",
    "/o/hot/top",
    "/o/hot/ledger",
    "/o/hot/ledger?range=7d",
    "/o/hot/ledger?model=qwen3-max",
    "/o/hot/ledger?reason=Summary&range=30d",
    "/o/hot/ledger?session=session-7",
    f"/o/hot/ledger?session={LONG}",
    "/o/hot/ledger?find=none",
    "/o/hot/ledger?pack=PK-5",
    "/o/hot/ledger/values?of=model",
    "/o/hot/usage",
    "/o/hot/usage?range=90d&by=reason",
    "/o/hot/usage?range=7d&width=hour",
    "/o/hot/sessions",
    "/o/hot/sessions/session-7",
    f"/o/hot/sessions/{LONG}",
    "/o/hot/packs/PK-1",
    "/o/hot/packs/PK-9000",
    "/o/hot/proof",
    "/o/hot/proof?part=used",
    "/o/hot/grant",
    "/o/hot/packs/PK-9000/revoke",
    "/o/hot/thresholds",
)


class _Clock:
    """A clock that the builder moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def build(url: str, *, lines: int, packs: int, organizations: int) -> Meter:
    """Return a meter with one large organization, whose lines lie evenly over DAYS, and many small ones."""
    clock = _Clock()
    end = clock.now
    clock.now = end - timedelta(days=DAYS)
    thresholds = Thresholds(5_000_000, 1_000_000)
    meter = Meter(url, thresholds=thresholds, clock=clock)
    meter.create_organization("hot", name="Northwind Support")
    each = 1_000 * lines // max(packs // 2, 1) + 1  # half of the packs are used up, the others stay whole
    _commit(meter, (meter.intake.grant("hot", each, expires_at=end + timedelta(days=30 + place % 300)) for place in range(packs)))
    for place in range(organizations):
        meter.create_organization(f"org-{place:05}", name=f"Customer number {place}")
    _commit(meter, (meter.intake.grant(f"org-{place:05}", 500_000 + 1_000 * place) for place in range(organizations)))
    fill(meter, url, lines, _debits(meter), until=end)
    meter.close()
    clock.now = end
    return Meter(url, thresholds=thresholds, clock=clock)


def _debits(meter: Meter) -> Callable[[int], Debit]:
    """Return what gives the debit of each place."""
    kinds = [_debit(meter, place) for place in range(len(MODELS) * len(REASONS) * SERVICES)]

    def debit(place: int) -> Debit:
        kind = kinds[place % len(kinds)]
        session = f"session-{place // (AT_ONCE * 20) * AT_ONCE + place % AT_ONCE}" if place % 5_000 else LONG
        return msgspec.structs.replace(kind, charge=msgspec.structs.replace(kind.charge, session=session))

    return debit


def _debit(meter: Meter, place: int) -> Debit:
    return meter.intake.debit(
        "hot",
        prompt_tokens=800,
        completion_tokens=200,
        model=MODELS[place % len(MODELS)],
        reason=REASONS[place // len(MODELS) % len(REASONS)],
        service_id=f"service-{place // (len(MODELS) * len(REASONS))}",
        key=f"req-{place}",
    )


def _commit(meter: Meter, commands: Iterator[Any]) -> None:
    while batch := list(itertools.islice(commands, BATCH)):
        for answer in meter._writer.commit(batch):
            if isinstance(answer, Exception):
                raise answer


async def ask(app: Any, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Ask for a page; returns its status and its size in bytes."""
    place, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": place,
        "raw_path": place.encode(), "query_string": query.encode(), "headers": headers, "client": ("127.0.0.1", 1),
        "server": ("testserver", 80), "root_path": "",
    }  # fmt: skip
    status = size = 0
    sent = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not sent.is_set():
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, size
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            size += len(message.get("body", b""))

    await app(scope, receive, send)
    return status, size


async def time_pages(app: Any, cookie: str, repeat: int) -> list[tuple[str, float, float, int]]:
    """Return for each page its median time and its median CPU time in milliseconds, and its size as sent."""
    headers = [(b"host", b"testserver"), (b"cookie", cookie.encode()), (b"accept-encoding", b"gzip"), (b"accept-language", b"en")]
    rows = []
    for path in (*PAGES, *PLATFORM_PAGES):
        taken, worked = [], []
        size = 0
        for turn in range(repeat + 1):
            began_at, cpu_at = time.perf_counter(), time.process_time()
            status, size = await ask(app, path, headers)
            if turn:
                taken.append((time.perf_counter() - began_at) * 1_000)
                worked.append((time.process_time() - cpu_at) * 1_000)
            assert status == 200, (path, status)
        rows.append((path, statistics.median(taken), statistics.median(worked), size))
    return rows


def measure(databases: Databases, report: Report, options: argparse.Namespace) -> None:
    """Build, sign in, and measure every page."""
    began_at = time.perf_counter()
    url = databases.fresh()
    meter = build(url, lines=options.lines, packs=options.packs, organizations=options.organizations)
    people = People(meter.engine, meter.clock, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    people.create_admin(email="ada@example.com", password=PASSWORD, name="Ada Root")
    signed_in = people.sign_in("ada@example.com", PASSWORD, source="127.0.0.1")
    suite = Suite(meter, people=people)
    while suite.browsing.catch_up():
        pass
    databases.settle(url)
    sizes = f"{options.lines:,} lines, {options.packs:,} packs, {options.organizations:,} organizations"
    note = f"{sizes}; built in {time.perf_counter() - began_at:.0f} s"
    app = create_console(suite, Settings())
    rows = asyncio.run(time_pages(app, f"tokenwell_session={signed_in.token}", options.repeat))
    report.table(f"Server time of a page · {databases.kind}", ("", "p50 ms", "CPU ms", "bytes"), rows, note=note)
    slowest = max(rows, key=lambda row: row[1])
    report.target(
        f"{databases.kind}, every page",
        f"p50 < {MEDIAN_MS:.0f} ms",
        f"{slowest[1]:.1f} ms ({slowest[0]})",
        met=slowest[1] < MEDIAN_MS,
    )
    meter.close()


def main() -> int:
    """Measure on each kind of database; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--packs", type=int, default=10_000)
    parser.add_argument("--organizations", type=int, default=5_000)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--kind", choices=["sqlite", "postgres"])
    options = parser.parse_args()
    report = Report()
    for name, value in machine():
        print(f"{name}: {value}")
    for kind in [options.kind] if options.kind else ["sqlite", "postgres"]:
        with open_databases(kind) as databases:
            measure(databases, report, options)
    report.targets()
    return 0


if __name__ == "__main__":
    sys.exit(main())
