"""Writes: what was answered to a write of the REST API is kept by its idempotency key, and given again.

A write is begun under its key before anything is changed, and closed with its answer afterwards; one that is refused is forgotten,
so that trying it again later may succeed. Two that begin at once with other input never both act. A write that was begun and not
closed is under way, and the same input has to wait; after LEASE its process is taken for killed, and the same input is let through
again, because every write, done twice, does the same. Other input is a conflict: nobody knows how far the first one came.

What stands for the input is a digest of each field: enough to name the field that differs, and no secret is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import msgspec
import sqlalchemy

from tokenwell.errors import IdempotencyConflict, StoreBusy
from tokenwell.service.ports import Clock, system_clock
from tokenwell.store.access import writes as store
from tokenwell.store.writer import transaction

OPERATION = "operation"
"""The field that says what was asked for. Where it differs no other field is worth naming."""


LEASE = timedelta(seconds=5)
"""For how long a write that was begun and not closed is taken to be under way."""


class FirstAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered to a write when it was done."""

    status: int
    content: bytes


class Writes:
    """The writes of the REST API in one database. Its methods block, and each may raise StoreError."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock = system_clock) -> None:
        self._engine = engine
        self._clock = clock

    def begin(self, organization_id: str, key: str, given: Mapping[str, Any]) -> FirstAnswer | None:
        """Begin a write; of one that was done before, return the answer. Platform-wide writes have the organization ''.

        Raises IdempotencyConflict that names the field of `given` which differs from the first time, StoreBusy while the same write
        is under way.
        """
        digests, now = {name: _digest(key, value) for name, value in given.items()}, self._clock()
        with transaction(self._engine, organization_id or None) as connection:
            first = store.begin(connection, organization_id, key, digests, now)
            if first is None:
                return None
            if first.given != digests:
                raise IdempotencyConflict(field=_differing(first.given, digests))
            if first.status is not None:
                return FirstAnswer(status=first.status, content=first.answer)
            is_left = now >= first.at + LEASE
            if not (is_left and store.move(connection, organization_id, key, begun_at=first.at, at=now)):
                raise StoreBusy("the same write is under way")
        return None

    def close(self, organization_id: str, key: str, answer: FirstAnswer) -> None:
        """Keep the answer of a write that was done; the first one stays."""
        with transaction(self._engine, organization_id or None) as connection:
            store.answer(connection, organization_id, key, status=answer.status, content=answer.content)

    def forget(self, organization_id: str, key: str) -> None:
        """Forget a write that was refused."""
        with transaction(self._engine, organization_id or None) as connection:
            store.forget(connection, organization_id, key)


def _digest(key: str, value: Any) -> str:
    told = msgspec.json.encode(value, order="deterministic", enc_hook=str)
    return blake2b(told, digest_size=12, key=blake2b(key.encode(), digest_size=32).digest()).hexdigest()


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> str:
    names = [OPERATION, *sorted({*first, *second} - {OPERATION})]
    return next(name for name in names if first.get(name) != second.get(name))
