"""Requests: what a call of the SDK is made of, and how it is built."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from tokenwell.client import bodies

T = TypeVar("T")
Tokens = int | str
"""An amount: a number of tokens, or text such as `"5M"`."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Request(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request. `answer` is the type of what comes back; a write has a `key`."""

    method: str
    path: str
    answer: type[T]
    query: dict[str, str] = {}
    content: bytes | None = None
    key: str | None = None


def at(organization_id: str, *parts: str) -> str:
    """Return the address of an organization, or of something in it."""
    return "/v1/organizations/" + "/".join(quote(part, safe="") for part in (organization_id, *parts))


def read(path: str, answer: type[T], **query: Any) -> Request[T]:
    """Return a request that reads; what is None is not asked."""
    told = {name: _text(value) for name, value in query.items() if value is not None}
    return Request(method="GET", path=path, answer=answer, query=told)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def write(method: str, path: str, answer: type[T], key: str | None, body: bodies.Body | None = None) -> Request[T]:
    """Return a request that writes, with a fresh idempotency key unless it is given."""
    content = None if body is None else _encode(body)
    return Request(method=method, path=path, answer=answer, content=content, key=key or str(uuid.uuid4()))
