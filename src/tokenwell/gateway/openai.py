"""The OpenAI dialect: what a chat completion asks for, and how an error is told."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, NamedTuple

import msgspec

from tokenwell import errors
from tokenwell.core.identifiers import LABEL_LIMIT, check_label
from tokenwell.errors import RequestInvalid, TokenwellError
from tokenwell.gateway.counting import Prompt
from tokenwell.gateway.exchange import Headers

_Limit = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_NONE = msgspec.Raw()


class _Metadata(msgspec.Struct):
    session: str | None = None
    reason: str | None = None


class _Body(msgspec.Struct):
    """The fields of a request that matter here; the provider judges the rest."""

    model: str
    messages: msgspec.Raw
    stream: bool | None = None
    stream_options: msgspec.Raw = _NONE
    n: Annotated[int, msgspec.Meta(ge=1, le=1_000)] | None = None
    max_completion_tokens: _Limit | None = None
    max_tokens: _Limit | None = None
    tools: msgspec.Raw = _NONE
    functions: msgspec.Raw = _NONE
    response_format: msgspec.Raw = _NONE
    metadata: _Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A chat completion as asked for. `body` is what to forward: the client's own bytes, or, where a stream's usage has to be
    asked for as well (`hides_usage`), those bytes with that one option added."""

    body: bytes
    model: str
    prompt: Prompt
    output_limit_tokens: int | None
    choices: int
    streams: bool
    hides_usage: bool
    session: str | None
    reason: str | None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_options = msgspec.json.Decoder(_StreamOptions | None).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_AT_FIELD = re.compile(r" - at `\$\.?([^`]*)`$")
_DECISIVE = ("model", "messages", "stream", "stream_options", "n", "max_completion_tokens", "max_tokens")
_DECISIVE_NAMES = [b'"%s"' % name.encode() for name in _DECISIVE]
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")


def parse_chat(body: bytes, *, session: str | None = None, reason: str | None = None) -> ChatRequest:
    """Return what a body asks for. The `session` and `reason` given go before the body's own. Raises RequestInvalid."""
    asked = _read(body)
    if not asked.model or not bytes(asked.messages).startswith(b"["):
        raise _invalid("model") if not asked.model else _invalid("messages")
    metadata = asked.metadata or _Metadata()
    streams = bool(asked.stream)
    hides_usage = streams and not _asks_usage(asked.stream_options)
    limit = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    return ChatRequest(
        body=_ask_usage(body, asked.stream_options) if hides_usage else body,
        model=check_label(asked.model, field="model") or "",
        prompt=Prompt(bytes(part) for part in (asked.messages, asked.tools, asked.functions, asked.response_format) if part),
        output_limit_tokens=limit,
        choices=asked.n or 1,
        streams=streams,
        hides_usage=hides_usage,
        session=check_label(session or metadata.session, field="session") or _label_in(asked.user, asked.safety_identifier),
        reason=check_label(reason or metadata.reason, field="reason"),
    )


def _read(body: bytes) -> _Body:
    try:
        asked = _decode_body(body)
    except RecursionError:
        raise RequestInvalid("the body is nested too deeply") from None
    except msgspec.ValidationError as error:
        text = str(error)
        at = _AT_FIELD.search(text)
        field = at[1] if at else _missing_in(text)
        raise RequestInvalid(f"{field or 'the body'}: {_AT_FIELD.sub('', text)}", field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestInvalid(f"the body is not JSON: {error}") from None
    _refuse_repeated(body)
    return asked


def _missing_in(text: str) -> str | None:
    missing = re.search(r"missing required field `(\w+)`", text)
    return missing[1] if missing else None


def _refuse_repeated(body: bytes) -> None:
    """Refuse a field that is given twice: the provider might read the other one, and be paid for another model or limit."""
    if max(map(body.count, _DECISIVE_NAMES)) <= 1 and (b"\\u00" not in body or not _ESCAPED_LETTER.search(body)):
        return  # the common case, settled without a second look
    names: list[str] = json.loads(body, object_pairs_hook=lambda pairs: [name for name, _ in pairs])
    repeated = [name for name in _DECISIVE if names.count(name) > 1]
    if repeated:
        raise RequestInvalid(f"{repeated[0]}: given more than once", field=repeated[0])


def _asks_usage(options: msgspec.Raw) -> bool:
    if options is _NONE:
        return False
    try:
        asked = _decode_options(options)
    except msgspec.ValidationError:
        raise _invalid("stream_options") from None
    return asked is not None and bool(asked.include_usage)


def _ask_usage(body: bytes, options: msgspec.Raw) -> bytes:
    """Return the body with `stream_options.include_usage` set; every other value keeps its bytes."""
    if options is _NONE:
        brace = body.index(b"{") + 1
        return body[:brace] + b'"stream_options":{"include_usage":true},' + body[brace:]
    members = _decode_members(body)
    inner: dict[str, Any] = _decode_members(options) if bytes(options) != b"null" else {}
    inner["include_usage"] = True
    members["stream_options"] = msgspec.Raw(msgspec.json.encode(inner))
    return msgspec.json.encode(members)


def _invalid(field: str) -> RequestInvalid:
    wanted = {"model": "must name a model", "messages": "must be an array", "stream_options": "must be an object"}
    return RequestInvalid(f"{field}: {wanted[field]}", field=field)


def _label_in(*texts: str | None) -> str | None:
    """Return the first text that can be a label: those meant for the provider are no reason to refuse a request."""
    for text in texts:
        if text and len(text) <= LABEL_LIMIT and text.isprintable():
            return text
    return None


class _Told(NamedTuple):
    """How an error is told: its status, its type and code in this dialect, and whether and when a client should try again.

    `retry` adds, to the errors that are retryable as they are, those after which nothing was charged.
    """

    status: int
    type: str
    code: str | None = None
    retry: bool = False
    retry_after_seconds: int | None = None


_JSON = (b"content-type", b"application/json")

ERRORS: dict[type[TokenwellError], _Told] = {
    errors.TokenwellError: _Told(500, "server_error"),
    errors.RequestInvalid: _Told(400, "invalid_request_error"),
    errors.AccessDenied: _Told(403, "permission_error"),
    errors.CredentialsInvalid: _Told(401, "invalid_request_error", code="invalid_api_key"),
    errors.KeyRevoked: _Told(401, "invalid_request_error"),
    errors.NotFound: _Told(404, "invalid_request_error"),
    errors.Conflict: _Told(409, "invalid_request_error"),
    errors.BalanceRefused: _Told(402, "insufficient_quota"),
    errors.BalanceHeld: _Told(429, "insufficient_quota", retry_after_seconds=1),
    errors.StoreError: _Told(503, "server_error", retry=True, retry_after_seconds=2),
    errors.StoreBusy: _Told(503, "server_error", retry_after_seconds=1),
    errors.UpstreamError: _Told(502, "upstream_error", retry=True),
    errors.UpstreamTimeout: _Told(504, "upstream_error", retry=True),
    errors.UpstreamRejected: _Told(502, "upstream_error"),
}
"""How each error is told; one that is not here, like its nearest ancestor."""


def told(error: TokenwellError) -> tuple[int, Headers, bytes]:
    """Return the status, headers and body that tell an error. Clients obey what the headers say about trying again."""
    how = _how(error)
    headers = [_JSON, (b"x-should-retry", b"true" if how.retry or error.retryable else b"false")]
    if how.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % how.retry_after_seconds))
    if how.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return how.status, headers, _shape(error.message, how.type, how.code or error.code, error.details.get("field"))


def error_event(error: TokenwellError) -> bytes:
    """Return an error as the last event of a stream that had begun."""
    how = _how(error)
    return b"data: " + _shape(error.message, how.type, how.code or error.code) + b"\n\n"


def _how(error: TokenwellError) -> _Told:
    return next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)


def told_plainly(status: int, message: str) -> tuple[int, Headers, bytes]:
    """Return the status, headers and body of what HTTP itself refuses."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return status, [_JSON, (b"x-should-retry", b"false")], _shape(message, kind, None)


def told_upstream(status: int, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
    """Return how a provider's answer is passed on: as it is, where it is a success or an error in this dialect's shape.

    An error without shape keeps its status. What says that the gateway's own key is refused is not passed on: the client's is not
    meant; nor is a redirect, which is not followed.
    """
    if status == 401:
        return told(errors.UpstreamRejected("the AI provider refused the gateway's own credentials"))
    if 300 <= status < 400 or status < 200:
        return told(errors.UpstreamError(f"the AI provider answered with status {status}"))
    shape = _shape_in(body)
    if status < 300 and shape is not None and shape.error is None:
        return status, headers, body
    if shape is not None and shape.error is not None:
        return (status if status >= 400 else 502), headers, body
    if status < 300:
        return told(errors.UpstreamError("the AI provider's answer cannot be read"))
    kept = [(name, value) for name, value in headers if name != b"content-type"]
    message = f"the AI provider answered with status {status}"
    return status, [_JSON, *kept], _shape(message, "upstream_error", errors.UpstreamError.code)


class _Shaped(msgspec.Struct):
    error: dict[str, Any] | str | None = None


_decode_shaped = msgspec.json.Decoder(_Shaped).decode


def _shape_in(body: bytes) -> _Shaped | None:
    try:
        return _decode_shaped(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _shape(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})
