"""Exchange: one HTTP request and its answer, over bare ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


UNWATCHED_SECONDS = 0.02
"""For how long at first nobody looks whether the client is still there: many answers are over sooner, and looking costs as much as
passing on twenty chunks does."""


class ClientGone(Exception):
    """The client closed its connection before the answer was complete."""


class BodyTooLarge(Exception):
    """The request's body is larger than is taken."""


class Unspeakable(Exception):
    """A request that HTTP itself refuses, with the status and headers that say so."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class Exchange:
    """Reads a request and writes its answer. Nothing is written twice: `started` tells whether the answer has begun."""

    __slots__ = ("_receive", "_send", "headers", "method", "path", "query", "started")

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.started = False
        self._receive = receive
        self._send = send

    def under(self, path: str) -> str:
        """Return a path with the request's own query."""
        return path + "?" + quote(self.query, safe="=&%+,:~[]") if self.query else path

    def allow(self, *methods: str) -> None:
        """Raise Unspeakable unless it has one of these methods."""
        if self.method not in methods:
            raise Unspeakable(405, f"Only {' and '.join(methods)} is understood here.", (b"allow", ", ".join(methods).encode()))

    def require(self, *media_types: bytes) -> bytes:
        """Return the body's Content-Type. Raises Unspeakable unless it is one of these, and the body is uncompressed."""
        kind = self.headers.get(b"content-type", b"")
        if kind.partition(b";")[0].strip().lower() not in media_types:
            told = " or ".join(each.decode() for each in media_types)
            raise Unspeakable(415, f"Send {'JSON, with ' if len(media_types) == 1 else ''}Content-Type: {told}.")
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Unspeakable(415, "Send the body uncompressed.")
        return kind

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body. Raises BodyTooLarge as soon as that is known, ClientGone if it never comes."""
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise BodyTooLarge
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body") and message["type"] == "http.request" and len(body) <= limit_bytes:
            return body
        parts, size = [body], len(body)
        while message["type"] == "http.request":
            if size > limit_bytes:
                raise BodyTooLarge
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self._receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        raise ClientGone

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        """Begin an answer that is written piece by piece."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a piece. Waits while the client reads more slowly than is written."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        """Send the last piece."""
        await self._send({"type": "http.response.body", "body": data})

    def until_gone(self) -> _UntilGone:
        """Guard a block: when the client goes away, what runs inside is cancelled and ClientGone is raised.

        The body must have been read, and the answer must be finished outside the block.
        """
        return _UntilGone(self._receive)


class _UntilGone:
    """Cancels the task that runs its block when the client disconnects, in the manner of asyncio.timeout."""

    __slots__ = ("_cancelling", "_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, self._begin)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        # Somebody else may have cancelled the task as well: then it stays cancelled.
        if self._gone and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGone from None

    def _begin(self) -> None:
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
