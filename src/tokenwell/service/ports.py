"""Ports: what the services take from outside (the clock, fresh ids), and the shapes in which they give lists."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

from tokenwell.core.identifiers import encode_id

Clock = Callable[[], datetime]

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. `next_cursor` asks for the page after it; None at the end."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant."""

    id: str
    name: str
    created_at: datetime


def system_clock() -> datetime:
    """Return now, in UTC."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """Return a fresh id, `prefix_` and a UUIDv7 in base 32: later ids sort after earlier ones."""
    return encode_id(prefix, new_bytes())


def new_bytes() -> bytes:
    """Return a fresh UUIDv7 as 16 bytes (RFC 9562: 48 bits of milliseconds, then 74 random ones)."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return value.to_bytes(16, "big")
