"""Remembering: a secret that was found valid is not looked up again for a moment, and its use is noted now and then.

Gateway keys and platform keys share it: both are checked with every request.
"""

from __future__ import annotations

import re
import secrets
import string
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Generic, Protocol, TypeVar

import msgspec
import sqlalchemy
import structlog

from tokenwell.errors import CredentialsInvalid, KeyRevoked, StoreError
from tokenwell.service.ports import Clock
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

SECRET_CHARACTERS = 40
SHOWN_CHARACTERS = 6
"""How much of a secret is kept for people to tell keys apart; what is left unknown is worth 202 bits."""

CACHE_LIFETIME = timedelta(seconds=3)
"""For how long a key that was found valid is not looked up again: how long a key revoked by another process goes on working."""

CACHE_LIMIT = 10_000
TOUCH_INTERVAL = timedelta(minutes=1)
"""How stale the time of a key's last use may be: what using it may write, at most this often."""

_ALPHABET = string.ascii_letters + string.digits

log = structlog.get_logger("tokenwell.keys")


class Key(Protocol):
    """What is asked of a key, whatever it opens."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def organization_id(self) -> str:
        """Whose it is."""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself, None for never."""

    @property
    def revoked_at(self) -> datetime | None:
        """When it was revoked, None if it was not."""

    @property
    def last_used_at(self) -> datetime | None:
        """When it was last used, as far as that was noted."""


K = TypeVar("K", bound=Key)


class _Known(msgspec.Struct, Generic[K]):
    """A key found valid, until when that is believed, and when its use is to be noted next."""

    key: K
    until: datetime
    touch_at: datetime


class Remembering(Generic[K]):
    """Finds keys by their secrets, in memory or in the database. Safe to use from several threads; `close` it at the end."""

    def __init__(
        self,
        engine: sqlalchemy.Engine,
        clock: Clock,
        *,
        prefix: str,
        find: Callable[[sqlalchemy.Connection, bytes], K | None],
        touch: Callable[[sqlalchemy.Connection, str, str, datetime, datetime], None],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._form = re.compile(rf"{prefix}[A-Za-z0-9]{{{SECRET_CHARACTERS}}}")
        self._find = find
        self._touch_row = touch
        self._known: OrderedDict[bytes, _Known[K]] = OrderedDict()
        self._forgotten = 0
        self._lock = threading.Lock()
        self._toucher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenwell-keys")

    def recall(self, secret: str) -> K | None:
        """Return the key if it was found valid within CACHE_LIFETIME, without touching the database; None to look it up.

        Raises CredentialsInvalid once it has expired.
        """
        known = self._known.get(hash_of(secret))
        now = self._clock()
        if known is None or now >= known.until:
            return None
        _check_expiry(known.key, now)
        if now >= known.touch_at:
            self._touch(known, now)
        return known.key

    def remembered(self, secret: str, *, since: datetime) -> K | None:
        """Return the key if it was found valid since then. Raises CredentialsInvalid once it has expired."""
        known = self._known.get(hash_of(secret))
        if known is None or known.until - CACHE_LIFETIME < since:
            return None
        _check_expiry(known.key, self._clock())
        return known.key

    def authenticate(self, secret: str) -> K:
        """Return the key of a secret. Raises CredentialsInvalid, KeyRevoked, StoreUnavailable."""
        key = self.recall(secret)
        if key is not None:
            return key
        if not self._form.fullmatch(secret):
            raise CredentialsInvalid("this is not a key of this kind")
        forgotten = self._forgotten
        secret_hash = hash_of(secret)
        with reading(self._engine) as connection:
            key = self._find(connection, secret_hash)
        if key is None:
            raise CredentialsInvalid("the key is not known")
        if key.revoked_at is not None:
            raise KeyRevoked(key_id=key.id)
        now = self._clock()
        _check_expiry(key, now)
        self._remember(secret_hash, key, now, forgotten)
        return key

    def forget(self, is_meant: Callable[[K], bool]) -> None:
        """Look these keys up again before they are believed: something about them changed."""
        with self._lock:
            self._forgotten += 1
            for secret_hash in [each for each, known in self._known.items() if is_meant(known.key)]:
                del self._known[secret_hash]

    def close(self) -> None:
        """Finish noting last uses, then stop."""
        self._toucher.shutdown(wait=True)

    def _remember(self, secret_hash: bytes, key: K, now: datetime, forgotten: int) -> None:
        last_used_at = key.last_used_at
        touch_at = now if last_used_at is None else last_used_at + TOUCH_INTERVAL
        with self._lock:
            if forgotten != self._forgotten:
                return  # perhaps this one was revoked after it was read
            before = self._known.pop(secret_hash, None)
            if before is not None:
                touch_at = max(touch_at, before.touch_at)
            known = self._known[secret_hash] = _Known(key, now + CACHE_LIFETIME, touch_at)
            while len(self._known) > CACHE_LIMIT:
                self._known.popitem(last=False)
        if now >= known.touch_at:
            self._touch(known, now)

    def _touch(self, known: _Known[K], now: datetime) -> None:
        known.touch_at = now + TOUCH_INTERVAL
        try:
            self._toucher.submit(self._write_touch, known.key, now)
        except RuntimeError:
            log.debug("key_use_not_noted", key_id=known.key.id, reason="closed")

    def _write_touch(self, key: K, now: datetime) -> None:
        try:
            with transaction(self._engine) as connection:
                self._touch_row(connection, key.organization_id, key.id, now, now - TOUCH_INTERVAL)
        except StoreError as error:
            log.warning("key_use_not_noted", key_id=key.id, reason=error.code)


def fresh_secret(prefix: str) -> str:
    """Return a new secret: 40 random letters and digits (238 bits) after its prefix."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_CHARACTERS))


def shown_part(prefix: str, secret: str) -> str:
    """Return what of a secret people may see."""
    return secret[: len(prefix) + SHOWN_CHARACTERS]


def hash_of(secret: str) -> bytes:
    """Return what of a secret the database holds: SHA-256, enough for one that cannot be guessed."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _check_expiry(key: Key, now: datetime) -> None:
    if key.expires_at is not None and now >= key.expires_at:
        raise CredentialsInvalid("the key has expired", key_id=key.id)
