"""Sealing: secrets that must be read again (webhook secrets, second factors, letters with a link) are kept encrypted.

What seals is the setting `secret_key`, or a key file beside the database that only its owner can read, made at first use. Whoever
has the database but not the key reads nothing. Several keys: the first seals, all open, so that a key can be replaced.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from tokenwell.errors import SealBroken

KEY_CHARACTERS = 32
"""The least length of a secret key."""

_APART = "\x00"


class Sealer:
    """Seals and opens texts, and signs them. `keys` is asked once, at first use. Safe to use from several threads."""

    def __init__(self, keys: Callable[[], Sequence[str]]) -> None:
        self._load = keys
        self._lock = threading.Lock()
        self._keys: tuple[bytes, ...] = ()

    def seal(self, text: str, *, purpose: str) -> bytes:
        """Return `text` encrypted; it opens for the same purpose only."""
        return self._fernet().encrypt(f"{purpose}{_APART}{text}".encode())

    def open(self, sealed: bytes, *, purpose: str) -> str:
        """Return what was sealed for `purpose`. Raises SealBroken."""
        try:
            known, _, text = self._fernet().decrypt(bytes(sealed)).decode().partition(_APART)
        except (InvalidToken, UnicodeDecodeError):
            raise SealBroken from None
        if known != purpose:
            raise SealBroken
        return text

    def sign(self, text: str, *, purpose: str) -> str:
        """Return a signature of `text` that can stand in an address."""
        return _signature(self._derived()[0], purpose, text)

    def is_signed(self, text: str, signature: str, *, purpose: str) -> bool:
        """Return whether `signature` was made of `text` for `purpose`, by any of the keys."""
        given = signature.encode(errors="replace")
        return any(hmac.compare_digest(_signature(key, purpose, text).encode(), given) for key in self._derived())

    def _fernet(self) -> MultiFernet:
        return MultiFernet([Fernet(base64.urlsafe_b64encode(_key_for(key, "seal"))) for key in self._derived()])

    def _derived(self) -> tuple[bytes, ...]:
        with self._lock:
            if not self._keys:
                self._keys = tuple(sha256(key.encode()).digest() for key in self._load())
            return self._keys


def keys_in(text: str, file: Path) -> Callable[[], Sequence[str]]:
    """Return what gives the keys: those in `text`, apart by spaces, else those in `file`, which is made with a fresh one."""
    return lambda: text.split() or _read_or_make(file)


def _read_or_make(file: Path) -> list[str]:
    try:
        if not file.exists():
            _make(file)
        keys = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SealBroken(f"the key file {file} cannot be used ({type(error).__name__})") from None
    if not keys or any(len(key) < KEY_CHARACTERS for key in keys):
        raise SealBroken(f"the key file {file} holds no key of at least {KEY_CHARACTERS} characters")
    return keys


def _make(file: Path) -> None:
    """Make the key file whole and at once: of several processes that try, one makes it, and all read the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".tokenwell-key-", dir=file.parent)  # mode 600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as target:
            target.write(secrets.token_urlsafe(48) + "\n")
            target.flush()
            os.fsync(target.fileno())
        os.link(name, file)
    except FileExistsError:
        pass  # another process was quicker
    finally:
        os.unlink(name)


def _key_for(key: bytes, use: str) -> bytes:
    return hmac.digest(key, use.encode(), "sha256")


def _signature(key: bytes, purpose: str, text: str) -> str:
    digest = hmac.digest(_key_for(key, "sign"), f"{purpose}{_APART}{text}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
