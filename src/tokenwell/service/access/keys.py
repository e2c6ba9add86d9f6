"""Keys: what lets a program spend an organization's tokens through the gateway.

A secret is 40 random letters and digits (238 bits) after `tw_live_`. It is shown once; the database holds its SHA-256, which is
enough for a secret that cannot be guessed and quick enough for every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy

from tokenwell.core.amounts import parse_amount
from tokenwell.core.happenings import SYSTEM, Actor
from tokenwell.core.identifiers import check_key, check_label, check_organization_id
from tokenwell.core.instants import to_utc
from tokenwell.errors import (
    Conflict,
    KeyNotFound,
    ModelNotAllowed,
    OrganizationNotFound,
    RequestInvalid,
    ScopeMissing,
    ServiceDisabled,
    ServiceNotFound,
)
from tokenwell.service import acts
from tokenwell.service.access.remembering import Remembering, fresh_secret, hash_of, shown_part
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Clock, Page, new_id, system_clock
from tokenwell.store.access import creations
from tokenwell.store.access import keys as store
from tokenwell.store.access import services as services_store
from tokenwell.store.access.keys import GatewayKey, KeyScope
from tokenwell.store.access.services import AiService
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["CreatedKey", "GatewayKey", "KeyScope", "Keys", "check_use"]

PREFIX = "tw_live_"
NAME_LIMIT = 100
MODELS_LIMIT = 100
MOST_REQUESTS_PER_MINUTE = 1_000_000

_LIMITS = ("requests_per_minute", "tokens_per_day", "tokens_per_month")
_CHANGEABLE = ("name", "scopes", "models", *_LIMITS)


class CreatedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key. `secret` is told only here: it is empty in an answer that is `replayed`."""

    key: GatewayKey
    secret: str
    replayed: bool = False


class Keys:
    """The gateway keys in one database. Safe to use from several threads; `close` it at the end."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock = system_clock) -> None:
        self._engine = engine
        self._clock = clock
        self._remembered = Remembering(engine, clock, prefix=PREFIX, find=store.find_key_by_secret, touch=store.touch_key)

    def create(
        self,
        organization_id: str,
        *,
        name: str,
        service_id: str | None = None,
        expires_at: datetime | None = None,
        scopes: Sequence[KeyScope | str] | None = None,
        models: Sequence[str] | None = None,
        requests_per_minute: int | str | None = None,
        tokens_per_day: int | str | None = None,
        tokens_per_month: int | str | None = None,
        key: str | None = None,
        by: Actor = SYSTEM,
    ) -> CreatedKey:
        """Issue a key, of an AI service or of the organization itself. What is not given is not limited.

        Raises RequestInvalid for what cannot be used, OrganizationNotFound, ServiceNotFound.
        """
        now = self._clock()
        given = {
            "name": name, "scopes": scopes, "models": models, "requests_per_minute": requests_per_minute,
            "tokens_per_day": tokens_per_day, "tokens_per_month": tokens_per_month,
        }  # fmt: skip
        secret = fresh_secret(PREFIX)
        made = GatewayKey(
            id=new_id("key"),
            organization_id=check_organization_id(organization_id),
            prefix=shown_part(PREFIX, secret),
            created_at=now,
            expires_at=_checked_expiry(expires_at, now),
            **_checked(given),
        )
        told = {"what": "key", "service_id": service_id, "expires_at": made.expires_at, **msgspec.to_builtins(given)}
        try:
            with transaction(self._engine, organization_id) as connection:
                first = None if key is None else creations.claim(connection, organization_id, check_key(key), made.id, told, now)
                if first is not None:
                    return CreatedKey(key=_found(connection, organization_id, first), secret="", replayed=True)
                if service_id is not None:
                    made = msgspec.structs.replace(made, service=_service(connection, organization_id, service_id))
                store.add_key(connection, made, hash_of(secret))
                self._record(connection, "key.create", made, by, after={"service_id": service_id, **_terms(made)})
        except sqlalchemy.exc.IntegrityError:
            raise OrganizationNotFound(organization_id=organization_id) from None
        return CreatedKey(key=made, secret=secret)

    def recall(self, secret: str) -> GatewayKey | None:
        """Return the key if it was found valid within CACHE_LIFETIME, without touching the database; None to look it up.

        Raises CredentialsInvalid once it has expired, ServiceDisabled.
        """
        key = self._remembered.recall(secret)
        return None if key is None else _enabled(key)

    def remembered(self, secret: str, *, since: datetime) -> GatewayKey | None:
        """Return the key if it was found valid since then, however long ago that is: for as long as the database cannot be asked.

        Raises CredentialsInvalid once it has expired, ServiceDisabled.
        """
        key = self._remembered.remembered(secret, since=since)
        return None if key is None else _enabled(key)

    def authenticate(self, secret: str) -> GatewayKey:
        """Return the key of a secret, from memory or the database.

        Raises CredentialsInvalid, KeyRevoked, ServiceDisabled, StoreUnavailable.
        """
        return _enabled(self._remembered.authenticate(secret))

    def get(self, organization_id: str, key_id: str) -> GatewayKey:
        """Return a key. Raises KeyNotFound, also for another organization's."""
        with reading(self._engine, organization_id) as connection:
            return _found(connection, organization_id, key_id)

    def list(
        self, organization_id: str, cursor: str | None = None, limit: int = 50, *, service_id: str | None = None
    ) -> Page[GatewayKey]:
        """Return the keys of the organization, or of one of its services, newest first."""
        check_organization_id(organization_id)
        check_limit(limit)
        for field, text in (("cursor", cursor), ("service_id", service_id)):
            check_label(text, field=field)
        with reading(self._engine, organization_id) as connection:
            found = store.keys_of(connection, organization_id, cursor, limit + 1, service_id)
        return page_of(found, limit)

    def update(self, organization_id: str, key_id: str, *, by: Actor = SYSTEM, **changes: Any) -> GatewayKey:
        """Change a key's name, scopes, models, limits or expiry; what is not given stays. One that had expired is let in again by a
        later expiry. In this process it counts at once, in others within CACHE_LIFETIME. Raises KeyNotFound,
        RequestInvalid, Conflict for a key that is revoked."""
        with transaction(self._engine, organization_id) as connection:
            before = _found(connection, organization_id, key_id)
            if before.revoked_at is not None:
                raise Conflict("the key is revoked; issue another", key_id=key_id)
            expires_at = changes.pop("expires_at", before.expires_at)
            if expires_at != before.expires_at:
                expires_at = _checked_expiry(expires_at, self._clock())
            kept = {name: getattr(before, name) for name in _CHANGEABLE}
            after = msgspec.structs.replace(before, expires_at=expires_at, **_checked(kept | changes))
            if after != before:
                store.replace_key(connection, after)
                was, became = acts.differences(before, after)
                self._record(connection, "key.update", after, by, before=was, after=became)
        self._remembered.forget(lambda known: known.id == key_id)
        return after

    def revoke(self, organization_id: str, key_id: str, *, by: Actor = SYSTEM) -> GatewayKey:
        """Revoke a key; one that was revoked before stays as it is. In this process it stops at once, in others within
        CACHE_LIFETIME. Raises KeyNotFound."""
        with transaction(self._engine, organization_id) as connection:
            is_new = store.set_revoked(connection, organization_id, key_id, self._clock())
            key = _found(connection, organization_id, key_id)
            if is_new:
                self._record(connection, "key.revoke", key, by, before={"name": key.name, "prefix": key.prefix})
        self._remembered.forget(lambda known: known.id == key_id)
        return key

    def forget_service(self, organization_id: str, service_id: str) -> None:
        """Look the keys of a service up again: it changed."""
        self._remembered.forget(lambda known: known.organization_id == organization_id and known.service_id == service_id)

    def close(self) -> None:
        """Finish noting last uses, then stop."""
        self._remembered.close()

    def _record(self, connection: sqlalchemy.Connection, action: str, key: GatewayKey, by: Actor, **what: Any) -> None:
        at, organization_id = self._clock(), key.organization_id
        acts.record(connection, by=by, at=at, organization_id=organization_id, action=action, subject=key.id, **what)


def check_use(key: GatewayKey, scope: KeyScope, model: str | None = None) -> None:
    """Return if a key may be used for this, with this model. Raises ScopeMissing, ModelNotAllowed."""
    if key.scopes is not None and scope not in key.scopes:
        raise ScopeMissing(scope=scope.value)
    if key.models is None or model is None or any(_stands_for(pattern, model) for pattern in key.models):
        return
    raise ModelNotAllowed(f"This key does not allow the model {model}.", field="model", model=model)


def _stands_for(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def _enabled(key: GatewayKey) -> GatewayKey:
    if key.service is not None and key.service.disabled_at is not None:
        raise ServiceDisabled(service_id=key.service.id)
    return key


def _found(connection: sqlalchemy.Connection, organization_id: str, key_id: str) -> GatewayKey:
    check_label(key_id, field="key_id")
    key = store.find_key(connection, organization_id, key_id)
    if key is None:
        raise KeyNotFound("the organization has no such key", key_id=key_id)
    return key


def _service(connection: sqlalchemy.Connection, organization_id: str, service_id: str) -> AiService:
    check_label(service_id, field="service_id")
    service = services_store.find_service(connection, organization_id, service_id)
    if service is None:
        raise ServiceNotFound(service_id=service_id)
    return service


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of what a caller gives. Raises RequestInvalid."""
    if set(given) != set(_CHANGEABLE):
        raise RequestInvalid(f"a key has {', '.join(_CHANGEABLE)}")
    name = (check_label(given["name"], field="name", limit=NAME_LIMIT) or "").strip()
    if not name:
        raise RequestInvalid("name must not be empty", field="name")
    per_minute = given["requests_per_minute"]
    if per_minute is not None:
        per_minute = parse_amount(per_minute, field="requests_per_minute", most=MOST_REQUESTS_PER_MINUTE)
    tokens = {name: None if given[name] is None else parse_amount(given[name], field=name) for name in _LIMITS[1:]}
    scopes, models = _checked_scopes(given["scopes"]), _checked_models(given["models"])
    return {"name": name, "scopes": scopes, "models": models, "requests_per_minute": per_minute, **tokens}


def _checked_scopes(scopes: Sequence[KeyScope | str] | None) -> tuple[KeyScope, ...] | None:
    if scopes is None:
        return None
    try:
        return tuple(sorted({KeyScope(scope) for scope in scopes}))
    except ValueError:
        raise RequestInvalid(f"a scope is one of {', '.join(KeyScope)}", field="scopes") from None


def _checked_models(models: Sequence[str] | None) -> tuple[str, ...] | None:
    if models is None:
        return None
    if not 1 <= len(models) <= MODELS_LIMIT:
        raise RequestInvalid(f"a key allows between 1 and {MODELS_LIMIT} models, or all", field="models")
    return tuple(dict.fromkeys(check_key(model, field="models") for model in models))


def _checked_expiry(expires_at: datetime | None, now: datetime) -> datetime | None:
    expires_at = None if expires_at is None else to_utc(expires_at, field="expires_at")
    if expires_at is not None and expires_at <= now:
        raise RequestInvalid("expires_at must be in the future", field="expires_at")
    return expires_at


def _terms(key: GatewayKey) -> dict[str, Any]:
    return {"prefix": key.prefix, "expires_at": key.expires_at, **{name: getattr(key, name) for name in _CHANGEABLE}}
