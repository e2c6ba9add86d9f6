"""Problems: every error as an RFC 9457 problem, with the status that HTTP has for it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from tokenwell import errors
from tokenwell.api.wire import encode
from tokenwell.client.shapes import Problem
from tokenwell.errors import LimitReached, TokenwellError

PROBLEM_TYPE = "application/problem+json"

_BY_CATEGORY = {
    "invalid": 400, "denied": 403, "not_found": 404, "conflict": 409, "refused": 402, "limited": 429, "store": 503, "upstream": 502,
}  # fmt: skip
_BY_CLASS: dict[type[TokenwellError], int] = {
    errors.CredentialsInvalid: 401,
    errors.KeyRevoked: 401,
    errors.SignInThrottled: 429,
    errors.BalanceHeld: 429,
}
_WAIT_SECONDS = {429: 1, 503: 2}


def status_of(error: TokenwellError) -> int:
    """Return the HTTP status of an error: its own, else that of its kind."""
    for kind in type(error).__mro__:
        if kind in _BY_CLASS:
            return _BY_CLASS[kind]
    return _BY_CATEGORY.get(error.category, 500)


def problem_of(error: TokenwellError) -> Problem:
    """Return an error as a problem."""
    status = status_of(error)
    return Problem(
        type=f"urn:tokenwell:problem:{error.code}",
        title=(type(error).__doc__ or "").strip().splitlines()[0],
        status=status,
        detail=error.message,
        code=error.code,
        retryable=error.retryable,
        details={name: value for name, value in error.details.items() if value is not None},
    )


def plain_problem(status: int, code: str, detail: str) -> Problem:
    """Return a problem of HTTP itself, such as a method that an address does not have."""
    title = HTTPStatus(status).phrase
    return Problem(
        type=f"urn:tokenwell:problem:{code}", title=title, status=status, detail=detail, code=code, retryable=False, details={}
    )


def answer_problem(problem: Problem, headers: dict[str, str] | None = None, *, wait_seconds: int | None = None) -> Response:
    """Return a problem as an answer; where trying again makes sense it says when."""
    told: dict[str, Any] = {"cache-control": "no-store", **(headers or {})}
    seconds = wait_seconds or problem.details.get("retry_after_seconds") or _WAIT_SECONDS.get(problem.status)
    if seconds is not None and problem.status in _WAIT_SECONDS:
        told["retry-after"] = str(seconds)
    if problem.status == 401:
        told["www-authenticate"] = 'Bearer realm="tokenwell"'
    return Response(encode(problem), status_code=problem.status, headers=told, media_type=PROBLEM_TYPE)


def answer_error(error: TokenwellError) -> Response:
    """Return an error as an answer. What a limit of a key refuses tells what is left of it, and when it begins anew."""
    return answer_problem(problem_of(error), _limited(error) if isinstance(error, LimitReached) else None)


def _limited(error: LimitReached) -> dict[str, str]:
    details = error.details
    used = details.get("used_tokens", details["most"]) + details.get("held_tokens", 0)
    left = max(0, details["most"] - used)
    return {"ratelimit": f'"{details["limit"]}";r={left};t={details["retry_after_seconds"]}'} if left < 10**15 else {}
