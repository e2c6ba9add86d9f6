"""Exchange: how one request is carried out, attempt after attempt, without sending anything itself.

`attempts` yields what to do next, an attempt to send or a pause, and is sent the outcome; whoever drives it may be plain or a
coroutine. A write is repeated with the same idempotency key, so that an unknown outcome becomes a known one.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any, TypeVar

import httpx2
import msgspec

from tokenwell.client.requests import Request
from tokenwell.client.shapes import Problem, Shape
from tokenwell.errors import CommitUnknown, ServerUnreachable, TokenwellError

T = TypeVar("T")

LONGEST_PAUSE_SECONDS = 30
_PASSING = (429, 502, 503, 504)
"""What may stand between answers for a while without being Tokenwell's."""


class Pause(msgspec.Struct, frozen=True):
    """Wait before the next attempt."""

    seconds: float


class Attempt(msgspec.Struct, frozen=True):
    """Send this."""

    method: str
    path: str
    query: dict[str, str]
    content: bytes | None
    headers: dict[str, str]


Outcome = httpx2.Response | httpx2.TransportError | None
Steps = Generator[Attempt | Pause, Outcome, T]


def attempts(request: Request[T], *, retries: int) -> Steps[T]:
    """Carry out a request, repeating it at most `retries` times. Returns the answer, or raises what the server told, else
    ServerUnreachable."""
    attempt = attempt_of(request)
    for number in range(retries + 1):
        outcome = yield attempt
        if isinstance(outcome, httpx2.Response) and outcome.is_success:
            return _told(outcome, answer_of(outcome.content, request.answer))
        error = error_of(outcome)
        if number == retries or not _is_worth_repeating(error):
            raise error
        yield Pause(_pause(outcome, number))
    raise AssertionError


def attempt_of(request: Request[Any], *, accept: str = "application/json") -> Attempt:
    """Return what is to be sent for a request."""
    headers = {"accept": accept}
    if request.content is not None:
        headers["content-type"] = "application/json"
    if request.key is not None:
        headers["idempotency-key"] = request.key
    return Attempt(request.method, request.path, request.query, request.content, headers)


def _told(response: httpx2.Response, answer: T) -> T:
    """Return an answer that says of itself whether it was given before."""
    if isinstance(answer, Shape) and response.headers.get("idempotent-replayed") == "true":
        return answer.as_replayed()
    return answer


def answer_of(content: bytes, kind: type[T]) -> T:
    """Return an answer; numbers that came as text are numbers again. Raises ServerUnreachable for what is no such answer."""
    try:
        return msgspec.json.decode(content, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ServerUnreachable("what answered is not Tokenwell, or another version of it") from None


def error_of(outcome: Outcome) -> TokenwellError:
    """Return the error that an outcome stands for: the server's own, by its code."""
    if not isinstance(outcome, httpx2.Response):
        return ServerUnreachable(reason=f"{type(outcome).__name__}: {outcome}")
    try:
        problem = msgspec.json.decode(outcome.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ServerUnreachable(f"the server answered {outcome.status_code}, not as Tokenwell does", status=outcome.status_code)
    kind = _classes().get(problem.code)
    if kind is None:
        return TokenwellError(problem.detail, code=problem.code, status=problem.status, **_free(problem.details))
    return kind(problem.detail, **_free(problem.details))


def _free(details: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if name not in ("message", "self", "code", "status")}


def _classes() -> dict[str, type[TokenwellError]]:
    found, waiting = {}, [TokenwellError]
    while waiting:
        kind = waiting.pop()
        found[kind.code] = kind
        waiting += kind.__subclasses__()
    return found


def _is_worth_repeating(error: TokenwellError) -> bool:
    if isinstance(error, ServerUnreachable):
        return error.details.get("status", 503) in _PASSING
    return error.retryable or isinstance(error, CommitUnknown)


def _pause(outcome: Outcome, number: int) -> float:
    told = outcome.headers.get("retry-after", "") if isinstance(outcome, httpx2.Response) else ""
    if told.isascii() and told.isdigit():
        return min(int(told), LONGEST_PAUSE_SECONDS) * (1 + random.random() / 10)
    return float(min(0.1 * 2**number, LONGEST_PAUSE_SECONDS) * (0.5 + random.random()))
