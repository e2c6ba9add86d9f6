"""The load of `bench.gateway`: callers that send one request after the other, and what they saw."""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httptools

from bench.servers import Target


class Seen:
    """What callers saw: how long each request took, until its first piece and in all, and how many pieces came."""

    def __init__(self) -> None:
        self.first_seconds: list[float] = []
        self.seconds: list[float] = []
        self.pieces = 0


class Caller(asyncio.Protocol):
    """Sends one request after the other until its time is over."""

    def __init__(self, request: bytes, until: float, seen: Seen, done: asyncio.Future[None]) -> None:
        self.request, self.until, self.seen, self.done = request, until, seen, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport: Any = transport
        self._send()

    def _send(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.first_at = 0.0
        self.sent_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Note when the first piece came."""
        self.seen.pieces += 1
        if not self.first_at:
            self.first_at = time.perf_counter()

    def on_message_complete(self) -> None:
        """Note the time and send the next request."""
        now = time.perf_counter()
        self.seen.seconds.append(now - self.sent_at)
        self.seen.first_seconds.append(self.first_at - self.sent_at)
        if self.parser.get_status_code() != 200:
            self.done.set_exception(RuntimeError(f"the server answered {self.parser.get_status_code()}"))
        elif now < self.until:
            asyncio.get_running_loop().call_soon(self._send)
            return
        else:
            self.done.set_result(None)
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell if that came too early."""
        if not self.done.done():
            self.done.set_exception(RuntimeError("the server closed the connection"))


class Load(NamedTuple):
    """What one run measured. `cpu_micros` is what a request cost the server's processes, `piece_micros` what a piece of it did."""

    per_second: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    first_p99_ms: float
    cpu_micros: float
    piece_micros: float


def cpu_seconds(process_ids: Sequence[int]) -> float:
    """Return what processes have used of their processors so far; told on Linux only."""
    try:
        return sum(_cpu_seconds(process_id) for process_id in process_ids)
    except OSError:
        return math.nan


def _cpu_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process_ids: Sequence[int]) -> int:
    """Return how much memory processes have; told on Linux only."""
    pages = sum(int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) for process_id in process_ids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def _share(ordered: list[float], share: float) -> float:
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def load(target: Target, request: bytes, callers: int, seconds: float, *, spread_seconds: float = 0) -> Load:
    """Let callers send a request again and again for a while; they begin spread over `spread_seconds`."""
    loop = asyncio.get_running_loop()
    seen = Seen()
    cpu_before = cpu_seconds(target.process_ids)
    began = time.perf_counter()
    waiting = []
    for _ in range(callers):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(lambda done=done: Caller(request, began + seconds, seen, done), "127.0.0.1", target.port)
        if spread_seconds:
            await asyncio.sleep(spread_seconds / callers)
    await asyncio.gather(*waiting)
    took = time.perf_counter() - began
    cpu = 1_000_000 * (cpu_seconds(target.process_ids) - cpu_before)
    whole, first, count = sorted(seen.seconds), sorted(seen.first_seconds), len(seen.seconds)
    return Load(
        count / took,
        _share(whole, 0.5),
        _share(whole, 0.99),
        _share(first, 0.5),
        _share(first, 0.99),
        cpu / count,
        cpu / max(1, seen.pieces),
    )


def median_of(loads: Sequence[Load]) -> Load:
    """Return the medians of several runs."""
    return Load(*(statistics.median(figures) for figures in zip(*loads, strict=True)))
