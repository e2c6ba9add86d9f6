"""A fake AI provider on a real socket, which answers as a test tells it to: well, badly, in pieces, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}


class Request(NamedTuple):
    """What the gateway sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply:
    """The way back. `gone` is set once the gateway has closed the connection."""

    def __init__(self, writer: asyncio.StreamWriter, gone: asyncio.Event) -> None:
        self._writer = writer
        self.gone = gone

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def whole(self, body: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Send a whole answer."""
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} Told\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        await self.send(head.encode() + body)

    async def begin_stream(self) -> None:
        """Begin a stream of events."""
        await self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")

    async def piece(self, data: bytes) -> None:
        """Send a piece of a stream."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        """End a stream in order."""
        await self.send(b"0\r\n\r\n")

    def close(self) -> None:
        """Close the connection in order."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection off, so that the other side sees it as broken."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Answering = Callable[[Request, Reply], Awaitable[None]]


class FakeUpstream:
    """Listens on a loopback port. `answer` is what it does with a request; `requests` are those it got."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Answering = plain("Hello there!")
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """The base URL."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)

    async def stop(self) -> None:
        """Stop listening, break every connection off and wait until nobody is served any more."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()
        if self._serving:
            await asyncio.wait(self._serving, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            while request := await _read(reader):
                self.requests.append(request)
                gone = asyncio.Event()
                watch = asyncio.ensure_future(_watch(reader, gone))
                try:
                    await self.answer(request, Reply(writer, gone))
                except ConnectionError:
                    break
                finally:
                    watch.cancel()
                    await asyncio.wait([watch])
        finally:
            self._writers.discard(writer)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest if each)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, _ = line.split(" ")
    return Request(method, path, headers, body)


async def _watch(reader: asyncio.StreamReader, gone: asyncio.Event) -> None:
    # Nothing is sent while an answer is awaited: whatever ends the reading is the end of the connection.
    with contextlib.suppress(ConnectionError):
        await reader.read(1)
    gone.set()


def completion(text: str = "Hello there!", usage: Any = USAGE, **fields: Any) -> bytes:
    """Return a completion as JSON; without `usage` where it is None."""
    message = {"role": "assistant", "content": text}
    told: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "fake-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    return json.dumps(told | ({} if usage is None else {"usage": usage}) | fields).encode()


def chunk(text: str | None = None, **fields: Any) -> bytes:
    """Return one event of a stream that says `text`; without it, one without choices."""
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    told = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "fake-1", "choices": choices}
    return b"data: " + json.dumps(told | fields, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def plain(text: str = "Hello there!", usage: Any = USAGE, **fields: Any) -> Answering:
    """Answer with a completion."""

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.whole(completion(text, usage, **fields))

    return answer


def failing(status: int, body: bytes, kind: str = "application/json", **headers: str) -> Answering:
    """Answer with an error."""

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.whole(body, status=status, kind=kind, **headers)

    return answer


def streaming(pieces: Iterable[bytes]) -> Answering:
    """Answer with a stream of these pieces, each sent by itself, and an orderly end."""
    kept = list(pieces)

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        for piece in kept:
            await reply.piece(piece)
        await reply.end_stream()

    return answer


def speaking(*words: str, usage: Any = USAGE) -> Answering:
    """Answer with a well-formed stream that says these words and reports its usage if that is asked for."""

    async def answer(request: Request, reply: Reply) -> None:
        asked = json.loads(request.body)
        wants_usage = (asked.get("stream_options") or {}).get("include_usage")
        pieces = [chunk(word) for word in words]
        await streaming([*pieces, chunk(usage=usage), DONE] if wants_usage else [*pieces, DONE])(request, reply)

    return answer
