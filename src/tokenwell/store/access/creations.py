"""Creations in tables: what was created under an idempotency key, so that a repetition finds it instead of making another.

Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.core.identifiers import key_bytes
from tokenwell.core.instants import to_micros
from tokenwell.errors import IdempotencyConflict
from tokenwell.store.schema import creation


def claim(
    connection: Connection, organization_id: str, key: str, subject: str, given: Mapping[str, object], at: datetime
) -> str | None:
    """Note that `subject` is created under a key, unless something was before: then return what.

    Two that claim the same key at once wait for each other. Raises IdempotencyConflict, which names the field of `given` that
    differs from the first time.
    """
    told = msgspec.json.encode(given, order="deterministic").decode()
    values = {"organization_id": organization_id, "key": key_bytes(key), "given": told, "subject": subject, "at": to_micros(at)}
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    claiming = insert(creation).values(values).on_conflict_do_nothing().returning(creation.c.subject)
    if connection.execute(claiming).first() is not None:
        return None
    return claimed(connection, organization_id, key, given)


def claimed(connection: Connection, organization_id: str, key: str, given: Mapping[str, object]) -> str | None:
    """Return what was created under a key, None where nothing was. Raises IdempotencyConflict for other input."""
    told = msgspec.json.encode(given, order="deterministic").decode()
    own = (creation.c.organization_id == organization_id) & (creation.c.key == key_bytes(key))
    first = connection.execute(select(creation.c.subject, creation.c.given).where(own)).first()
    if first is None:
        return None
    if first[1] != told:
        raise IdempotencyConflict(field=_differing(msgspec.json.decode(first[1]), msgspec.json.decode(told)))
    return str(first[0])


def _differing(first: dict[str, object], second: dict[str, object]) -> str:
    return next(name for name in sorted({*first, *second}) if first.get(name) != second.get(name))
