"""Connection: HTTP/1.1 to the provider, one request at a time, parsed by llhttp.

Small, because little is needed: requests whose body is at hand, answers that are read piece by piece. It costs a fraction of what a
general client does, which is most of what a bare pass-through costs.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from tokenwell.errors import UpstreamError, UpstreamTimeout
from tokenwell.gateway.exchange import Headers

HEAD_LIMIT_BYTES = 2**18
"""The most that may come before an answer's body."""

BUFFER_BYTES = 2**18
"""How much of an answer is taken ahead of its reader."""


class Connection(asyncio.Protocol):
    """A connection. `send` a request, `begin` its answer, then `read` to its end; then, if it `is_reusable`, the next one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, silence_seconds: float, first_byte_seconds: float | None = None) -> None:
        self.status = 0
        self.headers: Headers = []
        self.idle_since = 0.0
        self._loop = loop
        self._silence_seconds = silence_seconds
        self._first_byte_seconds = silence_seconds if first_byte_seconds is None else first_byte_seconds
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parts: list[bytes] = []
        # Pieces of the body are only gathered here, of a burst there are many; what is read is looked at once it is all parsed.
        self.on_body = self._parts.append
        self._parser = httptools.HttpResponseParser(self)
        self._buffered_bytes = self._head_bytes = 0
        self._heard_at = 0.0
        self._error: UpstreamError | None = None
        self._is_open = self._is_paused = False
        self._has_begun, self._has_ended = False, True
        self._keeps_alive = True

    @property
    def has_ended(self) -> bool:
        """Whether the answer's last byte has come."""
        return self._has_ended

    @property
    def is_reusable(self) -> bool:
        """Whether another request can be sent: the last answer has ended, as told by itself, and nothing came after it."""
        return self._is_open and self._has_ended and self._keeps_alive and self._error is None

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self.status = 0
        self.headers = []
        self._parts.clear()
        self._buffered_bytes = self._head_bytes = 0
        self._has_begun = self._has_ended = False
        self._heard_at = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(min(self._silence_seconds, self._first_byte_seconds), self._check_silence)
        self._transport.write(request)

    async def begin(self) -> None:
        """Wait for the head of the answer: `status` and `headers`. Raises UpstreamError, UpstreamTimeout."""
        while not self._has_begun:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def begin_if_alive(self) -> bool:
        """Wait for the head like `begin`; return False if the other side closed the connection and nothing at all came."""
        try:
            await self.begin()
        except UpstreamTimeout:
            raise
        except UpstreamError:
            if self._head_bytes or self._is_open:
                raise
            return False
        return True

    async def read(self) -> bytes:
        """Return the bytes that came next, empty at the end. Raises UpstreamError, UpstreamTimeout once what came is read."""
        while not self._parts:
            if self._has_ended:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered_bytes = 0
        if self._is_paused:
            self._is_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
        return data

    def abort(self) -> None:
        """Break off at once."""
        self._is_open = False
        self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        self._error = self._error or error
        self.abort()
        self._wake()

    def _check_silence(self) -> None:
        # One timer a connection, looked at when it is due, is cheaper than one a read.
        self._timer = None
        if self._has_ended or not self._is_open:
            return
        # Whoever has been told to pause is not silent.
        limit_seconds = self._silence_seconds if self._has_begun else self._first_byte_seconds
        left = limit_seconds - (0 if self._is_paused else self._loop.time() - self._heard_at)
        if left <= 0:
            self._fail(UpstreamTimeout())
        else:
            self._timer = self._loop.call_later(min(left, self._silence_seconds), self._check_silence)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._is_open = True

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._heard_at = self._loop.time()
        if not self._has_begun:
            self._head_bytes += len(data)
        if self._has_ended or self._head_bytes > HEAD_LIMIT_BYTES + len(data):
            self._fail(UpstreamError("the AI provider sent what was not asked for"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(UpstreamError("the AI provider's answer is not HTTP", reason=type(error).__name__))
            return
        if self._parts:
            self._buffered_bytes += len(data)
            if self._buffered_bytes > BUFFER_BYTES and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end: of the answer, where it lasts as long as the connection, else of both."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        if not self._has_ended:
            if self._has_begun and error is None and self._error is None and self._lasts_as_long_as_the_connection():
                self._has_ended = True
            else:
                self._error = self._error or UpstreamError("the AI provider broke off the connection")
        self._wake()

    def _lasts_as_long_as_the_connection(self) -> bool:
        return not any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Refuse an answer to nothing: it would be taken for the answer to the next request."""
        if self._has_ended:
            raise UpstreamError("the AI provider sent what was not asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the answer, or skip an interim one."""
        status: int = self._parser.get_status_code()
        if status < 200:
            self.headers = []
            return
        self.status = status
        self._has_begun = True
        self._wake()

    def on_message_complete(self) -> None:
        """End the answer."""
        if self._has_begun:
            self._keeps_alive = self._parser.should_keep_alive()
            self._has_ended = True
            self._wake()
