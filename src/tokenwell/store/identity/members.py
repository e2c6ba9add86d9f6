"""Members in tables: who belongs to an organization, and everybody there is. Every function works in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, func, or_, select, update

from tokenwell.core.instants import from_micros
from tokenwell.store.identity.people import Person, Role, person_columns, person_from
from tokenwell.store.schema import membership, person, second_factor


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who belongs to an organization."""

    person: Person
    role: Role
    since: datetime


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can sign in, with what a platform administrator needs to know of them."""

    person: Person
    organizations: int
    has_second_factor: bool


def members_of(connection: Connection, organization_id: str, after: str | None, limit: int) -> list[Member]:
    """Return at most `limit` members by their person's id, those after `after` if it is given."""
    own = (
        select(*person_columns(), membership.c.role, membership.c.created_at)
        .join(person, person.c.person_id == membership.c.person_id)
        .where(membership.c.organization_id == organization_id)
    )
    if after is not None:
        own = own.where(membership.c.person_id > after)
    rows = connection.execute(own.order_by(membership.c.person_id).limit(limit))
    return [Member(person=person_from(row), role=Role(row[-2]), since=from_micros(row[-1])) for row in rows]


def find_member(connection: Connection, organization_id: str, person_id: str) -> Member | None:
    """Return a member of the organization, or None."""
    own = (membership.c.organization_id == organization_id) & (membership.c.person_id == person_id)
    joined = select(*person_columns(), membership.c.role, membership.c.created_at).join(
        person, person.c.person_id == membership.c.person_id
    )
    row = connection.execute(joined.where(own)).first()
    return None if row is None else Member(person=person_from(row), role=Role(row[-2]), since=from_micros(row[-1]))


def lock_administrators(connection: Connection, organization_id: str) -> list[str]:
    """Return the organization's administrators who can sign in, and let nobody else change them until the transaction ends."""
    rows = connection.execute(
        select(membership.c.person_id)
        .where(membership.c.organization_id == organization_id, membership.c.role == Role.ORGANIZATION_ADMIN.value)
        .order_by(membership.c.person_id)
        .with_for_update()
    )
    return [row[0] for row in rows]


def lock_platform_administrators(connection: Connection) -> list[str]:
    """Return the platform's administrators who can sign in, and let nobody else change them until the transaction ends."""
    rows = connection.execute(
        select(person.c.person_id)
        .where(person.c.is_platform_admin.is_(True), person.c.disabled_at.is_(None))
        .order_by(person.c.person_id)
        .with_for_update()
    )
    return [row[0] for row in rows]


def accounts(connection: Connection, search: str, after: str | None, limit: int) -> list[Account]:
    """Return at most `limit` people by id, those whose name or address holds `search`, after the id `after`."""
    counted = select(func.count()).where(membership.c.person_id == person.c.person_id).correlate(person).scalar_subquery()
    every = select(*person_columns(), counted, second_factor.c.person_id).select_from(
        person.outerjoin(second_factor, second_factor.c.person_id == person.c.person_id)
    )
    if search:
        every = every.where(or_(person.c.email.contains(search, autoescape=True), person.c.name.icontains(search, autoescape=True)))
    if after is not None:
        every = every.where(person.c.person_id > after)
    rows = connection.execute(every.order_by(person.c.person_id).limit(limit))
    return [Account(person=person_from(row), organizations=row[-2], has_second_factor=row[-1] is not None) for row in rows]


def set_platform_admin(connection: Connection, person_id: str, *, is_admin: bool) -> None:
    """Make a person a platform administrator, or no longer."""
    connection.execute(update(person).where(person.c.person_id == person_id).values(is_platform_admin=is_admin))


def set_enabled(connection: Connection, person_id: str) -> None:
    """Let a person sign in again."""
    connection.execute(update(person).where(person.c.person_id == person_id).values(disabled_at=None))


def has_platform_administrator(connection: Connection) -> bool:
    """Return whether somebody administers the platform, be they barred from signing in."""
    return connection.execute(select(person.c.person_id).where(person.c.is_platform_admin.is_(True)).limit(1)).first() is not None
