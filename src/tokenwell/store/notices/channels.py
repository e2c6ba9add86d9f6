"""Channels in tables: who is told and how. Every function works in the caller's transaction.

A channel belongs to an organization, or to the platform: then it is told of every organization. A person's own wishes are the
channel of kind `own` whose id is the person's.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, delete, insert, or_, select, update

from tokenwell.core.alerts import Schedule
from tokenwell.core.happenings import PLATFORM, EventKind
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.identity.people import Role
from tokenwell.store.schema import channel, membership, organization, person, person_preference


class ChannelKind(StrEnum):
    """How a channel tells: an e-mail to a person's own address or to another, a signed webhook, a chat's incoming webhook."""

    OWN = "own"
    EMAIL = "email"
    WEBHOOK = "webhook"
    SLACK = "slack"
    CHAT = "chat"


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of which kinds of events (None: of every kind), how and when. `shown` is the target as people may see it,
    `sealed` what must not be read: addresses with secrets in them, and signing keys."""

    organization_id: str
    id: str
    kind: ChannelKind
    name: str
    shown: str
    kinds: frozenset[EventKind] | None
    language: str
    zone: str
    schedule: Schedule
    created_at: datetime
    changed_at: datetime
    disabled_at: datetime | None = None
    sealed: bytes = b""

    def wants(self, kind: EventKind) -> bool:
        """Return whether it is to be told of events of this kind."""
        return self.disabled_at is None and (self.kinds is None or kind in self.kinds)


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """A person who can be told by e-mail: a member of an organization, or a platform administrator."""

    person_id: str
    email: str
    is_admin: bool


def put_channel(connection: Connection, wanted: Channel) -> None:
    """Insert a channel, or replace the one with its id."""
    values = {
        "kind": wanted.kind.value,
        "name": wanted.name,
        "shown": wanted.shown,
        "sealed": wanted.sealed,
        "kinds": "*" if wanted.kinds is None else " ".join(sorted(wanted.kinds)),
        "language": wanted.language,
        "zone": wanted.zone,
        "quiet_from": wanted.schedule.quiet_from,
        "quiet_until": wanted.schedule.quiet_until,
        "digest_at": wanted.schedule.digest_at,
        "changed_at": to_micros(wanted.changed_at),
        "disabled_at": None if wanted.disabled_at is None else to_micros(wanted.disabled_at),
    }
    own = (channel.c.organization_id == wanted.organization_id) & (channel.c.channel_id == wanted.id)
    if connection.execute(update(channel).where(own).values(values)).rowcount == 0:
        connection.execute(
            insert(channel).values(
                organization_id=wanted.organization_id, channel_id=wanted.id, created_at=to_micros(wanted.created_at), **values
            )
        )


def find_channel(connection: Connection, organization_id: str, channel_id: str) -> Channel | None:
    """Return a channel, or None."""
    own = (channel.c.organization_id == organization_id) & (channel.c.channel_id == channel_id)
    row = connection.execute(select(channel).where(own)).one_or_none()
    return None if row is None else _channel_from(row._mapping)


def remove_channel(connection: Connection, organization_id: str, channel_id: str) -> bool:
    """Delete a channel; return whether there was one."""
    own = (channel.c.organization_id == organization_id) & (channel.c.channel_id == channel_id)
    return connection.execute(delete(channel).where(own)).rowcount > 0


def channels_of(
    connection: Connection, organization_id: str, *, before: str | None = None, limit: int = 1000, with_own: bool = True
) -> list[Channel]:
    """Return the channels of an organization, newest first, those before the id `before` if it is given."""
    found = select(channel).where(channel.c.organization_id == organization_id)
    if before is not None:
        found = found.where(channel.c.channel_id < before)
    if not with_own:
        found = found.where(channel.c.kind != ChannelKind.OWN.value)
    rows = connection.execute(found.order_by(channel.c.channel_id.desc()).limit(limit))
    return [_channel_from(row._mapping) for row in rows]


def readers_of(connection: Connection, organization_id: str) -> list[Reader]:
    """Return the members of an organization who can sign in; of the platform, its administrators."""
    able = person.c.disabled_at.is_(None)
    if organization_id == PLATFORM:
        found: Select[Any] = select(person.c.person_id, person.c.email).where(person.c.is_platform_admin.is_(True), able)
        return [Reader(person_id=row[0], email=row[1], is_admin=True) for row in connection.execute(found)]
    found = (
        select(person.c.person_id, person.c.email, membership.c.role)
        .join(membership, membership.c.person_id == person.c.person_id)
        .where(membership.c.organization_id == organization_id, able)
    )
    rows = connection.execute(found)
    return [Reader(person_id=row[0], email=row[1], is_admin=row[2] == Role.ORGANIZATION_ADMIN.value) for row in rows]


def reader_of(connection: Connection, organization_id: str, person_id: str) -> Reader | None:
    """Return a person who may be told of an organization (of the platform), or None."""
    member = select(membership.c.person_id).where(
        membership.c.organization_id == organization_id, membership.c.person_id == person_id
    )
    may: ColumnElement[bool] = person.c.is_platform_admin.is_(True)
    if organization_id != PLATFORM:
        may = or_(may, person.c.person_id.in_(member))
    row = connection.execute(
        select(person.c.person_id, person.c.email).where(person.c.person_id == person_id, person.c.disabled_at.is_(None), may)
    ).one_or_none()
    return None if row is None else Reader(person_id=row[0], email=row[1], is_admin=True)


def member_of(connection: Connection, organization_id: str, person_id: str) -> Reader | None:
    """Return a member of an organization (an administrator of the platform) who can sign in, or None."""
    able = (person.c.person_id == person_id) & person.c.disabled_at.is_(None)
    if organization_id == PLATFORM:
        found: Select[Any] = select(person.c.email).where(able, person.c.is_platform_admin.is_(True))
        email = connection.execute(found).scalar_one_or_none()
        return None if email is None else Reader(person_id=person_id, email=email, is_admin=True)
    found = (
        select(person.c.email, membership.c.role)
        .join(membership, membership.c.person_id == person.c.person_id)
        .where(membership.c.organization_id == organization_id, able)
    )
    row = connection.execute(found).one_or_none()
    return None if row is None else Reader(person_id=person_id, email=row[0], is_admin=row[1] == Role.ORGANIZATION_ADMIN.value)


def preference_of(connection: Connection, person_id: str) -> tuple[str | None, str | None]:
    """Return the language and the time zone that a person chose for themselves, None for none."""
    chosen = select(person_preference.c.language, person_preference.c.zone).where(person_preference.c.person_id == person_id)
    row = connection.execute(chosen).one_or_none()
    return (None, None) if row is None else (row[0], row[1])


def organization_name(connection: Connection, organization_id: str) -> str:
    """Return what an organization is called; its id where it has no name."""
    name = connection.execute(
        select(organization.c.name).where(organization.c.organization_id == organization_id)
    ).scalar_one_or_none()
    return name or organization_id


def _channel_from(row: Any) -> Channel:
    return Channel(
        organization_id=row["organization_id"],
        id=row["channel_id"],
        kind=ChannelKind(row["kind"]),
        name=row["name"],
        shown=row["shown"],
        sealed=bytes(row["sealed"]),
        kinds=None if row["kinds"] == "*" else frozenset(EventKind(kind) for kind in row["kinds"].split()),
        language=row["language"],
        zone=row["zone"],
        schedule=Schedule(quiet_from=row["quiet_from"], quiet_until=row["quiet_until"], digest_at=row["digest_at"]),
        created_at=from_micros(row["created_at"]),
        changed_at=from_micros(row["changed_at"]),
        disabled_at=None if row["disabled_at"] is None else from_micros(row["disabled_at"]),
    )
