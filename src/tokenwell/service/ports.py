"""Ports: what the services take from outside (the clock, fresh ids), and the shapes in which they give lists."""

from __future__ import annotations

import os
import random
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


def in_utc(clock: Clock) -> Clock:
    """Return a clock that tells the same instants in UTC, which is how they are hashed and stored."""
    return clock if clock is system_clock else lambda: clock().astimezone(UTC)


def new_id(prefix: str) -> str:
    """Return a fresh id, `prefix_` and a UUIDv7 in base 32: later ids sort after earlier ones."""
    return encode_id(prefix, new_bytes())


def new_bytes() -> bytes:
    """Return a fresh UUIDv7 as 16 bytes: 48 bits of milliseconds, 12 of their fraction (RFC 9562 6.2, method 3), 62 random."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    return (milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | _bits(62)).to_bytes(16, "big")


def _seed() -> None:
    _random.seed(os.urandom(32))


# Ids are no secrets. Asking the system for every one of them would hand the interpreter to another thread each time.
_random = random.Random()
_bits = _random.getrandbits
_seed()
os.register_at_fork(after_in_child=_seed)
