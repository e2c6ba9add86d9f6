"""Links in tables: what opens a door once. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from tokenwell.core.happenings import PLATFORM
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import access_link


class LinkKind(StrEnum):
    """What a link opens."""

    INVITATION = "invitation"
    RESET = "reset"
    SET_UP = "set_up"
    SECOND_STEP = "second_step"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link that was given out. Its token is known only as a hash. `role` is what an invitation gives."""

    id: str
    kind: LinkKind
    created_at: datetime
    expires_at: datetime
    organization_id: str = PLATFORM
    email: str | None = None
    role: str | None = None
    person_id: str | None = None
    created_by: str = ""
    used_at: datetime | None = None


_LINK = (
    access_link.c.link_id,
    access_link.c.kind,
    access_link.c.created_at,
    access_link.c.expires_at,
    access_link.c.organization_id,
    access_link.c.email,
    access_link.c.role,
    access_link.c.person_id,
    access_link.c.created_by,
    access_link.c.used_at,
)


def _link_from(row: Sequence[Any]) -> Link:
    return Link(
        id=row[0],
        kind=LinkKind(row[1]),
        created_at=from_micros(row[2]),
        expires_at=from_micros(row[3]),
        organization_id=row[4],
        email=row[5],
        role=row[6],
        person_id=row[7],
        created_by=row[8],
        used_at=None if row[9] is None else from_micros(row[9]),
    )


def add_link(connection: Connection, link: Link, token_hash: bytes) -> None:
    """Insert a link."""
    connection.execute(
        insert(access_link).values(
            organization_id=link.organization_id,
            link_id=link.id,
            token_hash=token_hash,
            kind=link.kind.value,
            email=link.email,
            role=link.role,
            person_id=link.person_id,
            created_by=link.created_by,
            created_at=to_micros(link.created_at),
            expires_at=to_micros(link.expires_at),
        )
    )


def find_link(connection: Connection, kind: LinkKind, token_hash: bytes) -> Link | None:
    """Return the link of a token's hash, whatever its age, or None. Like a key's, the secret is what tells the organization."""
    own = (access_link.c.token_hash == token_hash) & (access_link.c.kind == kind.value)
    row = connection.execute(select(*_LINK).where(own)).first()
    return None if row is None else _link_from(row)


def use_link(connection: Connection, link: Link, at: datetime) -> bool:
    """Note that a link was used; return whether it had not been: of several who try at once, one has it."""
    own = (access_link.c.organization_id == link.organization_id) & (access_link.c.link_id == link.id)
    used = update(access_link).where(own, access_link.c.used_at.is_(None)).values(used_at=to_micros(at))
    return connection.execute(used).rowcount > 0


def open_links(
    connection: Connection, organization_id: str, kind: LinkKind, now: datetime, before: str | None, limit: int
) -> list[Link]:
    """Return at most `limit` links that still open, newest first, those before the id `before` if it is given."""
    own = select(*_LINK).where(
        access_link.c.organization_id == organization_id,
        access_link.c.kind == kind.value,
        access_link.c.used_at.is_(None),
        access_link.c.expires_at > to_micros(now),
    )
    if before is not None:
        own = own.where(access_link.c.link_id < before)
    return [_link_from(row) for row in connection.execute(own.order_by(access_link.c.link_id.desc()).limit(limit))]


def find_open(connection: Connection, organization_id: str, link_id: str, now: datetime) -> Link | None:
    """Return a link of the organization that still opens, or None."""
    own = (access_link.c.organization_id == organization_id) & (access_link.c.link_id == link_id)
    row = connection.execute(
        select(*_LINK).where(own, access_link.c.used_at.is_(None), access_link.c.expires_at > to_micros(now))
    ).first()
    return None if row is None else _link_from(row)


def renew_link(connection: Connection, link: Link, token_hash: bytes) -> bool:
    """Let a link that still opens do so by another token, until it expires; return whether it had not been used."""
    own = (access_link.c.organization_id == link.organization_id) & (access_link.c.link_id == link.id)
    renewing = update(access_link).where(own, access_link.c.used_at.is_(None))
    return connection.execute(renewing.values(token_hash=token_hash, expires_at=to_micros(link.expires_at))).rowcount > 0


def close_links(connection: Connection, kind: LinkKind, at: datetime, *, person_id: str | None = None) -> None:
    """Close every open link of a kind among the platform's: of one person, or all."""
    own = (access_link.c.organization_id == PLATFORM) & (access_link.c.kind == kind.value) & access_link.c.used_at.is_(None)
    if person_id is not None:
        own &= access_link.c.person_id == person_id
    connection.execute(update(access_link).where(own).values(used_at=to_micros(at)))


def prune_links(connection: Connection, before: datetime) -> None:
    """Delete the links that expired before an instant."""
    connection.execute(delete(access_link).where(access_link.c.expires_at < to_micros(before)))
