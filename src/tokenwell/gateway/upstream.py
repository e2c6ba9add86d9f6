"""Upstream: the AI provider behind the gateway."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol
from urllib.parse import urlsplit

from tokenwell.errors import RequestInvalid, UpstreamError, UpstreamTimeout
from tokenwell.gateway.connection import Connection
from tokenwell.gateway.exchange import Headers

CONNECT_SECONDS = 10
"""How long a connection to the provider may take, waiting for a free one included."""

CONNECTION_LIMIT = 2_000
"""How many requests are sent at a time; others wait."""

KEEP_ALIVE_SECONDS = 30
"""How long a connection is kept for the next request."""

ANSWER_LIMIT_BYTES = 64 * 2**20
"""The largest answer that is read as a whole."""

DRAIN_SECONDS = 1
"""How long the rest of an answer that nobody needs is waited for, so that its connection can be used again."""

_PASSED = {
    b"content-type",
    b"retry-after",
    b"retry-after-ms",
    b"x-should-retry",
    b"x-request-id",
    b"request-id",
    b"openai-model",
    b"openai-processing-ms",
    b"openai-version",
}
"""Headers of the provider that are passed on, beside its rate limits. Others may tell whose account is behind the gateway."""

_FORWARDED = (b"openai-beta", b"anthropic-beta", b"anthropic-version", b"traceparent", b"tracestate")
"""Headers of the client that are sent on to the provider."""


class UpstreamAnswer(Protocol):
    """A provider's answer: what it begins with, then its bytes. Must be finished or closed."""

    status: int
    headers: Headers
    served_by: str
    """Who answers, as `provider/model`; empty where only one provider is configured."""
    drains: bool
    """Whether it is to be read to its end, for the true usage, although the client has gone."""

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of server-sent events."""

    async def read(self) -> bytes:
        """Return the whole body. Raises UpstreamError."""

    async def read_some(self) -> bytes:
        """Return the bytes that came next, empty at the end. Raises UpstreamError."""

    async def finish(self) -> None:
        """Give the connection back if the end has come or comes at once, else close it. Raises nothing."""

    def close(self) -> None:
        """Break off: the provider stops at once."""


class Upstream(Protocol):
    """Where requests are sent on to."""

    async def open(self) -> None:
        """Get ready; on the event loop that will use it."""

    def check(self, path: str, model: str) -> None:
        """Return if a model, as a client names it, can be asked under a path; before anything is held. Raises ModelNotFound."""

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        model: str | None = None,
        served_by: str = "",
    ) -> UpstreamAnswer:
        """Send a request to a path under the base URL; returns as the answer begins. `model` is the model as the client named it,
        `served_by` who must be asked, since what the request is about lies there; empty for whoever can.

        Raises UpstreamError, UpstreamTimeout.
        """

    async def close(self) -> None:
        """Close every connection."""


class HttpUpstream:
    """A provider over HTTP. Only addresses under `base_url` are asked, and redirects are not followed.

    `api_key` is sent as a bearer's, `fixed_headers` with every request. The provider may take `connect_seconds` to be reached,
    `first_byte_seconds` to begin an answer and `timeout_seconds` between pieces of it. Raises RequestInvalid for an address that
    cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        *,
        timeout_seconds: float = 300,
        first_byte_seconds: float | None = None,
        connect_seconds: float | None = None,
        connection_limit: int = CONNECTION_LIMIT,
        fixed_headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        try:
            address = urlsplit(base_url)
            self._is_secure = address.scheme == "https"
            self._port = address.port or (443 if self._is_secure else 80)
            self._host = address.hostname or ""
        except ValueError:
            raise RequestInvalid("the AI provider's address cannot be read", field="upstream_url") from None
        self._base = address.path.rstrip("/")
        self._silence_seconds = timeout_seconds
        self._first_byte_seconds = timeout_seconds if first_byte_seconds is None else first_byte_seconds
        self._connect_seconds = connect_seconds
        self._fixed = f"Host: {address.netloc.rpartition('@')[2]}\r\nUser-Agent: tokenwell\r\nAccept-Encoding: identity\r\n"
        if api_key:
            self._fixed += f"Authorization: Bearer {api_key}\r\n"
        self._fixed += "".join(f"{name}: {value}\r\n" for name, value in fixed_headers.items())
        self._idle: deque[Connection] = deque()
        self._slots = asyncio.Semaphore(connection_limit)
        self._trust: ssl.SSLContext | None = None

    async def open(self) -> None:
        """Load the certificates that are trusted."""
        if self._is_secure and self._trust is None:
            self._trust = await asyncio.to_thread(ssl.create_default_context)
            self._trust.set_alpn_protocols(["http/1.1"])

    def check(self, path: str, model: str) -> None:
        """Accept every model: the provider judges."""

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        model: str | None = None,
        served_by: str = "",
        extra: bytes = b"",
    ) -> HttpAnswer:
        """Send a request, with `extra` lines of head; returns as the answer begins.

        A connection that was kept may have been closed by the other side just now: then the request is sent once more on a new one.
        """
        if self._slots.locked():
            await self._queue()
        else:
            await self._slots.acquire()
        request = self._request(method, path, body, headers or {}, extra)
        connection = self._take_idle()
        try:
            if connection is not None:
                connection.send(request)
                if not await connection.begin_if_alive():
                    connection = None
            if connection is None:
                connection = await self._connect()
                connection.send(request)
                await connection.begin()
        except BaseException:
            self._slots.release()
            if connection is not None:
                connection.abort()
            raise
        return HttpAnswer(self, connection)

    def give_back(self, connection: Connection) -> None:
        """Take a connection back from an answer: for the next request where that is possible, else it is broken off."""
        self._slots.release()
        now = connection.idle_since = asyncio.get_running_loop().time()
        while self._idle and now - self._idle[0].idle_since > KEEP_ALIVE_SECONDS:
            self._idle.popleft().abort()
        if connection.is_reusable:
            self._idle.append(connection)
        else:
            connection.abort()

    async def close(self) -> None:
        """Close every connection that is kept."""
        while self._idle:
            self._idle.pop().abort()

    def _take_idle(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable and now - connection.idle_since <= KEEP_ALIVE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _queue(self) -> None:
        try:
            async with asyncio.timeout(self._connect_seconds or CONNECT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise UpstreamTimeout("every connection to the AI provider is in use") from None

    async def _connect(self) -> Connection:
        await self.open()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds or CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, silence_seconds=self._silence_seconds, first_byte_seconds=self._first_byte_seconds),
                    self._host,
                    self._port,
                    ssl=self._trust,
                )
        except TimeoutError:
            raise UpstreamTimeout("the AI provider cannot be reached in time") from None
        except (OSError, UnicodeError) as error:
            raise UpstreamError("the AI provider cannot be reached", reason=type(error).__name__) from error
        return connection

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[bytes, bytes], extra: bytes) -> bytes:
        head = f"{method} {self._base}{path} HTTP/1.1\r\n{self._fixed}".encode() + extra
        for name in _FORWARDED:
            if name in headers:
                head += b"%s: %s\r\n" % (name, headers[name])
        if body is None:
            return head + b"\r\n"
        kind = headers.get(b"content-type", b"application/json")
        return head + b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


class HttpAnswer:
    """An answer over HTTP."""

    __slots__ = ("_connection", "_upstream", "drains", "headers", "is_stream", "served_by", "status")

    def __init__(self, upstream: HttpUpstream, connection: Connection) -> None:
        self.served_by = ""
        self.drains = False
        self._upstream = upstream
        self._connection: Connection | None = connection
        self.status = connection.status
        self.headers: Headers = []
        self.is_stream = False
        for name, value in connection.headers:
            if name == b"content-type":
                self.is_stream = value.lower().startswith(b"text/event-stream")
            elif name == b"content-encoding" and value.lower() != b"identity":
                self.close()
                raise UpstreamError("the AI provider's answer is encoded, which was not asked for")
            if name in _PASSED or name.startswith((b"x-ratelimit-", b"anthropic-ratelimit-")):
                self.headers.append((name, value))

    async def read(self) -> bytes:
        """Return the whole body. Raises UpstreamError, also where it is larger than ANSWER_LIMIT_BYTES."""
        parts: list[bytes] = []
        size = 0
        try:
            while part := await self.read_some():
                parts.append(part)
                size += len(part)
                if size > ANSWER_LIMIT_BYTES:
                    raise UpstreamError("the AI provider's answer is too large")
        except BaseException:
            self.close()
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_some(self) -> bytes:
        """Return the bytes that came next, empty at the end. Raises UpstreamError, UpstreamTimeout.

        A reader that is cancelled closes the answer, or somebody else reads on.
        """
        if self._connection is None:
            return b""
        try:
            data = await self._connection.read()
        except asyncio.CancelledError:
            raise
        except BaseException:
            self.close()
            raise
        if not data:
            self._give_back()
        return data

    async def finish(self) -> None:
        """Give the connection back if the end has come or comes within DRAIN_SECONDS, else close it."""
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(None if self._connection.has_ended else DRAIN_SECONDS):
                while await self.read_some():
                    pass
        except (UpstreamError, TimeoutError):
            self.close()
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection: the provider sees it and stops."""
        if self._connection is not None:
            self._connection.abort()
            self._give_back()

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._upstream.give_back(connection)
