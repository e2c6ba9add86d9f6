"""People in tables: persons, memberships, sessions and the failed sign-ins. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, delete, insert, select, update

from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import membership, organization, person, person_preference, session, sign_in_failure


class Role(StrEnum):
    """What a member may do in an organization. Reading is common to all; the rest comes with what there is to manage."""

    ORGANIZATION_ADMIN = "organization_admin"
    VIEWER = "viewer"


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can sign in. A platform administrator sees every organization."""

    id: str
    email: str
    name: str
    is_platform_admin: bool
    created_at: datetime
    disabled_at: datetime | None = None


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """One organization a person belongs to."""

    organization_id: str
    organization_name: str
    role: Role


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A person who is signed in, until `expires_at` at the latest. `language` and `zone` are those they chose, if they did."""

    person: Person
    csrf_token: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    language: str | None = None
    zone: str | None = None


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session as its person sees it: since when, from where, with what browser, and whether it is the one that asks."""

    created_at: datetime
    seen_at: datetime
    source: str
    agent: str
    is_current: bool


_PERSON = (person.c.person_id, person.c.email, person.c.name, person.c.is_platform_admin, person.c.created_at, person.c.disabled_at)


def person_columns() -> tuple[Column[Any], ...]:
    """Return the columns that `person_from` reads, in their order."""
    return _PERSON


def person_from(row: Sequence[Any]) -> Person:
    """Return the person of a row that begins with `person_columns`."""
    return Person(
        id=row[0],
        email=row[1],
        name=row[2],
        is_platform_admin=bool(row[3]),
        created_at=from_micros(row[4]),
        disabled_at=None if row[5] is None else from_micros(row[5]),
    )


def add_person(connection: Connection, who: Person, password_hash: str) -> None:
    """Insert a person; raises sqlalchemy's IntegrityError if the e-mail address is taken."""
    connection.execute(
        insert(person).values(
            person_id=who.id,
            email=who.email,
            name=who.name,
            password_hash=password_hash,
            is_platform_admin=who.is_platform_admin,
            created_at=to_micros(who.created_at),
        )
    )


def find_person(connection: Connection, email: str) -> tuple[Person, str] | None:
    """Return the person of a normalized e-mail address with the password's hash, or None."""
    row = connection.execute(select(*_PERSON, person.c.password_hash).where(person.c.email == email)).one_or_none()
    return None if row is None else (person_from(row), row[6])


def get_person(connection: Connection, person_id: str) -> Person | None:
    """Return a person by id, or None."""
    row = connection.execute(select(*_PERSON).where(person.c.person_id == person_id)).one_or_none()
    return None if row is None else person_from(row)


def set_name(connection: Connection, person_id: str, name: str) -> None:
    """Replace what a person is called."""
    connection.execute(update(person).where(person.c.person_id == person_id).values(name=name))


def put_preference(connection: Connection, person_id: str, *, language: str | None, zone: str | None) -> None:
    """Keep the language and the time zone that a person chose; None for none."""
    connection.execute(delete(person_preference).where(person_preference.c.person_id == person_id))
    connection.execute(insert(person_preference).values(person_id=person_id, language=language, zone=zone))


def person_of(connection: Connection, person_id: str) -> Person | None:
    """Return the person with an id, or None."""
    row = connection.execute(select(*_PERSON).where(person.c.person_id == person_id)).first()
    return None if row is None else person_from(row)


def has_person(connection: Connection, person_id: str) -> bool:
    """Return whether there is such a person."""
    return connection.execute(select(person.c.person_id).where(person.c.person_id == person_id)).first() is not None


def set_password_hash(connection: Connection, person_id: str, password_hash: str) -> bool:
    """Replace the password's hash; return whether there is such a person."""
    return (
        connection.execute(update(person).where(person.c.person_id == person_id).values(password_hash=password_hash)).rowcount > 0
    )


def disable_person(connection: Connection, person_id: str, at: datetime) -> bool:
    """Note since when the person may no longer sign in; return whether there is such a person."""
    return connection.execute(update(person).where(person.c.person_id == person_id).values(disabled_at=to_micros(at))).rowcount > 0


def has_organization(connection: Connection, organization_id: str) -> bool:
    """Return whether there is such an organization."""
    found = select(organization.c.organization_id).where(organization.c.organization_id == organization_id)
    return connection.execute(found).first() is not None


def put_member(connection: Connection, organization_id: str, person_id: str, role: Role, at: datetime) -> None:
    """Insert a membership, or change the role of the one there is."""
    own = (membership.c.organization_id == organization_id) & (membership.c.person_id == person_id)
    if connection.execute(update(membership).where(own).values(role=role.value)).rowcount == 0:
        connection.execute(
            insert(membership).values(
                organization_id=organization_id, person_id=person_id, role=role.value, created_at=to_micros(at)
            )
        )


def remove_member(connection: Connection, organization_id: str, person_id: str) -> bool:
    """Delete a membership; return whether there was one."""
    own = (membership.c.organization_id == organization_id) & (membership.c.person_id == person_id)
    return connection.execute(delete(membership).where(own)).rowcount > 0


def role_in(connection: Connection, organization_id: str, person_id: str) -> Role | None:
    """Return the person's role in the organization, or None."""
    own = (membership.c.organization_id == organization_id) & (membership.c.person_id == person_id)
    role = connection.execute(select(membership.c.role).where(own)).scalar_one_or_none()
    return None if role is None else Role(role)


def memberships_of(connection: Connection, person_id: str, limit: int) -> tuple[Membership, ...]:
    """Return a person's memberships by the organization's name, at most `limit`."""
    rows = connection.execute(
        select(organization.c.organization_id, organization.c.name, membership.c.role)
        .join(organization, organization.c.organization_id == membership.c.organization_id)
        .where(membership.c.person_id == person_id)
        .order_by(organization.c.name, organization.c.organization_id)
        .limit(limit)
    )
    return tuple(Membership(organization_id=row[0], organization_name=row[1], role=Role(row[2])) for row in rows)


def add_session(connection: Connection, token_hash: bytes, opened: Session, *, source: str, agent: str) -> None:
    """Insert a session, with the address and the browser it was opened from."""
    connection.execute(
        insert(session).values(
            token_hash=token_hash,
            person_id=opened.person.id,
            csrf_token=opened.csrf_token,
            created_at=to_micros(opened.created_at),
            seen_at=to_micros(opened.seen_at),
            expires_at=to_micros(opened.expires_at),
            source=source,
            agent=agent,
        )
    )


def find_session(connection: Connection, token_hash: bytes) -> Session | None:
    """Return the session of a token's hash with its person, whatever its age, or None."""
    columns = (
        *_PERSON, session.c.csrf_token, session.c.created_at, session.c.seen_at, session.c.expires_at, person_preference.c.language,
        person_preference.c.zone,
    )  # fmt: skip
    joined = (
        select(*columns)
        .select_from(session)
        .join(person, person.c.person_id == session.c.person_id)
        .outerjoin(person_preference, person_preference.c.person_id == session.c.person_id)
    )
    row = connection.execute(joined.where(session.c.token_hash == token_hash)).one_or_none()
    if row is None:
        return None
    return Session(
        person=person_from(row),
        csrf_token=row[6],
        created_at=from_micros(row[7]),
        seen_at=from_micros(row[8]),
        expires_at=from_micros(row[9]),
        language=row[10],
        zone=row[11],
    )


def sessions_of(
    connection: Connection, person_id: str, current: bytes | None, now: datetime, seen_since: datetime, limit: int
) -> tuple[OpenSession, ...]:
    """Return a person's sessions that are open at `now`, the one last used first."""
    rows = connection.execute(
        select(session.c.created_at, session.c.seen_at, session.c.source, session.c.agent, session.c.token_hash)
        .where(session.c.person_id == person_id, session.c.expires_at > to_micros(now), session.c.seen_at >= to_micros(seen_since))
        .order_by(session.c.seen_at.desc(), session.c.token_hash)
        .limit(limit)
    )
    return tuple(
        OpenSession(
            created_at=from_micros(row[0]),
            seen_at=from_micros(row[1]),
            source=row[2] or "",
            agent=row[3] or "",
            is_current=current is not None and bytes(row[4]) == current,
        )
        for row in rows
    )


def touch_session(connection: Connection, token_hash: bytes, at: datetime) -> None:
    """Note when the session was last used."""
    connection.execute(update(session).where(session.c.token_hash == token_hash).values(seen_at=to_micros(at)))


def remove_session(connection: Connection, token_hash: bytes) -> None:
    """Delete a session, if there is one."""
    connection.execute(delete(session).where(session.c.token_hash == token_hash))


def remove_sessions_of(connection: Connection, person_id: str) -> int:
    """Delete every session of a person; return how many there were."""
    return connection.execute(delete(session).where(session.c.person_id == person_id)).rowcount


def prune_sessions(connection: Connection, now: datetime, seen_before: datetime) -> None:
    """Delete the sessions that have expired, or were last used before `seen_before`."""
    ended = (session.c.expires_at <= to_micros(now)) | (session.c.seen_at < to_micros(seen_before))
    connection.execute(delete(session).where(ended))


def add_failure(connection: Connection, subjects: Sequence[str], at: datetime, failure_id: str) -> None:
    """Count a sign-in against each subject."""
    connection.execute(
        insert(sign_in_failure),
        [{"subject": subject, "at": to_micros(at), "failure_id": failure_id} for subject in subjects],
    )


def remove_failure(connection: Connection, subjects: Sequence[str], at: datetime, failure_id: str) -> None:
    """Take one counted sign-in back."""
    connection.execute(
        delete(sign_in_failure).where(
            sign_in_failure.c.subject.in_(subjects),
            sign_in_failure.c.at == to_micros(at),
            sign_in_failure.c.failure_id == failure_id,
        )
    )


def failures_of(connection: Connection, subject: str, since: datetime, limit: int) -> list[datetime]:
    """Return when the subject's last failures after `since` were, newest first, at most `limit`."""
    rows = connection.execute(
        select(sign_in_failure.c.at)
        .where(sign_in_failure.c.subject == subject, sign_in_failure.c.at > to_micros(since))
        .order_by(sign_in_failure.c.at.desc())
        .limit(limit)
    )
    return [from_micros(row[0]) for row in rows]


def prune_failures(connection: Connection, before: datetime) -> None:
    """Delete every failure at or before `before`."""
    connection.execute(delete(sign_in_failure).where(sign_in_failure.c.at <= to_micros(before)))
