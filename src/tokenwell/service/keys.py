"""Keys: what lets a program spend an organization's tokens through the gateway.

A secret is 40 random letters and digits (238 bits) after `tw_live_`. It is shown once; the database holds its SHA-256, which is
enough for a secret that cannot be guessed and quick enough for every request.
"""

from __future__ import annotations

import re
import secrets
import string
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec
import sqlalchemy
import structlog

from tokenwell.core.identifiers import check_label, check_organization_id
from tokenwell.core.instants import to_utc
from tokenwell.errors import CredentialsInvalid, KeyRevoked, NotFound, OrganizationNotFound, RequestInvalid, StoreError
from tokenwell.service.ports import Clock, Page, new_id, system_clock
from tokenwell.store import keys as store
from tokenwell.store.keys import GatewayKey
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["CreatedKey", "GatewayKey", "Keys"]

PREFIX = "tw_live_"
SECRET_CHARACTERS = 40
SHOWN_CHARACTERS = 6
"""How much of a secret is kept for people to tell keys apart; what is left unknown is worth 202 bits."""

NAME_LIMIT = 100
PAGE_LIMIT = 500

CACHE_LIFETIME = timedelta(seconds=3)
"""For how long a key that was found valid is not looked up again: how long a key revoked by another process goes on working."""

CACHE_LIMIT = 10_000
TOUCH_INTERVAL = timedelta(minutes=1)
"""How stale the time of a key's last use may be: what using it may write, at most this often."""

_ALPHABET = string.ascii_letters + string.digits
_SECRET = re.compile(rf"{PREFIX}[A-Za-z0-9]{{{SECRET_CHARACTERS}}}")

log = structlog.get_logger("tokenwell.keys")


class CreatedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key. `secret` is told only here."""

    key: GatewayKey
    secret: str


class _Known(msgspec.Struct):
    """A key found valid, until when that is believed, and when its use is to be noted next."""

    key: GatewayKey
    until: datetime
    touch_at: datetime


class Keys:
    """The gateway keys in one database. Safe to use from several threads; `close` it at the end."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock = system_clock) -> None:
        self._engine = engine
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._revocations = 0
        self._lock = threading.Lock()
        self._toucher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenwell-keys")

    def create(self, organization_id: str, *, name: str, expires_at: datetime | None = None) -> CreatedKey:
        """Issue a key. Raises RequestInvalid for a name or an expiry that cannot be used, OrganizationNotFound."""
        name = (check_label(name, field="name", limit=NAME_LIMIT) or "").strip()
        if not name:
            raise RequestInvalid("name must not be empty", field="name")
        now = self._clock()
        expires_at = None if expires_at is None else to_utc(expires_at, field="expires_at")
        if expires_at is not None and expires_at <= now:
            raise RequestInvalid("expires_at must be in the future", field="expires_at")
        secret = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_CHARACTERS))
        key = GatewayKey(
            id=new_id("key"),
            organization_id=check_organization_id(organization_id),
            name=name,
            prefix=secret[: len(PREFIX) + SHOWN_CHARACTERS],
            created_at=now,
            expires_at=expires_at,
        )
        try:
            with transaction(self._engine) as connection:
                store.add_key(connection, key, _hash(secret))
        except sqlalchemy.exc.IntegrityError:
            raise OrganizationNotFound(organization_id=organization_id) from None
        return CreatedKey(key=key, secret=secret)

    def recall(self, secret: str) -> GatewayKey | None:
        """Return the key if it was found valid within CACHE_LIFETIME, without touching the database; None to look it up.

        Raises CredentialsInvalid once it has expired.
        """
        known = self._known.get(_hash(secret))
        now = self._clock()
        if known is None or now >= known.until:
            return None
        _check_expiry(known.key, now)
        if now >= known.touch_at:
            self._touch(known, now)
        return known.key

    def authenticate(self, secret: str) -> GatewayKey:
        """Return the key of a secret, from memory or the database. Raises CredentialsInvalid, KeyRevoked, StoreUnavailable."""
        key = self.recall(secret)
        if key is not None:
            return key
        if not _SECRET.fullmatch(secret):
            raise CredentialsInvalid("this is not a key of the gateway")
        revocations = self._revocations
        secret_hash = _hash(secret)
        with reading(self._engine) as connection:
            key = store.find_key_by_secret(connection, secret_hash)
        if key is None:
            raise CredentialsInvalid("the key is not known")
        if key.revoked_at is not None:
            raise KeyRevoked(key_id=key.id)
        now = self._clock()
        _check_expiry(key, now)
        self._remember(secret_hash, key, now, revocations)
        return key

    def list(self, organization_id: str, cursor: str | None = None, limit: int = 50) -> Page[GatewayKey]:
        """Return the organization's keys, newest first."""
        check_organization_id(organization_id)
        if not 1 <= limit <= PAGE_LIMIT:
            raise RequestInvalid(f"limit must be between 1 and {PAGE_LIMIT}", field="limit")
        with reading(self._engine) as connection:
            found = store.keys_of(connection, organization_id, cursor, limit + 1)
        more = len(found) > limit
        return Page(tuple(found[:limit]), found[limit - 1].id if more else None)

    def revoke(self, organization_id: str, key_id: str) -> GatewayKey:
        """Revoke a key; one that was revoked before stays as it is. In this process it stops at once, in others within
        CACHE_LIFETIME. Raises NotFound."""
        with transaction(self._engine) as connection:
            store.set_revoked(connection, organization_id, key_id, self._clock())
            key = store.find_key(connection, organization_id, key_id)
        if key is None:
            raise NotFound("the organization has no such key", key_id=key_id)
        with self._lock:
            self._revocations += 1
            for secret_hash in [each for each, known in self._known.items() if known.key.id == key_id]:
                del self._known[secret_hash]
        return key

    def close(self) -> None:
        """Finish noting last uses, then stop."""
        self._toucher.shutdown(wait=True)

    def _remember(self, secret_hash: bytes, key: GatewayKey, now: datetime, revocations: int) -> None:
        last_used_at = key.last_used_at
        touch_at = now if last_used_at is None else last_used_at + TOUCH_INTERVAL
        with self._lock:
            if revocations != self._revocations:
                return  # perhaps this one was revoked after it was read
            before = self._known.pop(secret_hash, None)
            if before is not None:
                touch_at = max(touch_at, before.touch_at)
            known = self._known[secret_hash] = _Known(key, now + CACHE_LIFETIME, touch_at)
            while len(self._known) > CACHE_LIMIT:
                self._known.popitem(last=False)
        if now >= known.touch_at:
            self._touch(known, now)

    def _touch(self, known: _Known, now: datetime) -> None:
        known.touch_at = now + TOUCH_INTERVAL
        try:
            self._toucher.submit(self._write_touch, known.key, now)
        except RuntimeError:
            log.debug("key_use_not_noted", key_id=known.key.id, reason="closed")

    def _write_touch(self, key: GatewayKey, now: datetime) -> None:
        try:
            with transaction(self._engine) as connection:
                store.touch_key(connection, key.organization_id, key.id, now, now - TOUCH_INTERVAL)
        except StoreError as error:
            log.warning("key_use_not_noted", key_id=key.id, reason=error.code)


def _check_expiry(key: GatewayKey, now: datetime) -> None:
    if key.expires_at is not None and now >= key.expires_at:
        raise CredentialsInvalid("the key has expired", key_id=key.id)


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
