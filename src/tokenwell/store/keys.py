"""Gateway keys in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, or_, select, update

from tokenwell.core.instants import NEVER_MICROS, expiry_micros, from_micros, to_micros
from tokenwell.store.schema import gateway_key


class GatewayKey(msgspec.Struct, frozen=True, kw_only=True):
    """What lets a program spend an organization's tokens through the gateway. Of its secret only the `prefix` is known."""

    id: str
    organization_id: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


_KEY = (
    gateway_key.c.key_id,
    gateway_key.c.organization_id,
    gateway_key.c.name,
    gateway_key.c.prefix,
    gateway_key.c.created_at,
    gateway_key.c.expires_at,
    gateway_key.c.revoked_at,
    gateway_key.c.last_used_at,
)


def _key_from(row: Sequence[Any]) -> GatewayKey:
    return GatewayKey(
        id=row[0],
        organization_id=row[1],
        name=row[2],
        prefix=row[3],
        created_at=from_micros(row[4]),
        expires_at=None if row[5] == NEVER_MICROS else from_micros(row[5]),
        revoked_at=None if row[6] is None else from_micros(row[6]),
        last_used_at=None if row[7] is None else from_micros(row[7]),
    )


def add_key(connection: Connection, key: GatewayKey, secret_hash: bytes) -> None:
    """Insert a key; raises sqlalchemy's IntegrityError if there is no such organization."""
    connection.execute(
        insert(gateway_key).values(
            organization_id=key.organization_id,
            key_id=key.id,
            name=key.name,
            prefix=key.prefix,
            secret_hash=secret_hash,
            created_at=to_micros(key.created_at),
            expires_at=expiry_micros(key.expires_at),
        )
    )


def find_key_by_secret(connection: Connection, secret_hash: bytes) -> GatewayKey | None:
    """Return the key whose secret has this hash, whatever its age, or None.

    The one statement that names no organization: the secret is what tells it.
    """
    row = connection.execute(select(*_KEY).where(gateway_key.c.secret_hash == secret_hash)).first()
    return None if row is None else _key_from(row)


def find_key(connection: Connection, organization_id: str, key_id: str) -> GatewayKey | None:
    """Return a key of the organization, or None."""
    own = (gateway_key.c.organization_id == organization_id) & (gateway_key.c.key_id == key_id)
    row = connection.execute(select(*_KEY).where(own)).first()
    return None if row is None else _key_from(row)


def keys_of(connection: Connection, organization_id: str, before: str | None, limit: int) -> list[GatewayKey]:
    """Return at most `limit` keys of the organization, newest first, those before the id `before` if it is given."""
    own = select(*_KEY).where(gateway_key.c.organization_id == organization_id)
    if before is not None:
        own = own.where(gateway_key.c.key_id < before)
    return [_key_from(row) for row in connection.execute(own.order_by(gateway_key.c.key_id.desc()).limit(limit))]


def set_revoked(connection: Connection, organization_id: str, key_id: str, at: datetime) -> None:
    """Note when the key was revoked, unless it was before."""
    connection.execute(
        update(gateway_key)
        .where(gateway_key.c.organization_id == organization_id, gateway_key.c.key_id == key_id, gateway_key.c.revoked_at.is_(None))
        .values(revoked_at=to_micros(at))
    )


def touch_key(connection: Connection, organization_id: str, key_id: str, at: datetime, unless_since: datetime) -> None:
    """Note when the key was last used, unless a use after `unless_since` is noted already."""
    stale = or_(gateway_key.c.last_used_at.is_(None), gateway_key.c.last_used_at <= to_micros(unless_since))
    connection.execute(
        update(gateway_key)
        .where(gateway_key.c.organization_id == organization_id, gateway_key.c.key_id == key_id, stale)
        .values(last_used_at=to_micros(at))
    )
