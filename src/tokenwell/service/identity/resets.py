"""Resets: how somebody who forgot a password gets another. A link that opens once, within an hour, for whom it was sent to.

Who asks never learns whether an address is known: nothing is answered, and the asking is bounded per address and per source.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta

import sqlalchemy

from tokenwell.core.happenings import SYSTEM, Actor, ActorKind
from tokenwell.core.letters import Letter, LetterKind
from tokenwell.errors import LinkInvalid, PersonNotFound, SignInThrottled
from tokenwell.service.identity.credentials import is_email, normalized_email, token_hash
from tokenwell.service.identity.people import FAILURES_PER_SOURCE, People
from tokenwell.service.identity.throttling import source_subject, subject_of
from tokenwell.service.notices.post import Mailer
from tokenwell.service.ports import new_id
from tokenwell.store.identity import links as store
from tokenwell.store.identity import people as people_store
from tokenwell.store.identity.links import Link, LinkKind
from tokenwell.store.identity.people import Person
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

LIFETIME = timedelta(hours=1)
LETTERS_PER_EMAIL = 3
"""How many letters an address gets within the window of failures."""


class Resets:
    """The links that give another password. Its methods block."""

    def __init__(self, people: People, mailer: Mailer) -> None:
        self._engine = people.engine
        self._clock = people.clock
        self._people = people
        self._mailer = mailer

    def ask(self, email: str, *, source: str, address_of: Callable[[str], str], language: str = "en") -> None:
        """Send a link to an address, if it is somebody's and mail can be sent. Answers nothing, whatever it did."""
        address = normalized_email(email)
        limits = {subject_of("reset", address): LETTERS_PER_EMAIL, source_subject(source): FAILURES_PER_SOURCE}
        try:
            self._people.throttle.attempt(limits)
        except SignInThrottled:
            return
        with transaction(self._engine) as connection:
            found = people_store.find_person(connection, address) if is_email(address) else None
            if found is None or found[0].disabled_at is not None or not self._mailer.is_ready:
                return
            token = self._add(connection, found[0], SYSTEM)
            hours = str(LIFETIME // timedelta(hours=1))
            letter = Letter(
                kind=LetterKind.RESET, to=found[0].email, language=language, link=address_of(token), facts={"hours": hours}
            )
            self._mailer.post(connection, letter)

    def link_for(self, person_id: str, *, address_of: Callable[[str], str], by: Actor) -> str:
        """Return a link for a person, for an administrator to pass on. Raises PersonNotFound."""
        with transaction(self._engine) as connection:
            person = people_store.get_person(connection, person_id)
            if person is None:
                raise PersonNotFound(person_id=person_id)
            return address_of(self._add(connection, person, by))

    def check(self, token: str) -> None:
        """Return if a token opens. Raises LinkInvalid."""
        with reading(self._engine) as connection:
            self._open(store.find_link(connection, LinkKind.RESET, token_hash(token)))

    def reset(self, token: str, password: str, *, source: str) -> None:
        """Set the password of who a link was for; all their sessions and all their other links end.

        Raises LinkInvalid, RequestInvalid.
        """
        with reading(self._engine) as connection:
            link = self._open(store.find_link(connection, LinkKind.RESET, token_hash(token)))
        password_hash = self._people.passwords.hash(password)
        with transaction(self._engine) as connection:
            person = people_store.get_person(connection, link.person_id or "")
            if person is None or not store.use_link(connection, link, self._clock()):
                raise LinkInvalid
            actor = Actor(kind=ActorKind.PERSON, id=person.id, name=person.name or person.email, source=source)
            self._people.put_password(connection, person.id, password_hash, actor)

    def _add(self, connection: sqlalchemy.Connection, person: Person, by: Actor) -> str:
        now, token = self._clock(), secrets.token_urlsafe(32)
        link = Link(
            id=new_id("lnk"),
            kind=LinkKind.RESET,
            person_id=person.id,
            created_by=by.name,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        store.add_link(connection, link, token_hash(token))
        self._people.record(connection, "person.reset_link", person.id, by)
        return token

    def _open(self, link: Link | None) -> Link:
        if link is None or link.used_at is not None or self._clock() >= link.expires_at:
            raise LinkInvalid
        return link
