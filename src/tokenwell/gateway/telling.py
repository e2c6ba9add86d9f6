"""Telling: how errors reach a client, in the shape of the provider whose language it speaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import msgspec

from tokenwell import errors
from tokenwell.errors import TokenwellError
from tokenwell.gateway.exchange import Headers

JSON = (b"content-type", b"application/json")

Answered = tuple[int, Headers, bytes]
"""A status, headers and a body."""


class Told(NamedTuple):
    """How an error is told: its status, and whether and when a client should try again.

    `retry` adds, to the errors that are retryable as they are, those after which nothing was charged.
    """

    status: int
    retry: bool = False
    retry_after_seconds: int | None = None


ERRORS: dict[type[TokenwellError], Told] = {
    errors.TokenwellError: Told(500),
    errors.RequestInvalid: Told(400),
    errors.AccessDenied: Told(403),
    errors.CredentialsInvalid: Told(401),
    errors.KeyRevoked: Told(401),
    errors.NotFound: Told(404),
    errors.Conflict: Told(409),
    errors.BalanceRefused: Told(402),
    errors.BalanceHeld: Told(429, retry_after_seconds=1),
    errors.RequestsLimited: Told(429),
    errors.LimitReached: Told(429),
    errors.StoreError: Told(503, retry=True, retry_after_seconds=2),
    errors.StoreBusy: Told(503, retry_after_seconds=1),
    errors.UpstreamError: Told(502, retry=True),
    errors.UpstreamTimeout: Told(504, retry=True),
    errors.UpstreamRejected: Told(502),
}
"""How each error is told; one that is not here, like its nearest ancestor."""


def how_to_tell(error: TokenwellError) -> Told:
    """Return how an error is told."""
    return next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)


class _Shaped(msgspec.Struct):
    error: dict[str, Any] | str | None = None


_decode_shaped = msgspec.json.Decoder(_Shaped).decode


class Telling(ABC):
    """Tells errors. What a dialect adds is their shape: `shape` for a body, `event` for a stream."""

    @abstractmethod
    def shape(self, status: int, message: str, error: TokenwellError | None) -> bytes:
        """Return a body that says `message`, about an error of ours where there is one."""

    @abstractmethod
    def event(self, shape: bytes) -> bytes:
        """Return such a body as an event of a stream."""

    def told(self, error: TokenwellError) -> Answered:
        """Return the status, headers and body that tell an error. Clients obey what the headers say about trying again."""
        how = how_to_tell(error)
        headers = [JSON, (b"x-should-retry", b"true" if how.retry or error.retryable else b"false")]
        seconds = error.details.get("retry_after_seconds", how.retry_after_seconds)
        if seconds is not None:
            headers.append((b"retry-after", b"%d" % seconds))
        if how.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        return how.status, headers, self.shape(how.status, error.message, error)

    def error_event(self, error: TokenwellError) -> bytes:
        """Return an error as the last event of a stream that had begun."""
        return self.event(self.shape(how_to_tell(error).status, error.message, error))

    def told_plainly(self, status: int, message: str) -> Answered:
        """Return the status, headers and body of what HTTP itself refuses."""
        return status, [JSON, (b"x-should-retry", b"false")], self.shape(status, message, None)

    def told_upstream(self, status: int, headers: Headers, body: bytes) -> Answered:
        """Return how a provider's answer is passed on: as it is, where it is a success or an error in this dialect's shape.

        An error without shape keeps its status. What says that the gateway's own key is refused is not passed on: the client's is
        not meant; nor is a redirect, which is not followed.
        """
        if status == 401:
            return self.told(errors.UpstreamRejected("the AI provider refused the gateway's own credentials"))
        if 300 <= status < 400 or status < 200:
            return self.told(errors.UpstreamError(f"the AI provider answered with status {status}"))
        shape = _shape_in(body)
        if status < 300 and shape is not None and shape.error is None:
            return status, headers, body
        if shape is not None and shape.error is not None:
            return (status if status >= 400 else 502), headers, body
        if status < 300:
            return self.told(errors.UpstreamError("the AI provider's answer cannot be read"))
        kept = [(name, value) for name, value in headers if name != b"content-type"]
        failed = errors.UpstreamError(f"the AI provider answered with status {status}")
        return status, [JSON, *kept], self.shape(status, failed.message, failed)


def _shape_in(body: bytes) -> _Shaped | None:
    try:
        return _decode_shaped(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
