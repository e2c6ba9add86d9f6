"""The way to the provider: what is sent, how answers are read, and how connections are kept and given up."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import until
from tests.gateway.upstreams import FakeUpstream, Reply, Request
from tokenwell.errors import RequestInvalid, UpstreamError, UpstreamTimeout
from tokenwell.gateway import connection, upstream
from tokenwell.gateway.upstream import HttpUpstream

CHAT = "/chat/completions"
LOCALHOST = Path(__file__).parent / "localhost.pem"
"""A certificate for localhost, signed by itself, and its key; made for these tests and trusted nowhere else."""


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpstream]:
    """A provider."""
    fake = FakeUpstream()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def provider(fake: FakeUpstream) -> AsyncIterator[HttpUpstream]:
    """The way to it."""
    opened = HttpUpstream(fake.url, "sk-operator", timeout_seconds=0.2)
    await opened.open()
    yield opened
    await opened.close()


def raw(*pieces: bytes, end: str = "keep") -> Any:
    """Answer with these bytes, each by itself; then keep, close or reset the connection."""

    async def answer(_request: Request, reply: Reply) -> None:
        for piece in pieces:
            await reply.send(piece)
            await asyncio.sleep(0)
        if end == "reset":
            reply.reset()
        elif end == "close":
            reply.close()

    return answer


async def _ask(provider: HttpUpstream) -> tuple[int, bytes]:
    answer = await provider.send("POST", CHAT, body=b"{}")
    return answer.status, await answer.read()


READABLE = {
    "a length": [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"],
    "chunks": [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"],
    "byte by byte": [bytes([each]) for each in b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"],
    "interim answers first": [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ],
}


@pytest.mark.parametrize("how", READABLE)
async def test_an_answer_is_read_and_its_connection_used_again(fake: FakeUpstream, provider: HttpUpstream, how: str) -> None:
    fake.answer = raw(*READABLE[how])
    for _ in range(3):
        assert await _ask(provider) == (200, b"hello")
    assert fake.connections == 1


async def test_an_answer_may_last_as_long_as_its_connection(fake: FakeUpstream, provider: HttpUpstream) -> None:
    fake.answer = raw(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", end="close")
    for number in (1, 2):
        assert await _ask(provider) == (200, b"hello")
        assert fake.connections == number


async def test_a_connection_that_the_provider_will_close_is_not_used_again(fake: FakeUpstream, provider: HttpUpstream) -> None:
    fake.answer = raw(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello")
    for number in (1, 2):
        assert await _ask(provider) == (200, b"hello")
        assert fake.connections == number


async def test_a_connection_that_was_closed_meanwhile_is_not_used_again(fake: FakeUpstream, provider: HttpUpstream) -> None:
    fake.answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", end="close")
    assert await _ask(provider) == (200, b"hello")
    await until(lambda: not provider._idle or not provider._idle[0].is_reusable)
    assert await _ask(provider) == (200, b"hello")
    assert fake.connections == 2


async def test_what_comes_after_an_answer_is_never_taken_for_the_next(fake: FakeUpstream, provider: HttpUpstream) -> None:
    good = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    fake.answer = raw(good + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    for _ in range(2):
        assert await _ask(provider) == (200, b"hello")
    assert fake.connections == 2


async def test_an_idle_connection_is_kept_for_a_while_only(
    fake: FakeUpstream, provider: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answer = raw(*READABLE["a length"])
    assert await _ask(provider) == (200, b"hello")
    monkeypatch.setattr(upstream, "KEEP_ALIVE_SECONDS", -1)
    assert await _ask(provider) == (200, b"hello")
    assert fake.connections == 2


BROKEN = {
    "nothing": ([], "reset"),
    "an orderly end before the head": ([], "close"),
    "half a head": ([b"HTTP/1.1 200 OK\r\ncontent-"], "close"),
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], "keep"),
    "another protocol": ([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], "keep"),
    "half a body": ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"], "close"),
    "half a chunked body": ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"], "close"),
    "a chunk of no size": ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"], "keep"),
    "a body that has no end and is reset": ([b"HTTP/1.1 200 OK\r\n\r\nhello"], "reset"),
    "an encoding": ([b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello"], "keep"),
    "an endless head": ([b"HTTP/1.1 200 OK\r\n", *([b"x: " + b"y" * 60_000 + b"\r\n"] * 10)], "keep"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_an_answer_that_cannot_be_read_is_an_error_and_the_next_is_read(
    fake: FakeUpstream, provider: HttpUpstream, how: str
) -> None:
    pieces, end = BROKEN[how]
    fake.answer = raw(*pieces, end=end)
    with pytest.raises(UpstreamError):
        await _ask(provider)
    fake.answer = raw(*READABLE["chunks"])
    assert await _ask(provider) == (200, b"hello")
    assert provider._slots._value == upstream.CONNECTION_LIMIT


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"]])
async def test_silence_is_a_timeout(fake: FakeUpstream, provider: HttpUpstream, pieces: list[bytes]) -> None:
    fake.answer = raw(*pieces)
    with pytest.raises(UpstreamTimeout):
        await _ask(provider)


async def test_a_slow_answer_that_keeps_coming_is_no_timeout(fake: FakeUpstream, provider: HttpUpstream) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        for _ in range(5):
            await asyncio.sleep(0.1)
            await reply.piece(b"x")
        await reply.end_stream()

    fake.answer = answer
    assert await _ask(provider) == (200, b"xxxxx")


async def test_what_came_before_a_break_is_read_before_the_error(fake: FakeUpstream, provider: HttpUpstream) -> None:
    fake.answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", end="close")
    answer = await provider.send("POST", CHAT, body=b"{}")
    await asyncio.sleep(0.05)
    assert await answer.read_some() == b"hello"
    with pytest.raises(UpstreamError):
        await answer.read_some()


async def test_a_reader_that_does_not_keep_up_slows_the_provider_down_and_is_no_silence(
    fake: FakeUpstream, provider: HttpUpstream
) -> None:
    sent = 0

    async def answer(_request: Request, reply: Reply) -> None:
        nonlocal sent
        await reply.begin_stream()
        for _ in range(400):
            await reply.piece(b"x" * 100_000)
            sent += 100_000
        await reply.end_stream()

    fake.answer = answer
    got = await provider.send("POST", CHAT, body=b"{}")
    await asyncio.sleep(0.5)
    assert sent < 40_000_000
    assert got._connection is not None
    assert got._connection._buffered_bytes < 4 * connection.BUFFER_BYTES
    assert len(await got.read()) == 40_000_000


async def test_an_answer_that_is_too_large_is_refused(
    fake: FakeUpstream, provider: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "ANSWER_LIMIT_BYTES", 4)
    fake.answer = raw(*READABLE["a length"])
    with pytest.raises(UpstreamError, match="too large"):
        await _ask(provider)


@pytest.mark.parametrize("early", [False, True])
async def test_whoever_is_cancelled_closes_the_connection(fake: FakeUpstream, provider: HttpUpstream, early: bool) -> None:
    gone = asyncio.Event()

    async def answer(_request: Request, reply: Reply) -> None:
        if not early:
            await reply.begin_stream()
        await reply.gone.wait()
        gone.set()

    fake.answer = answer
    task = asyncio.ensure_future(_ask(provider))
    await until(lambda: len(fake.requests) == 1)
    task.cancel()
    await asyncio.wait_for(gone.wait(), 1)
    assert provider._slots._value == upstream.CONNECTION_LIMIT


async def test_more_requests_than_connections_wait_their_turn(fake: FakeUpstream, provider: HttpUpstream) -> None:
    provider._slots = asyncio.Semaphore(2)
    fake.answer = raw(*READABLE["a length"])
    assert await asyncio.gather(*(_ask(provider) for _ in range(10))) == [(200, b"hello")] * 10
    assert fake.connections <= 2


async def test_a_request_that_waits_too_long_for_a_connection_is_a_timeout(
    fake: FakeUpstream, provider: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "CONNECT_SECONDS", 0.05)
    provider._slots = asyncio.Semaphore(0)
    with pytest.raises(UpstreamTimeout, match="in use"):
        await _ask(provider)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://name.invalid", "http://" + "x" * 70 + ".invalid"])
async def test_a_provider_that_is_not_there_is_an_error(address: str) -> None:
    provider = HttpUpstream(address)
    with pytest.raises(UpstreamError):
        await _ask(provider)
    assert provider._slots._value == upstream.CONNECTION_LIMIT


@pytest.mark.parametrize("address", ["http://host:99999", "http://host:x", "http://[::1"])
def test_an_address_that_cannot_be_read_is_refused(address: str) -> None:
    with pytest.raises(RequestInvalid):
        HttpUpstream(address)


async def test_the_rest_of_an_answer_is_waited_for_only_shortly(
    fake: FakeUpstream, provider: HttpUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "DRAIN_SECONDS", 0.05)

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(b"x")
        await reply.gone.wait()

    fake.answer = answer
    got = await provider.send("POST", CHAT, body=b"{}")
    assert await got.read_some() == b"x"
    await got.finish()
    assert provider._slots._value == upstream.CONNECTION_LIMIT
    assert not provider._idle


async def test_the_base_urls_path_goes_before_every_path(fake: FakeUpstream) -> None:
    provider = HttpUpstream(fake.url.replace("/v1", "/deep/v9/"))
    fake.answer = raw(*READABLE["a length"])
    await _ask(provider)
    (request,) = fake.requests
    assert request.path == "/deep/v9/chat/completions"
    assert request.headers["host"] == fake.url.split("/")[2]
    assert "authorization" not in request.headers
    await provider.close()


async def test_a_provider_behind_tls_is_asked_only_if_it_is_who_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    fake = FakeUpstream()
    await fake.start(tls=context)
    fake.answer = raw(*READABLE["chunks"])
    address = fake.url.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await _ask(HttpUpstream(address))
    monkeypatch.setenv("SSL_CERT_FILE", str(LOCALHOST))
    trusting = HttpUpstream(address)
    for _ in range(2):
        assert await _ask(trusting) == (200, b"hello")
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await _ask(HttpUpstream(address.replace("localhost", "127.0.0.1")))
    assert len(fake.requests) == 2
    await trusting.close()
    await fake.stop()
