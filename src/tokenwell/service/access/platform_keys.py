"""Platform keys: what a backend calls the API with. Each has the scopes it was given, in every organization or in one.

A secret begins with `tw_plat_`, is shown once, and is kept as a hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy

from tokenwell.core.happenings import PLATFORM, SYSTEM, Actor, ActorKind
from tokenwell.core.identifiers import check_key, check_label
from tokenwell.core.instants import to_utc
from tokenwell.errors import KeyNotFound, OrganizationNotFound, RequestInvalid
from tokenwell.service import acts
from tokenwell.service.access.remembering import Remembering, fresh_secret, hash_of, shown_part
from tokenwell.service.access.scopes import Principal, Scope
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Clock, Page, new_id, system_clock
from tokenwell.store.access import creations
from tokenwell.store.access import platform_keys as store
from tokenwell.store.access.platform_keys import PlatformKey
from tokenwell.store.identity import people as people_store
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["CreatedPlatformKey", "PlatformKey", "PlatformKeys"]

PREFIX = "tw_plat_"
NAME_LIMIT = 100


class CreatedPlatformKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key. `secret` is told only here: it is empty in an answer that is `replayed`."""

    key: PlatformKey
    secret: str
    replayed: bool = False


class PlatformKeys:
    """The platform keys in one database. Safe to use from several threads; `close` it at the end."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock = system_clock) -> None:
        self._engine = engine
        self._clock = clock
        self._remembered = Remembering(engine, clock, prefix=PREFIX, find=store.find_key_by_secret, touch=store.touch_key)

    def create(
        self,
        *,
        name: str,
        scopes: Sequence[Scope | str],
        organization_id: str | None = None,
        expires_at: datetime | None = None,
        key: str | None = None,
        by: Actor = SYSTEM,
    ) -> CreatedPlatformKey:
        """Issue a key for every organization, or for the one that is named. Raises RequestInvalid, OrganizationNotFound."""
        now = self._clock()
        label = (check_label(name, field="name", limit=NAME_LIMIT) or "").strip()
        if not label:
            raise RequestInvalid("name must not be empty", field="name")
        expires_at = None if expires_at is None else to_utc(expires_at, field="expires_at")
        if expires_at is not None and expires_at <= now:
            raise RequestInvalid("expires_at must be in the future", field="expires_at")
        secret = fresh_secret(PREFIX)
        made = PlatformKey(
            id=new_id("pkey"),
            organization_id=PLATFORM if organization_id is None else organization_id,
            name=label,
            prefix=shown_part(PREFIX, secret),
            scopes=_checked_scopes(scopes),
            created_at=now,
            expires_at=expires_at,
        )
        terms = {"name": label, "scopes": made.scopes, "organization_id": organization_id, "expires_at": expires_at}
        with transaction(self._engine) as connection:
            if organization_id is not None and not people_store.has_organization(connection, organization_id):
                raise OrganizationNotFound(organization_id=organization_id)
            told = {"what": "platform_key", **terms}
            first = None if key is None else creations.claim(connection, PLATFORM, check_key(key), made.id, told, now)
            if first is not None:
                return CreatedPlatformKey(key=_found(connection, first), secret="", replayed=True)
            store.add_key(connection, made, hash_of(secret))
            self._record(connection, "platform_key.create", made, by, after={**terms, "prefix": made.prefix})
        return CreatedPlatformKey(key=made, secret=secret)

    def authenticate(self, secret: str, *, source: str = "") -> Principal:
        """Return who asks with a secret, from memory or the database. `source` is the address it came from.

        Raises CredentialsInvalid, KeyRevoked, StoreUnavailable.
        """
        key = self._remembered.authenticate(secret)
        scopes = frozenset(Scope(scope) for scope in key.scopes if scope in list(Scope))
        actor = Actor(kind=ActorKind.PLATFORM_KEY, id=key.id, name=key.name, source=source)
        if key.organization_id == PLATFORM:
            return Principal(actor=actor, platform_scopes=scopes)
        return Principal(actor=actor, organization_scopes={key.organization_id: scopes})

    def list(self, cursor: str | None = None, limit: int = 50) -> Page[PlatformKey]:
        """Return the platform keys, newest first."""
        check_limit(limit)
        check_label(cursor, field="cursor")
        with reading(self._engine) as connection:
            found = store.platform_keys(connection, cursor, limit + 1)
        return page_of(found, limit)

    def revoke(self, key_id: str, *, by: Actor = SYSTEM) -> PlatformKey:
        """Revoke a key; one that was revoked before stays as it is. In this process it stops at once, in others within
        CACHE_LIFETIME. Raises KeyNotFound."""
        with transaction(self._engine) as connection:
            key = _found(connection, key_id)
            if store.set_revoked(connection, key, self._clock()):
                self._record(connection, "platform_key.revoke", key, by, before={"name": key.name, "prefix": key.prefix})
            key = _found(connection, key_id)
        self._remembered.forget(lambda known: known.id == key_id)
        return key

    def close(self) -> None:
        """Finish noting last uses, then stop."""
        self._remembered.close()

    def _record(self, connection: sqlalchemy.Connection, action: str, key: PlatformKey, by: Actor, **what: object) -> None:
        at, organization_id = self._clock(), key.organization_id
        acts.record(connection, by=by, at=at, organization_id=organization_id, action=action, subject=key.id, **what)


def _checked_scopes(scopes: Sequence[Scope | str]) -> tuple[str, ...]:
    try:
        wanted = {Scope(scope).value for scope in scopes}
    except ValueError:
        raise RequestInvalid(f"a scope is one of {', '.join(Scope)}", field="scopes") from None
    if not wanted:
        raise RequestInvalid("a key needs at least one scope", field="scopes")
    return tuple(sorted(wanted))


def _found(connection: sqlalchemy.Connection, key_id: str) -> PlatformKey:
    check_label(key_id, field="key_id")
    key = store.find_key(connection, key_id)
    if key is None:
        raise KeyNotFound(key_id=key_id)
    return key
