"""Packs in tables, off the hot path: one pack, and its note. Every function works in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from tokenwell.core.packs import Pack
from tokenwell.store.rows import pack_from
from tokenwell.store.schema import pack as _pack


def find_pack(connection: Connection, organization_id: str, pack_id: str) -> Pack | None:
    """Return a pack of the organization, or None."""
    own = (_pack.c.organization_id == organization_id) & (_pack.c.pack_id == pack_id)
    row = connection.execute(select(_pack).where(own)).one_or_none()
    return None if row is None else pack_from(row)


def set_note(connection: Connection, organization_id: str, pack_id: str, note: str) -> None:
    """Change a pack's note. It is the one column of a pack that no command writes again."""
    own = (_pack.c.organization_id == organization_id) & (_pack.c.pack_id == pack_id)
    connection.execute(update(_pack).where(own).values(note=note))
