"""Checks: what every write is given, checked. An organization and a hold that cannot exist are not found, whatever the reason."""

from __future__ import annotations

from datetime import timedelta

from tokenwell.core.amounts import parse_amount
from tokenwell.core.health import Lane
from tokenwell.core.holds import LONGEST_HOLD
from tokenwell.core.identifiers import check_key, check_label, encode_id, is_organization_id, key_bytes, settle_key
from tokenwell.core.limits import KeyLimits
from tokenwell.core.packs import NOTE_LIMIT
from tokenwell.errors import HoldNotFound, OrganizationNotFound, RequestInvalid
from tokenwell.service.ports import new_bytes


def name_and_key(key: str | None) -> tuple[str, bytes]:
    """Return an idempotency key, a fresh one for None, and the bytes that stand for it."""
    if key is not None:
        return check_key(key), key_bytes(key)
    fresh = new_bytes()
    return encode_id("req", fresh), fresh


def known(organization_id: str) -> str:
    """Return an organization's id if one could have it. Raises OrganizationNotFound."""
    if not is_organization_id(organization_id):
        raise OrganizationNotFound(organization_id=organization_id)
    return organization_id


def check_note(note: str) -> str:
    """Return a note if it is printable and not too long."""
    return "" if note == "" else check_label(note, field="note", limit=NOTE_LIMIT) or ""


def hold_bytes(hold_id: str) -> bytes:
    """Return the bytes that stand for a hold. Raises HoldNotFound for what is no hold's id."""
    try:
        return settle_key(hold_id)
    except (ValueError, TypeError):
        raise HoldNotFound(hold_id=hold_id) from None


def check_ttl(ttl: timedelta) -> timedelta:
    """Return how long a hold is to last if it may. Raises RequestInvalid."""
    if not isinstance(ttl, timedelta) or not timedelta(0) < ttl <= LONGEST_HOLD:
        raise RequestInvalid(f"a hold lasts more than nothing and at most {LONGEST_HOLD}", field="ttl")
    return ttl


def check_limits(limits: KeyLimits | None, key_id: str | None) -> KeyLimits | None:
    """Return the limits of a key, None where there are none. Raises RequestInvalid where the key is not named."""
    if limits and key_id is None:
        raise RequestInvalid("limits are those of a key: name it", field="key_id")
    return limits or None


def lane_of(reserve_tokens: int | None, name: str | None) -> Lane | None:
    """Return the lane with a line and a name, None where there is no line."""
    if reserve_tokens is None:
        return None
    tokens = parse_amount(reserve_tokens, field="reserve_tokens", least=0)
    return Lane(tokens, None if name is None else check_label(name, field="lane"))
