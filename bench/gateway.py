"""What the gateway costs: requests and streams a second, beside direct calls and beside a bare pass-through.

    python -m bench.gateway [--quick] [--seconds N] [--rounds N] [--without-postgres]

A fast mock provider answers at once. A bare pass-through is raw ASGI on uvicorn and an HTTP client (aiohttp, or the gateway's own),
and does nothing else. Ours admits, holds, forwards, settles and commits each request durably: two commits a request, group
committed. Every server runs in a process of its own, pinned to one core where there are several; the mock and the load share the
others. The targets are measured in turns, round by round; the figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import httptools
import uvicorn
import uvloop

from tests.databases import fresh_postgres, postgres_server
from tokenwell.config import Settings
from tokenwell.gateway.app import create_gateway
from tokenwell.gateway.routing import single_provider
from tokenwell.gateway.upstream import HttpUpstream
from tokenwell.service.access.keys import Keys
from tokenwell.service.meter import Meter

CHUNKS = 50
CALLERS = (1, 16)
BARE, BARE_OWN = "bare, aiohttp", "bare, own client"

_WORDS = ("The quick brown fox jumps over the lazy dog and then it sleeps in the warm sun until noon. " * 3).split()
_USAGE = b'{"prompt_tokens":24,"completion_tokens":50,"total_tokens":74,"prompt_tokens_details":{"cached_tokens":0}}'
_HEAD = b'{"id":"chatcmpl-1","object":"chat.completion%s","created":1700000000,"model":"mock",'


def _plain_answer() -> bytes:
    text = " ".join(_WORDS[:CHUNKS]).encode()
    choice = b'"choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":%s}' % (
        text,
        _USAGE,
    )
    body = _HEAD % b"" + choice
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _stream_answer() -> bytes:
    choice = b'"choices":[{"index":0,"delta":{"content":" %s"},"finish_reason":null}],"usage":null}'
    bodies = [_HEAD % b".chunk" + choice % word.encode() for word in _WORDS[:CHUNKS]]
    bodies += [_HEAD % b".chunk" + b'"choices":[],"usage":%s}' % _USAGE, b"[DONE]"]
    events = [b"data: %s\n\n" % body for body in bodies]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def _request(port: int, secret: str, *, streams: bool) -> bytes:
    body = b'{"model":"mock","messages":[{"role":"system","content":"You are a helpful assistant."},'
    body += b'{"role":"user","content":"Tell me about the fox, in fifty words."}],"max_tokens":200'
    body += b',"stream":true}' if streams else b"}"
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
    )
    return (head % (port, secret)).encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Mock(asyncio.Protocol):
    """A provider that answers at once, from bytes made beforehand: a stream where "stream":true is asked for."""

    plain, stream = _plain_answer(), _stream_answer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a connection."""
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)
        self.answer = self.plain

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Look at what is asked for."""
        if b'"stream":true' in body:
            self.answer = self.stream

    def on_message_complete(self) -> None:
        """Answer."""
        self.transport.write(self.answer)
        self.answer = self.plain


class Caller(asyncio.Protocol):
    """Sends one request after the other until its time is over."""

    def __init__(self, request: bytes, until: float, seconds: list[float], done: asyncio.Future[None]) -> None:
        self.request, self.until, self.seconds, self.done = request, until, seconds, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport: Any = transport
        self._send()

    def _send(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.sent_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note the time and send the next request."""
        now = time.perf_counter()
        self.seconds.append(now - self.sent_at)
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


class Target(NamedTuple):
    """A server that is measured."""

    name: str
    port: int
    secret: str
    process_id: int


class Load(NamedTuple):
    """What one run measured. `cpu_micros` is what a request cost the server's process."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_micros: float


def _cpu_seconds(process_id: int) -> float:
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan  # told on Linux only
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _load(target: Target, request: bytes, callers: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    cpu_before = _cpu_seconds(target.process_id)
    began = time.perf_counter()
    waiting = []
    for _ in range(callers):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(lambda done=done: Caller(request, began + seconds, times, done), "127.0.0.1", target.port)
    await asyncio.gather(*waiting)
    took = time.perf_counter() - began
    cpu_seconds = _cpu_seconds(target.process_id) - cpu_before
    times.sort()
    middle, late = times[len(times) // 2], times[int(len(times) * 0.99)]
    return Load(len(times) / took, 1000 * middle, 1000 * late, 1_000_000 * cpu_seconds / len(times))


async def _bare_aiohttp(upstream_url: str) -> Any:
    """Return an ASGI app that passes requests and answers through aiohttp, and does nothing else."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar())
    url = f"{upstream_url}/chat/completions"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        answer = await session.post(url, data=body, headers={"Content-Type": "application/json"})
        kind = answer.headers["content-type"].encode()
        await _pass_on(send, answer.status, kind, answer.content.readany, answer.read)

    return app


async def _bare_own(upstream_url: str) -> Any:
    """Return an ASGI app that passes requests and answers through the gateway's own client, and does nothing else."""
    upstream = HttpUpstream(upstream_url)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        answer = await upstream.send("POST", "/chat/completions", body=body)
        await _pass_on(send, answer.status, dict(answer.headers)[b"content-type"], answer.read_some, answer.read)

    return app


async def _pass_on(send: Any, status: int, kind: bytes, read_some: Any, read: Any) -> None:
    if kind == b"text/event-stream":
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        while piece := await read_some():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    whole = await read()
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(whole))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": whole})


async def _ours(upstream_url: str, database_url: str, told: Connection) -> Any:
    meter = Meter(database_url)
    meter.create_organization("acme")
    meter.grant("acme", 10**15)
    keys = Keys(meter.engine)
    secret = keys.create("acme", name="bench").secret
    gateway = create_gateway(meter, keys, Settings(), single_provider(upstream_url, "", timeout_seconds=300))
    await gateway.startup()
    told.send(secret)
    return gateway


def _pin(cores: set[int]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _run_mock(told: Connection, cores: set[int]) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    _pin(cores)
    uvloop.run(main())


def _run_server(told: Connection, cores: set[int], upstream_url: str, kind: str) -> None:
    async def main() -> None:
        bare = {BARE: _bare_aiohttp, BARE_OWN: _bare_own}.get(kind)
        app = await (bare(upstream_url) if bare else _ours(upstream_url, kind, told))
        listener = socket.create_server(("127.0.0.1", 0))
        told.send(listener.getsockname()[1])
        config = uvicorn.Config(app, http="httptools", lifespan="off", access_log=False, log_level="warning")
        await uvicorn.Server(config).serve(sockets=[listener])

    _pin(cores)
    uvloop.run(main())


@contextmanager
def _process(target: Callable[..., None], *args: Any, answers: int = 1) -> Iterator[tuple[int, list[Any]]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there, *args), daemon=True)
    process.start()
    there.close()  # so that the end of the process ends the waiting for it
    try:
        yield process.pid or 0, [here.recv() for _ in range(answers)]
    finally:
        process.terminate()
        process.join()


@contextmanager
def _targets(cores: tuple[set[int], set[int]], *, with_postgres: bool) -> Iterator[list[Target]]:
    with ExitStack() as stack:
        mock_id, (mock,) = stack.enter_context(_process(_run_mock, cores[0]))
        url = f"http://127.0.0.1:{mock}/v1"
        targets = [Target("direct", mock, "-", mock_id)]
        for name in (BARE, BARE_OWN):
            process_id, (port,) = stack.enter_context(_process(_run_server, cores[1], url, name))
            targets.append(Target(name, port, "-", process_id))
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwell_bench_"))
        databases = {"Tokenwell, SQLite": f"sqlite:///{Path(directory) / 'bench.db'}"}
        if with_postgres:
            databases["Tokenwell, PostgreSQL"] = stack.enter_context(fresh_postgres(stack.enter_context(postgres_server())))
        for name, database in databases.items():
            process_id, (secret, port) = stack.enter_context(_process(_run_server, cores[1], url, database, answers=2))
            targets.append(Target(name, port, secret, process_id))
        yield targets


def measure(*, seconds: float, rounds: int, with_postgres: bool) -> dict[tuple[str, str], Load]:
    """Return the medians by what was measured and by target."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = ({*available[:-1]}, {available[-1]}) if len(available) > 1 else (set[int](), set[int]())
    runs: dict[tuple[str, str], list[Load]] = {}
    with _targets(cores, with_postgres=with_postgres) as targets:
        _pin(cores[0])
        for round_number in range(rounds + 1):
            for streams in (False, True):
                for callers in CALLERS:
                    for target in targets:
                        what = f"{'streams' if streams else 'requests'}, {callers} caller{'s' if callers > 1 else ''}"
                        request = _request(target.port, target.secret, streams=streams)
                        load = uvloop.run(_load(target, request, callers, seconds if round_number else seconds / 2))
                        if round_number:  # the first round warms up
                            runs.setdefault((what, target.name), []).append(load)
    return {each: Load(*(statistics.median(figures) for figures in zip(*loads, strict=True))) for each, loads in runs.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that only shows that everything works")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each measurement lasts")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--without-postgres", action="store_true", help="measure on SQLite only")
    options = parser.parse_args()
    seconds, rounds = (0.3, 1) if options.quick else (options.seconds, options.rounds)
    results = measure(seconds=seconds, rounds=rounds, with_postgres=not options.without_postgres)
    titles = ("per second", "p50 ms", "p99 ms", "CPU µs", "added p50", BARE, BARE_OWN)
    print(f"{'':24}{'':24}" + "".join(f"{title:>{max(11, len(title) + 2)}}" for title in titles))
    before = None
    for (what, target), load in results.items():
        first, before = what if what != before else "", what
        figures = f"{load.per_second:>12,.0f}{load.p50_ms:>11.2f}{load.p99_ms:>11.2f}{load.cpu_micros:>11.0f}"
        if target != "direct":
            figures += f"{load.p50_ms - results[what, BARE].p50_ms:>+11.2f}"
            figures += "".join(
                f"{load.per_second / results[what, bare].per_second:>{len(bare) + 2}.0%}" for bare in (BARE, BARE_OWN)
            )
        print(f"{first:24}{target:24}{figures}")
    print(f"Streams are of {CHUNKS} chunks in a burst. Python {sys.version.split()[0]}, {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
