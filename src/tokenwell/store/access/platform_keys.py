"""Platform keys in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, or_, select, update

from tokenwell.core.happenings import PLATFORM
from tokenwell.core.instants import NEVER_MICROS, expiry_micros, from_micros, to_micros
from tokenwell.store.schema import platform_key


class PlatformKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend calls the API with. `organization_id` is PLATFORM where it reaches every organization."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    organization_id: str = PLATFORM
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


_KEY = (
    platform_key.c.key_id,
    platform_key.c.organization_id,
    platform_key.c.name,
    platform_key.c.prefix,
    platform_key.c.scopes,
    platform_key.c.created_at,
    platform_key.c.expires_at,
    platform_key.c.revoked_at,
    platform_key.c.last_used_at,
)


def _key_from(row: Sequence[Any]) -> PlatformKey:
    return PlatformKey(
        id=row[0],
        organization_id=row[1],
        name=row[2],
        prefix=row[3],
        scopes=tuple(row[4].split()),
        created_at=from_micros(row[5]),
        expires_at=None if row[6] == NEVER_MICROS else from_micros(row[6]),
        revoked_at=None if row[7] is None else from_micros(row[7]),
        last_used_at=None if row[8] is None else from_micros(row[8]),
    )


def add_key(connection: Connection, key: PlatformKey, secret_hash: bytes) -> None:
    """Insert a key."""
    connection.execute(
        insert(platform_key).values(
            organization_id=key.organization_id,
            key_id=key.id,
            name=key.name,
            prefix=key.prefix,
            secret_hash=secret_hash,
            scopes=" ".join(key.scopes),
            created_at=to_micros(key.created_at),
            expires_at=expiry_micros(key.expires_at),
        )
    )


def find_key_by_secret(connection: Connection, secret_hash: bytes) -> PlatformKey | None:
    """Return the key whose secret has this hash, whatever its age, or None."""
    row = connection.execute(select(*_KEY).where(platform_key.c.secret_hash == secret_hash)).first()
    return None if row is None else _key_from(row)


def find_key(connection: Connection, key_id: str) -> PlatformKey | None:
    """Return a key, or None."""
    row = connection.execute(select(*_KEY).where(platform_key.c.key_id == key_id)).first()
    return None if row is None else _key_from(row)


def platform_keys(connection: Connection, before: str | None, limit: int) -> list[PlatformKey]:
    """Return at most `limit` keys, newest first, those before the id `before` if it is given."""
    every = select(*_KEY)
    if before is not None:
        every = every.where(platform_key.c.key_id < before)
    return [_key_from(row) for row in connection.execute(every.order_by(platform_key.c.key_id.desc()).limit(limit))]


def set_revoked(connection: Connection, key: PlatformKey, at: datetime) -> bool:
    """Note when the key was revoked, unless it was before; return whether it was noted."""
    own = (platform_key.c.organization_id == key.organization_id) & (platform_key.c.key_id == key.id)
    changed = connection.execute(
        update(platform_key).where(own, platform_key.c.revoked_at.is_(None)).values(revoked_at=to_micros(at))
    )
    return changed.rowcount > 0


def touch_key(connection: Connection, organization_id: str, key_id: str, at: datetime, unless_since: datetime) -> None:
    """Note when the key was last used, unless a use after `unless_since` is noted already."""
    own = (platform_key.c.organization_id == organization_id) & (platform_key.c.key_id == key_id)
    stale = or_(platform_key.c.last_used_at.is_(None), platform_key.c.last_used_at <= to_micros(unless_since))
    connection.execute(update(platform_key).where(own, stale).values(last_used_at=to_micros(at)))
