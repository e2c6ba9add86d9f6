"""Checks: what every write is given, checked. An organization and a hold that cannot exist are not found, whatever the reason."""

from __future__ import annotations

from tokenwell.core.identifiers import check_key, check_label, encode_id, is_organization_id, key_bytes, settle_key
from tokenwell.core.packs import NOTE_LIMIT
from tokenwell.errors import HoldNotFound, OrganizationNotFound
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
