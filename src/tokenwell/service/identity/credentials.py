"""Credentials: e-mail addresses and passwords as people type them, and the argon2id hashes that are kept."""

from __future__ import annotations

import re
import secrets
import threading
import unicodedata
from hashlib import sha256

import argon2

from tokenwell.errors import RequestInvalid

PASSWORD_LEAST_CHARACTERS = 12
PASSWORD_MOST_BYTES = 1024
EMAIL_LIMIT = 254

NOBODYS_HASH = "!"
"""What stands for the hash of somebody who never chose a password: nothing matches it."""

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f\ud800-\udfff]+@[^\s@\x00-\x1f\x7f\ud800-\udfff]+")
_HASHES_AT_ONCE = threading.BoundedSemaphore(2)
"""A hash takes 64 MiB: this many run at once in a process."""


class Passwords:
    """Hashes passwords and compares them. An unknown person's takes as long to refuse as a wrong one."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))

    def hash(self, password: str) -> str:
        """Return the hash of a password. Raises RequestInvalid for one that is too short or too long."""
        encoded = _encoded(password)
        if len(unicodedata.normalize("NFKC", password)) < PASSWORD_LEAST_CHARACTERS:
            raise RequestInvalid(f"a password has at least {PASSWORD_LEAST_CHARACTERS} characters", field="password")
        return self._hash(encoded)

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Return whether a password is the one of a hash; None, for nobody, is compared all the same and never matches."""
        try:
            encoded = _encoded(password)
        except RequestInvalid:
            encoded = b""
        known = None if password_hash == NOBODYS_HASH else password_hash
        with _HASHES_AT_ONCE:
            try:
                is_right = self._hasher.verify(known or self._nobody, encoded)
            except argon2.exceptions.VerifyMismatchError:
                return False
        return is_right and known is not None

    def renewed(self, password_hash: str, password: str) -> str | None:
        """Return a new hash of a password that matched, where the old one was made with other parameters."""
        return self._hash(_encoded(password)) if self._hasher.check_needs_rehash(password_hash) else None

    def _hash(self, encoded: bytes) -> str:
        with _HASHES_AT_ONCE:
            return self._hasher.hash(encoded)


def normalized_email(email: str) -> str:
    """Return the form under which an address is kept: NFKC, without case."""
    return unicodedata.normalize("NFKC", email[: EMAIL_LIMIT * 4]).strip().casefold()


def is_email(address: str) -> bool:
    """Return whether a normalized address can be one."""
    return len(address) <= EMAIL_LIMIT and _EMAIL.fullmatch(address) is not None


def checked_email(email: str) -> str:
    """Return an address in the form under which it is kept. Raises RequestInvalid."""
    address = normalized_email(email)
    if not is_email(address):
        raise RequestInvalid("the e-mail address cannot be read", field="email")
    return address


def token_hash(token: str) -> bytes:
    """Return what of a session's or a link's token the database holds."""
    return sha256(token.encode(errors="replace")).digest()


def _encoded(password: str) -> bytes:
    """Return the bytes that are hashed; raises RequestInvalid past the limit and for what is not text."""
    try:
        encoded = unicodedata.normalize("NFKC", password).encode() if len(password) <= PASSWORD_MOST_BYTES else None
    except UnicodeEncodeError:
        encoded = None
    if encoded is None or len(encoded) > PASSWORD_MOST_BYTES:
        raise RequestInvalid(f"a password has at most {PASSWORD_MOST_BYTES} bytes", field="password")
    return encoded
