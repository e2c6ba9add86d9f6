"""A gateway on a real port, over a real meter and a fake provider."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
import uvicorn

from tests.gateway.upstreams import FakeUpstream
from tokenwell.config import Settings
from tokenwell.core.receipts import Balance
from tokenwell.gateway.app import Gateway, create_gateway
from tokenwell.gateway.exchange import Message, Receive, Send
from tokenwell.gateway.upstream import HttpAnswer, HttpUpstream, Upstream
from tokenwell.service.access.keys import Keys
from tokenwell.service.meter import Meter
from tokenwell.service.shapes import LedgerLine

GRANTED = 5_000_000


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI app on a free port; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(uvicorn.Config(app, interface="asgi3", access_log=False, log_level="warning", timeout_graceful_shutdown=5))
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition; fail if it does not come true in time."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come true in time"
        await asyncio.sleep(0.002)


class DrainableUpstream(HttpUpstream):
    """A provider whose answers are read to their end if a test says so."""

    drains = False

    async def send(self, *args: Any, **options: Any) -> HttpAnswer:
        """Send a request; returns as the answer begins."""
        answer = await super().send(*args, **options)
        answer.drains = self.drains
        answer.served_by = "fake/real-1"
        return answer


class House:
    """Everything around a running gateway, and short ways to ask it."""

    def __init__(self, meter: Meter, keys: Keys, upstream: FakeUpstream, gateway: Gateway, secret: str) -> None:
        self.meter, self.keys, self.upstream, self.gateway, self.secret = meter, keys, upstream, gateway, secret
        self.address = ""
        self.hits = 0
        self.statuses: list[int] = []
        self.session: aiohttp.ClientSession
        self.provider: DrainableUpstream
        self._clients: list[Any] = []

    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        """Count the requests on their way to the gateway, and note how each was answered."""
        self.hits += scope["type"] == "http"

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])
            await send(message)

        await self.gateway(scope, receive, noting)

    def ask(self, body: Any = None, *, path: str = "/v1/chat/completions", secret: str | None = None, **headers: str) -> Any:
        """Post a call, a chat completion unless `path` says otherwise; a dict is sent as JSON, bytes as they are."""
        if not isinstance(body, bytes):
            body = json.dumps(asked() if body is None else body).encode()
        sent = {"authorization": f"Bearer {secret or self.secret}", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.post(self.address + path, data=io.BytesIO(body), headers=sent)

    def openai(self, **options: Any) -> openai.AsyncOpenAI:
        """Return the official client, pointed at the gateway."""
        options = {"base_url": f"{self.address}/v1", "api_key": self.secret} | options
        client = openai.AsyncOpenAI(**options)
        self._clients.append(client)
        return client

    def anthropic(self, **options: Any) -> anthropic.AsyncAnthropic:
        """Return the official client of the other dialect, pointed at the gateway."""
        client = anthropic.AsyncAnthropic(**{"base_url": self.address, "api_key": self.secret} | options)
        self._clients.append(client)
        return client

    def closes(self, client: Any) -> None:
        """Close a client with the house."""
        self._clients.append(client)

    async def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            await client.close()

    def balance(self) -> Balance:
        """Return the organization's balance."""
        return self.meter.balance("acme")

    def lines(self) -> list[LedgerLine]:
        """Return the Usage Ledger, the latest line first."""
        return list(self.meter.ledger("acme").items)

    async def settled(self) -> None:
        """Wait until no hold is open."""
        await until(lambda: self.balance().held_tokens == 0)

    def verify(self) -> None:
        """Fail unless every law holds and no hold is open."""
        assert self.balance().held_tokens == 0
        for verified in self.meter.verify():
            assert verified.problems == ()


def asked(text: str = "Say hello.", **fields: Any) -> dict[str, Any]:
    """Return the body of a chat completion."""
    return {"model": "fake-1", "messages": [{"role": "user", "content": text}], **fields}


@asynccontextmanager
async def house_on(
    database_url: str,
    *,
    settings: Settings | None = None,
    granted: int = GRANTED,
    router: Upstream | None = None,
    directory: Path | None = None,
    **meter: Any,
) -> AsyncIterator[House]:
    """Yield a house on a database: the organization `acme` with one pack and one key. `router` stands for its fake provider."""
    async with AsyncExitStack() as stack:
        opened = stack.enter_context(Meter(database_url, **meter))
        opened.create_organization("acme")
        if granted:
            opened.grant("acme", granted)
        keys = Keys(opened.engine, opened.clock)
        stack.callback(keys.close)
        upstream = FakeUpstream()
        await upstream.start()
        stack.push_async_callback(upstream.stop)
        settings = settings or Settings()
        provider = DrainableUpstream(upstream.url, "sk-operator", timeout_seconds=settings.upstream_timeout_seconds)
        gateway = create_gateway(opened, keys, settings, router or provider, directory=directory)
        house = House(opened, keys, upstream, gateway, keys.create("acme", name="test").secret)
        house.provider = provider
        house.address = await stack.enter_async_context(serving(house.app))
        stack.push_async_callback(house.close)
        house.session = await stack.enter_async_context(aiohttp.ClientSession())
        yield house


@pytest.fixture
async def house(sqlite_url: str) -> AsyncIterator[House]:
    """A gateway on SQLite."""
    async with house_on(sqlite_url) as opened:
        yield opened
