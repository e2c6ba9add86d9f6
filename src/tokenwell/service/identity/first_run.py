"""First run: a server without an administrator of the platform lets in whoever holds the one-time token it printed.

The database holds only the token's hash. A new token closes the one before, and the first administrator closes the door.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

import sqlalchemy

from tokenwell.core.happenings import SYSTEM
from tokenwell.errors import LinkInvalid, PersonExists
from tokenwell.service.identity.credentials import token_hash
from tokenwell.service.identity.people import People, Person
from tokenwell.service.identity.throttling import source_subject, subject_of
from tokenwell.service.ports import new_id
from tokenwell.store.identity import links as store
from tokenwell.store.identity import members as members_store
from tokenwell.store.identity.links import Link, LinkKind
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

LIFETIME = timedelta(days=7)
TRIES = 20
"""How many wrong tokens within the window of failures bar the door for a while."""


class FirstRun:
    """The door to a server that nobody administers yet. Its methods block."""

    def __init__(self, people: People) -> None:
        self._engine = people.engine
        self._clock = people.clock
        self._people = people

    def is_open(self) -> bool:
        """Return whether nobody administers the platform yet."""
        with reading(self._engine) as connection:
            return not members_store.has_platform_administrator(connection)

    def new_token(self) -> str | None:
        """Return a fresh token in place of any before it; None where somebody administers the platform."""
        now, token = self._clock(), secrets.token_urlsafe(24)
        with transaction(self._engine) as connection:
            if members_store.has_platform_administrator(connection):
                return None
            store.close_links(connection, LinkKind.SET_UP, now)
            link = Link(id=new_id("lnk"), kind=LinkKind.SET_UP, created_at=now, expires_at=now + LIFETIME)
            store.add_link(connection, link, token_hash(token))
        return token

    def set_up(self, token: str, *, email: str, password: str, name: str = "", source: str) -> Person:
        """Add the first administrator of the platform.

        Raises LinkInvalid for a wrong token, and for any once there is an administrator; SignInThrottled; RequestInvalid.
        """
        attempt = self._people.throttle.attempt({subject_of("set-up", ""): TRIES, source_subject(source): TRIES})
        now = self._clock()
        with reading(self._engine) as connection:
            link = store.find_link(connection, LinkKind.SET_UP, token_hash(token.strip()))
        if link is None or link.used_at is not None or now >= link.expires_at:
            raise LinkInvalid("The token is not right.", field="token")
        person = self._people.new_person(email=email, name=name, is_platform_admin=True)
        password_hash = self._people.passwords.hash(password)
        try:
            with transaction(self._engine) as connection:
                if not store.use_link(connection, link, now) or members_store.has_platform_administrator(connection):
                    raise LinkInvalid("The token is not right.", field="token")
                attempt.forgive(connection)
                self._people.add(connection, person, password_hash, SYSTEM)
        except sqlalchemy.exc.IntegrityError:
            raise PersonExists(email=person.email) from None
        return person
