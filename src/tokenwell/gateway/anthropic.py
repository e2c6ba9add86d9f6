"""The Anthropic dialect's errors: `{"type": "error", "error": {"type", "message"}}`, to which ours add their `code`."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenwell.errors import TokenwellError
from tokenwell.gateway.telling import Telling

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""The type a status is told by; others are an `invalid_request_error` below 500, else an `api_error`."""


class AnthropicTelling(Telling):
    """Tells errors as Anthropic does."""

    def shape(self, status: int, message: str, error: TokenwellError | None) -> bytes:
        """Return a body that says `message`, about an error of ours where there is one."""
        kind = TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
        told: dict[str, Any] = {"type": kind, "message": message}
        if error is not None:
            told["code"] = error.code
            if "field" in error.details:
                told["param"] = error.details["field"]
        return msgspec.json.encode({"type": "error", "error": told})

    def event(self, shape: bytes) -> bytes:
        """Return such a body as an event of a stream."""
        return b"event: error\ndata: " + shape + b"\n\n"


ANTHROPIC = AnthropicTelling()
