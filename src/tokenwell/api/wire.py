"""Wire: values as JSON and back. Tokens beyond 2^53 are written as text, because many readers of JSON would round them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from tokenwell.client.shapes import Shape
from tokenwell.errors import RequestInvalid

EXACT = 2**53
"""The largest number that every reader of JSON keeps exactly."""

S = TypeVar("S", bound=Shape)
B = TypeVar("B")

_encode = msgspec.json.Encoder(enc_hook=str).encode
_LONG = re.compile(rb"[:\[,]-?[0-9]{16}")
_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"(?:unknown|missing required) field `([^`]*)`")


def encode(value: Any) -> bytes:
    """Return a value as JSON."""
    body = _encode(value)
    return body if _LONG.search(body) is None else _encode(_exact(msgspec.to_builtins(value, enc_hook=str)))


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(each) for each in value]
    return str(value) if type(value) is int and abs(value) > EXACT else value


def decode(body: bytes, kind: type[B]) -> B:
    """Return a body as what it must be. Raises RequestInvalid that names the field."""
    try:
        decoded: B = _decoder(cast(Any, kind)).decode(body)
        return decoded
    except RecursionError:
        raise RequestInvalid("the body is nested too deeply") from None
    except msgspec.ValidationError as error:
        text = str(error)
        place = _AT.search(text)
        unknown = _UNKNOWN.search(text)
        parts = [part for part in (place and place[1], unknown and unknown[1]) if part]
        field = ".".join(parts) or None
        reason = _AT.sub("", text)
        raise RequestInvalid(f"{field or 'the body'}: {reason[0].lower()}{reason[1:]}", field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RequestInvalid("the body is not JSON") from None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def shaped(shape: type[S], source: Any, **given: Any) -> S:
    """Return a shape whose fields are those of `source`, but for what is given."""
    return shape(**{name: getattr(source, name) for name in shape.__struct_fields__ if name not in given}, **given)
