"""Identities of single sign-on in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from tokenwell.core.instants import to_micros
from tokenwell.store.identity.people import Person, get_person
from tokenwell.store.schema import person_identity


def person_of(connection: Connection, issuer: str, subject: str) -> Person | None:
    """Return who a provider's subject was linked to, or None."""
    own = (person_identity.c.issuer == issuer) & (person_identity.c.subject == subject)
    found = connection.execute(select(person_identity.c.person_id).where(own)).scalar_one_or_none()
    return None if found is None else get_person(connection, found)


def link(connection: Connection, issuer: str, subject: str, person_id: str, at: datetime) -> None:
    """Link a provider's subject to a person, for good."""
    connection.execute(
        insert(person_identity).values(issuer=issuer, subject=subject, person_id=person_id, created_at=to_micros(at))
    )
