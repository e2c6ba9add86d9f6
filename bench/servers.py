"""The servers that `bench.gateway` measures, each in a process of its own: the provider, bare pass-throughs, and Tokenwell."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import aiohttp
import uvicorn
import uvloop

from bench.provider import Provider
from tokenwell.config import Settings
from tokenwell.gateway.app import create_gateway
from tokenwell.gateway.routing import single_provider
from tokenwell.gateway.upstream import HttpUpstream
from tokenwell.service.access.keys import Keys
from tokenwell.service.meter import Meter

DIRECT, BARE, BARE_OWN = "direct", "bare, aiohttp", "bare, own client"
SQLITE, POSTGRES = "Tokenwell, SQLite", "Tokenwell, PostgreSQL"


class Target(NamedTuple):
    """A server that is measured."""

    name: str
    port: int
    secret: str
    process_ids: tuple[int, ...]


def cores() -> tuple[set[int], set[int]]:
    """Return the cores for the load and the provider, and the one for what is measured; empty where they cannot be told."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ({*available[:-1]}, {available[-1]}) if len(available) > 1 else (set(), set())


def pin(chosen: set[int]) -> None:
    """Run this process on these cores alone."""
    if chosen and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, chosen)


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


async def _ours(upstream_url: str, database_url: str) -> Any:
    meter = Meter(database_url)
    settings = Settings()
    gateway = create_gateway(meter, Keys(meter.engine), settings, single_provider(upstream_url, "", timeout_seconds=300))
    await gateway.startup()
    return gateway


def open_account(database_url: str) -> str:
    """Make an organization with all the tokens it needs, and return the secret of its key."""
    with Meter(database_url) as meter:
        meter.create_organization("acme")
        meter.grant("acme", 10**15)
        keys = Keys(meter.engine)
        secret = keys.create("acme", name="bench").secret
        keys.close()
    return secret


def run_provider(told: Connection, chosen: set[int]) -> None:
    """Run the provider; its port is told."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, backlog=4096)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    pin(chosen)
    uvloop.run(main())


def run_server(told: Connection, chosen: set[int], upstream_url: str, kind: str, listener: socket.socket) -> None:
    """Run a bare pass-through, or Tokenwell on the database that `kind` names; that it is ready is told."""

    async def main() -> None:
        bare = {BARE: _bare_aiohttp, BARE_OWN: _bare_own}.get(kind)
        app = await (bare(upstream_url) if bare else _ours(upstream_url, kind))
        config = uvicorn.Config(app, http="httptools", lifespan="off", access_log=False, log_level="error")
        told.send("ready")
        await uvicorn.Server(config).serve(sockets=[listener])

    pin(chosen)
    uvloop.run(main())


@contextmanager
def process(target: Callable[..., None], *args: Any) -> Iterator[tuple[int, Any]]:
    """Run something in a process of its own; yields its id and what it told."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=target, args=(there, *args), daemon=True)
    child.start()
    there.close()  # so that the end of the process ends the waiting for it
    try:
        yield child.pid or 0, here.recv()
    finally:
        child.terminate()
        child.join(10)
        if child.is_alive():
            child.kill()
            child.join()


@contextmanager
def server(name: str, kind: str, upstream_url: str, *, chosen: tuple[set[int], ...], secret: str = "-") -> Iterator[Target]:
    """Run a server, in as many processes on one port as there are sets of cores."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        running = [stack.enter_context(process(run_server, each, upstream_url, kind, listener)) for each in chosen]
        yield Target(name, listener.getsockname()[1], secret, tuple(process_id for process_id, _ in running))
