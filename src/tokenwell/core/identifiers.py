"""Identifiers and idempotency keys: how they are checked, and the 16 bytes under which a key is stored."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

from tokenwell.errors import RequestInvalid

LABEL_LIMIT = 200
"""The longest model, session, reason or key, in characters."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_DIGITS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_OWN = re.compile(r"[a-z]{2,6}_[0-7][0-9a-hjkmnp-tv-z]{25}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ORGANIZATION = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]*")

_encoder = msgspec.json.Encoder()


def encode_id(prefix: str, raw: bytes) -> str:
    """Return `prefix_` and the 16 bytes in base 32: 26 characters that sort as the bytes do."""
    number = int.from_bytes(raw, "big")
    pairs = _PAIRS
    return f"{prefix}_" + "".join([pairs[number >> shift & 1023] for shift in range(120, -1, -10)])


def decode_id(identifier: str) -> bytes:
    """Return the 16 bytes of an id of ours; raises ValueError for anything else."""
    if not _OWN.fullmatch(identifier):
        raise ValueError("not an id of ours")
    return int(identifier[-26:].translate(_DIGITS), 32).to_bytes(16, "big")


def key_bytes(key: str) -> bytes:
    """Return the bytes that stand for an idempotency key; different keys never share them.

    A request id of ours and a UUID stand for themselves, so that time-ordered keys stay ordered; any other text is hashed
    (BLAKE2b-128).
    """
    if key.startswith("req_") and _OWN.fullmatch(key):
        return decode_id(key)
    if _UUID.fullmatch(key):
        return UUID(key).bytes + b"u"
    return blake2b(key.encode(), digest_size=16).digest()


def settle_key(hold_id: str) -> bytes:
    """Return the 17 bytes that stand for the settling of a hold: no key of a caller's can be the same."""
    return decode_id(hold_id) + b"s"


def request_keys(request_id: str) -> tuple[bytes, ...]:
    """Return the keys under which a charged request may be known: a hold's id, then an idempotency key."""
    if request_id.startswith("hold_") and _OWN.fullmatch(request_id):
        return settle_key(request_id), key_bytes(request_id)
    return (key_bytes(request_id),)


def fingerprint_of(*fields: Any) -> bytes:
    """Return 16 bytes that differ whenever a field differs."""
    return blake2b(_encoder.encode(fields), digest_size=16).digest()


def check_label(text: str | None, *, field: str, limit: int = LABEL_LIMIT) -> str | None:
    """Return `text` if it is printable and at most `limit` characters; raises RequestInvalid."""
    if text is None:
        return None
    # Python calls less printable than is allowed here, but tells it at once.
    if not isinstance(text, str) or len(text) > limit or not (text.isprintable() or _PRINTABLE.fullmatch(text)):
        raise RequestInvalid(f"{field} must be printable text of at most {limit} characters", field=field)
    return text


def check_key(key: str, *, field: str = "key") -> str:
    """Return an idempotency key if it is 1 … LABEL_LIMIT printable characters; raises RequestInvalid."""
    if not isinstance(key, str) or not key:
        raise RequestInvalid(f"{field} must be text and not empty", field=field)
    return check_label(key, field=field) or ""


def is_organization_id(organization_id: object) -> bool:
    """Return whether an organization could have this id."""
    return isinstance(organization_id, str) and _ORGANIZATION.fullmatch(organization_id) is not None


def check_organization_id(organization_id: str) -> str:
    """Return an organization's id if it is 1 … 64 of a–z, 0–9, `-` and `_`; raises RequestInvalid."""
    if not is_organization_id(organization_id):
        raise RequestInvalid(
            "an organization's id is 1 to 64 of a-z, 0-9, - and _, and begins and ends with a letter or digit",
            field="organization_id",
        )
    return organization_id
