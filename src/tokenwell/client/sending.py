"""Sending: what carries requests out, for plain code and for coroutines, and what makes methods of calls."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx2
import msgspec

from tokenwell.client.calls import Calls
from tokenwell.client.exchange import Attempt, Outcome, Pause, answer_of, attempt_of, attempts, error_of
from tokenwell.client.requests import Request
from tokenwell.client.shapes import LedgerLine, Page
from tokenwell.errors import ServerUnreachable

P = ParamSpec("P")
T = TypeVar("T")

RETRIES = 4
"""How often a request is repeated unless the caller says otherwise."""

TIMEOUT_SECONDS = 30

_calls = Calls()


def does(build: Callable[Concatenate[Calls, P], Request[T]]) -> Callable[Concatenate[Any, P], T]:
    """Return the method that sends what a call builds and returns the answer."""

    @functools.wraps(build)
    def call(self: Sender, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(_calls, *args, **kwargs))

    return call


def adoes(build: Callable[Concatenate[Calls, P], Request[T]]) -> Callable[Concatenate[Any, P], Awaitable[T]]:
    """Return the same method for coroutines."""

    @functools.wraps(build)
    async def call(self: AsyncSender, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(_calls, *args, **kwargs))

    return call


def each(build: Callable[Concatenate[Calls, P], Request[Page[T]]]) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """Return the method that yields every item of a list, page after page."""

    @functools.wraps(build)
    def call(self: Sender, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        request: Request[Page[T]] | None = build(_calls, *args, **kwargs)
        while request is not None:
            page = self.send(request)
            yield from page.items
            request = _after(request, page)

    return call


def aeach(build: Callable[Concatenate[Calls, P], Request[Page[T]]]) -> Callable[Concatenate[Any, P], AsyncIterator[T]]:
    """Return the same method for coroutines."""

    @functools.wraps(build)
    async def call(self: AsyncSender, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        request: Request[Page[T]] | None = build(_calls, *args, **kwargs)
        while request is not None:
            page = await self.send(request)
            for item in page.items:
                yield item
            request = _after(request, page)

    return call


def _after(request: Request[Page[T]], page: Page[T]) -> Request[Page[T]] | None:
    if page.next_cursor is None:
        return None
    name = "after_seq" if request.path.endswith("/journal") else "cursor"
    return msgspec.structs.replace(request, query=request.query | {name: page.next_cursor})


def _streamed(organization_id: str, form: str, filters: dict[str, Any]) -> Attempt:
    """Return the attempt of a stream: every line that passes a filter."""
    return attempt_of(_calls.ledger(organization_id, **filters, format=form), accept="*/*")  # type: ignore[arg-type]


class Sender:
    """Sends requests over connections that it keeps."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        retries: int = RETRIES,
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"authorization": f"Bearer {key}", "user-agent": "tokenwell-python"}
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=timeout_seconds, transport=transport)
        self._retries = retries
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, request: Request[T]) -> T:
        """Carry out a request."""
        steps = attempts(request, retries=self._retries)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as stop:
                answer: T = stop.value
                return answer
            outcome = self._wait(step.seconds) if isinstance(step, Pause) else self._try(step)

    def _wait(self, seconds: float) -> Outcome:
        self._sleep(seconds)
        return None

    def _try(self, attempt: Attempt) -> Outcome:
        try:
            return self._http.request(
                attempt.method, attempt.path, params=attempt.query, content=attempt.content, headers=attempt.headers
            )
        except httpx2.TransportError as error:
            return error

    def stream_ledger(self, organization_id: str, **filters: Any) -> Iterator[LedgerLine]:
        """Yield every ledger line that passes a filter (the filters of `ledger`), the latest first, in constant memory."""
        with self._stream(_streamed(organization_id, "ndjson", filters)) as response:
            yield from (answer_of(line.encode(), LedgerLine) for line in _guarded(response.iter_lines()))

    def export_ledger(self, organization_id: str, **filters: Any) -> Iterator[bytes]:
        """Yield every ledger line that passes a filter as CSV, piece by piece."""
        with self._stream(_streamed(organization_id, "csv", filters)) as response:
            yield from _guarded(response.iter_bytes())

    def _stream(self, attempt: Attempt) -> _Streaming:
        return _Streaming(self._http, attempt)


class _Streaming:
    """An answer that is read piece by piece; an error of the server is raised before the first."""

    def __init__(self, http: httpx2.Client, attempt: Attempt) -> None:
        self._opened = http.stream(attempt.method, attempt.path, params=attempt.query, headers=attempt.headers)

    def __enter__(self) -> httpx2.Response:
        try:
            response = self._opened.__enter__()
        except httpx2.TransportError as error:
            raise error_of(error) from None
        if not response.is_success:
            response.read()
            self._opened.__exit__(None, None, None)
            raise error_of(response)
        return response

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.__exit__(kind, error, trace)


def _guarded(pieces: Iterator[T]) -> Iterator[T]:
    try:
        yield from pieces
    except httpx2.TransportError as error:
        raise ServerUnreachable("the stream broke off", reason=str(error)) from None


class AsyncSender:
    """Sends requests over connections that it keeps, from coroutines."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        retries: int = RETRIES,
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        headers = {"authorization": f"Bearer {key}", "user-agent": "tokenwell-python"}
        self._http = httpx2.AsyncClient(base_url=url, headers=headers, timeout=timeout_seconds, transport=transport)
        self._retries = retries
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, request: Request[T]) -> T:
        """Carry out a request."""
        steps = attempts(request, retries=self._retries)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as stop:
                answer: T = stop.value
                return answer
            outcome = await (self._wait(step.seconds) if isinstance(step, Pause) else self._try(step))

    async def _wait(self, seconds: float) -> Outcome:
        await self._sleep(seconds)
        return None

    async def _try(self, attempt: Attempt) -> Outcome:
        try:
            return await self._http.request(
                attempt.method, attempt.path, params=attempt.query, content=attempt.content, headers=attempt.headers
            )
        except httpx2.TransportError as error:
            return error

    async def stream_ledger(self, organization_id: str, **filters: Any) -> AsyncIterator[LedgerLine]:
        """Yield every ledger line that passes a filter (the filters of `ledger`), the latest first, in constant memory."""
        attempt = _streamed(organization_id, "ndjson", filters)
        async for piece in self._pieces(attempt, lambda response: response.aiter_lines()):
            yield answer_of(piece.encode(), LedgerLine)

    async def export_ledger(self, organization_id: str, **filters: Any) -> AsyncIterator[bytes]:
        """Yield every ledger line that passes a filter as CSV, piece by piece."""
        attempt = _streamed(organization_id, "csv", filters)
        async for piece in self._pieces(attempt, lambda response: response.aiter_bytes()):
            yield piece

    async def _pieces(self, attempt: Attempt, read: Callable[[httpx2.Response], AsyncIterator[T]]) -> AsyncIterator[T]:
        opened = self._http.stream(attempt.method, attempt.path, params=attempt.query, headers=attempt.headers)
        try:
            async with opened as response:
                if not response.is_success:
                    await response.aread()
                    raise error_of(response)
                async for piece in read(response):
                    yield piece
        except httpx2.TransportError as error:
            raise ServerUnreachable("the stream broke off", reason=str(error)) from None
