"""The OpenAI dialect's errors: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import msgspec

from tokenwell import errors
from tokenwell.errors import TokenwellError
from tokenwell.gateway.telling import Telling

TYPES: dict[type[TokenwellError], str] = {
    errors.TokenwellError: "server_error",
    errors.RequestInvalid: "invalid_request_error",
    errors.AccessDenied: "permission_error",
    errors.CredentialsInvalid: "invalid_request_error",
    errors.KeyRevoked: "invalid_request_error",
    errors.NotFound: "invalid_request_error",
    errors.Conflict: "invalid_request_error",
    errors.BalanceRefused: "insufficient_quota",
    errors.StoreError: "server_error",
    errors.UpstreamError: "upstream_error",
}
"""The type each error is told by; one that is not here, like its nearest ancestor."""


class OpenAiTelling(Telling):
    """Tells errors as OpenAI does."""

    def shape(self, status: int, message: str, error: TokenwellError | None) -> bytes:
        """Return a body that says `message`, about an error of ours where there is one."""
        kind = "server_error" if status >= 500 else "invalid_request_error"
        code = param = None
        if error is not None:
            kind = next(TYPES[each] for each in type(error).__mro__ if each in TYPES)
            code = "invalid_api_key" if type(error) is errors.CredentialsInvalid else error.code
            param = error.details.get("field")
        return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})

    def event(self, shape: bytes) -> bytes:
        """Return such a body as an event of a stream."""
        return b"data: " + shape + b"\n\n"


OPENAI = OpenAiTelling()
