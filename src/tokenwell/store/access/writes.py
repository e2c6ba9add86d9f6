"""Writes in tables: which writes of the REST API were begun under which idempotency key, and what was answered to them.

Every function works in the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.core.identifiers import key_bytes
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import api_write as _write


class WriteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A write that was begun: what stands for its input, when, and what was answered. Without a status nothing was yet."""

    given: dict[str, str]
    at: datetime
    status: int | None = None
    answer: bytes = b""


def begin(connection: Connection, organization_id: str, key: str, given: dict[str, str], at: datetime) -> WriteRecord | None:
    """Note that a write is begun, unless one was under this key: then return that. Two that begin at once wait for each other."""
    values = {"organization_id": organization_id, "key": key_bytes(key), "at": to_micros(at)}
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    beginning = insert(_write).values(**values, given=msgspec.json.encode(given).decode()).on_conflict_do_nothing()
    if connection.execute(beginning.returning(_write.c.at)).first() is not None:
        return None
    own = (_write.c.organization_id == organization_id) & (_write.c.key == key_bytes(key))
    row = connection.execute(select(_write.c.given, _write.c.at, _write.c.status, _write.c.answer).where(own)).one()
    given_first = msgspec.json.decode(row[0], type=dict[str, str])
    return WriteRecord(given=given_first, at=from_micros(row[1]), status=row[2], answer=bytes(row[3] or b""))


def move(connection: Connection, organization_id: str, key: str, *, begun_at: datetime, at: datetime) -> bool:
    """Note that a write without an answer is begun anew at `at`; returns whether nobody else did so before."""
    own = (_write.c.organization_id == organization_id) & (_write.c.key == key_bytes(key))
    moving = update(_write).where(own, _write.c.status.is_(None), _write.c.at == to_micros(begun_at)).values(at=to_micros(at))
    return connection.execute(moving).rowcount == 1


def answer(connection: Connection, organization_id: str, key: str, *, status: int, content: bytes) -> bool:
    """Note what was answered to a write; returns whether nothing was before."""
    own = (_write.c.organization_id == organization_id) & (_write.c.key == key_bytes(key))
    answering = update(_write).where(own, _write.c.status.is_(None)).values(status=status, answer=content)
    return connection.execute(answering).rowcount == 1


def forget(connection: Connection, organization_id: str, key: str) -> None:
    """Forget a write that was not answered."""
    own = (_write.c.organization_id == organization_id) & (_write.c.key == key_bytes(key))
    connection.execute(delete(_write).where(own, _write.c.status.is_(None)))
