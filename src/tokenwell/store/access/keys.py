"""Gateway keys in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, and_, insert, or_, select, update

from tokenwell.core.instants import NEVER_MICROS, expiry_micros, from_micros, to_micros
from tokenwell.store.access import services
from tokenwell.store.access.services import AiService
from tokenwell.store.schema import ai_service, gateway_key


class KeyScope(StrEnum):
    """One thing a gateway key may be used for."""

    GENERATE = "generate"
    EMBED = "embed"
    MODELS = "models"


class GatewayKey(msgspec.Struct, frozen=True, kw_only=True):
    """What lets a program spend an organization's tokens through the gateway. Of its secret only the `prefix` is known.

    None for `scopes` and `models` allows all; a model that ends in `*` stands for all that begin so. None for a limit: no limit.
    """

    id: str
    organization_id: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    scopes: tuple[KeyScope, ...] | None = None
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    service: AiService | None = None

    @property
    def service_id(self) -> str | None:
        """The AI service it belongs to, None for a key of the organization itself."""
        return None if self.service is None else self.service.id


_KEY = (
    gateway_key.c.key_id,
    gateway_key.c.organization_id,
    gateway_key.c.name,
    gateway_key.c.prefix,
    gateway_key.c.created_at,
    gateway_key.c.expires_at,
    gateway_key.c.revoked_at,
    gateway_key.c.last_used_at,
    gateway_key.c.scopes,
    gateway_key.c.models,
    gateway_key.c.requests_per_minute,
    gateway_key.c.tokens_per_day,
    gateway_key.c.tokens_per_month,
)
_BELONGS = and_(ai_service.c.organization_id == gateway_key.c.organization_id, ai_service.c.service_id == gateway_key.c.service_id)


def _selected() -> Select[Any]:
    return select(*_KEY, *services.COLUMNS).select_from(gateway_key.outerjoin(ai_service, _BELONGS))


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
        scopes=None if row[8] is None else tuple(KeyScope(scope) for scope in row[8].split()),
        models=None if row[9] is None else tuple(row[9].split("\n")),
        requests_per_minute=row[10],
        tokens_per_day=row[11],
        tokens_per_month=row[12],
        service=services.service_from(row[len(_KEY) :]),
    )


def add_key(connection: Connection, key: GatewayKey, secret_hash: bytes) -> None:
    """Insert a key; raises sqlalchemy's IntegrityError if there is no such organization."""
    connection.execute(
        insert(gateway_key).values(
            organization_id=key.organization_id,
            key_id=key.id,
            prefix=key.prefix,
            secret_hash=secret_hash,
            created_at=to_micros(key.created_at),
            service_id=key.service_id,
            **_changeable(key),
        )
    )


def replace_key(connection: Connection, key: GatewayKey) -> None:
    """Write what of a key may change: its name, its expiry and its limits."""
    connection.execute(update(gateway_key).where(_own(key.organization_id, key.id)).values(**_changeable(key)))


def _changeable(key: GatewayKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "expires_at": expiry_micros(key.expires_at),
        "scopes": None if key.scopes is None else " ".join(key.scopes),
        "models": None if key.models is None else "\n".join(key.models),
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_day": key.tokens_per_day,
        "tokens_per_month": key.tokens_per_month,
    }


def _own(organization_id: str, key_id: str) -> Any:
    return and_(gateway_key.c.organization_id == organization_id, gateway_key.c.key_id == key_id)


def find_key_by_secret(connection: Connection, secret_hash: bytes) -> GatewayKey | None:
    """Return the key whose secret has this hash, whatever its age, or None.

    The one statement that names no organization: the secret is what tells it.
    """
    row = connection.execute(_selected().where(gateway_key.c.secret_hash == secret_hash)).first()
    return None if row is None else _key_from(row)


def find_key(connection: Connection, organization_id: str, key_id: str) -> GatewayKey | None:
    """Return a key of the organization, or None."""
    row = connection.execute(_selected().where(_own(organization_id, key_id))).first()
    return None if row is None else _key_from(row)


def keys_of(
    connection: Connection, organization_id: str, before: str | None, limit: int, service_id: str | None = None
) -> list[GatewayKey]:
    """Return at most `limit` keys of the organization or of one of its services, newest first, those before the id `before`."""
    own = _selected().where(gateway_key.c.organization_id == organization_id)
    if service_id is not None:
        own = own.where(gateway_key.c.service_id == service_id)
    if before is not None:
        own = own.where(gateway_key.c.key_id < before)
    return [_key_from(row) for row in connection.execute(own.order_by(gateway_key.c.key_id.desc()).limit(limit))]


def set_revoked(connection: Connection, organization_id: str, key_id: str, at: datetime) -> bool:
    """Note when the key was revoked, unless it was before; return whether it was noted."""
    changed = connection.execute(
        update(gateway_key)
        .where(_own(organization_id, key_id), gateway_key.c.revoked_at.is_(None))
        .values(revoked_at=to_micros(at))
    )
    return changed.rowcount > 0


def touch_key(connection: Connection, organization_id: str, key_id: str, at: datetime, unless_since: datetime) -> None:
    """Note when the key was last used, unless a use after `unless_since` is noted already."""
    stale = or_(gateway_key.c.last_used_at.is_(None), gateway_key.c.last_used_at <= to_micros(unless_since))
    connection.execute(update(gateway_key).where(_own(organization_id, key_id), stale).values(last_used_at=to_micros(at)))
