"""People: who may sign in, what they belong to, and the sessions of those who have.

Passwords are kept as argon2id hashes, session tokens as SHA-256: what the database holds opens nothing. Signing in tells an unknown
address from a wrong password neither by its answer nor by its time, and failures are counted across processes per address and per
source, so that guessing is bounded.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import argon2
import msgspec
import sqlalchemy

from tokenwell.core.happenings import PLATFORM, SYSTEM, Actor
from tokenwell.core.identifiers import check_label
from tokenwell.errors import (
    CredentialsInvalid,
    OrganizationNotFound,
    PersonExists,
    PersonNotFound,
    RequestInvalid,
    SecondFactorNeeded,
    StoreBusy,
)
from tokenwell.service import acts
from tokenwell.service.identity.credentials import Passwords, checked_email, is_email, normalized_email, token_hash
from tokenwell.service.identity.throttling import FAILURE_WINDOW, Throttle, source_subject, subject_of
from tokenwell.service.ports import Clock, new_id, system_clock
from tokenwell.store.identity import links as links_store
from tokenwell.store.identity import people as store
from tokenwell.store.identity import second_factors as factors_store
from tokenwell.store.identity.links import Link, LinkKind
from tokenwell.store.identity.people import Membership, OpenSession, Person, Role, Session
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["FAILURE_WINDOW", "Membership", "OpenSession", "People", "Person", "Role", "Session", "SignedIn"]

NAME_LIMIT = 100
AGENT_LIMIT = 300

FAILURES_PER_EMAIL = 10
FAILURES_PER_SOURCE = 50
"""How many failures within the window bar an address, or a source, from trying again."""

SESSION_LIFETIME = timedelta(hours=12)
IDLE_LIMIT = timedelta(hours=2)
TOUCH_INTERVAL = timedelta(minutes=1)
"""How stale the time of a session's last use may be: what a page view may write, at most this often."""

STEP_LIFETIME = timedelta(minutes=5)
"""How long somebody whose password was right may take for the second factor."""


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in that succeeded. `token` is told only here; `csrf_token` goes into every form of the session."""

    person: Person
    token: str
    csrf_token: str
    expires_at: datetime


class People:
    """Persons, memberships and sessions in one database. Its methods block: an event loop calls them in a thread."""

    def __init__(
        self,
        engine: sqlalchemy.Engine,
        clock: Clock = system_clock,
        *,
        session_lifetime: timedelta = SESSION_LIFETIME,
        idle_limit: timedelta = IDLE_LIMIT,
        hasher: argon2.PasswordHasher | None = None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self._session_lifetime = session_lifetime
        self._idle_limit = min(idle_limit, session_lifetime)
        self.passwords = Passwords(hasher)
        self.throttle = Throttle(engine, clock)

    def create_admin(self, *, email: str, password: str, name: str = "", by: Actor = SYSTEM) -> Person:
        """Add a platform administrator. Raises RequestInvalid, or PersonExists if the address is taken."""
        return self._create(email, password, name, by, is_platform_admin=True)

    def create_person(self, *, email: str, password: str, name: str = "", by: Actor = SYSTEM) -> Person:
        """Add a person who belongs to no organization yet. Raises RequestInvalid, or PersonExists if the address is taken."""
        return self._create(email, password, name, by, is_platform_admin=False)

    def _create(self, email: str, password: str, name: str, by: Actor, *, is_platform_admin: bool) -> Person:
        person = self.new_person(email=email, name=name, is_platform_admin=is_platform_admin)
        password_hash = self.passwords.hash(password)
        try:
            with transaction(self.engine) as connection:
                self.add(connection, person, password_hash, by)
        except sqlalchemy.exc.IntegrityError:
            raise PersonExists(email=person.email) from None
        return person

    def new_person(self, *, email: str, name: str = "", is_platform_admin: bool = False) -> Person:
        """Return a person who is in no database yet. Raises RequestInvalid."""
        return Person(
            id=new_id("per"),
            email=checked_email(email),
            name=(check_label(name, field="name", limit=NAME_LIMIT) or "").strip(),
            is_platform_admin=is_platform_admin,
            created_at=self.clock(),
        )

    def add(self, connection: sqlalchemy.Connection, person: Person, password_hash: str, by: Actor) -> None:
        """Add a person in the caller's transaction; raises sqlalchemy's IntegrityError if the address is taken."""
        store.add_person(connection, person, password_hash)
        after = {"email": person.email, "is_platform_admin": person.is_platform_admin}
        self.record(connection, "person.create", person.id, by, after=after)

    def record(
        self,
        connection: sqlalchemy.Connection,
        action: str,
        person_id: str,
        by: Actor,
        *,
        organization_id: str = PLATFORM,
        before: Any = None,
        after: Any = None,
    ) -> None:
        """Append an act on a person."""
        at, what = self.clock(), {"before": before, "after": after}
        acts.record(connection, by=by, at=at, organization_id=organization_id, action=action, subject=person_id, **what)

    def find(self, email: str) -> Person | None:
        """Return the person with this e-mail address, or None."""
        with reading(self.engine) as connection:
            found = store.find_person(connection, checked_email(email))
        return None if found is None else found[0]

    def get(self, person_id: str) -> Person:
        """Return a person. Raises PersonNotFound."""
        check_label(person_id, field="person_id")
        with reading(self.engine) as connection:
            person = store.get_person(connection, person_id)
        if person is None:
            raise PersonNotFound(person_id=person_id)
        return person

    def set_password(self, person_id: str, password: str, *, by: Actor = SYSTEM) -> None:
        """Replace a password and end every session of the person. Raises RequestInvalid, PersonNotFound."""
        password_hash = self.passwords.hash(password)
        with transaction(self.engine) as connection:
            self.put_password(connection, person_id, password_hash, by)

    def put_password(self, connection: sqlalchemy.Connection, person_id: str, password_hash: str, by: Actor) -> None:
        """Replace a password in the caller's transaction; every session of the person and every link to reset it ends.

        Raises PersonNotFound.
        """
        if not store.set_password_hash(connection, person_id, password_hash):
            raise PersonNotFound(person_id=person_id)
        store.remove_sessions_of(connection, person_id)
        for kind in (LinkKind.RESET, LinkKind.SECOND_STEP):
            links_store.close_links(connection, kind, self.clock(), person_id=person_id)
        self.record(connection, "person.password", person_id, by)

    def keep_profile(self, person_id: str, *, name: str, language: str | None, zone: str | None) -> None:
        """Keep what a person wants to be called, and the language and time zone they read in. Raises RequestInvalid."""
        checked = (check_label(name, field="name", limit=NAME_LIMIT) or "").strip()
        with transaction(self.engine) as connection:
            store.set_name(connection, person_id, checked)
            store.put_preference(connection, person_id, language=language, zone=zone)

    def check_password(self, person: Person, password: str, *, source: str) -> None:
        """Return if it is the person's password: what asks for it again, before something that cannot be undone.

        Raises CredentialsInvalid, SignInThrottled.
        """
        limits = {subject_of("email", person.email): FAILURES_PER_EMAIL, source_subject(source): FAILURES_PER_SOURCE}
        attempt = self.throttle.attempt(limits)
        with reading(self.engine) as connection:
            found = store.find_person(connection, person.email)
        if found is None or not self.passwords.matches(found[1], password):
            raise CredentialsInvalid("The password is not right.", field="password")
        with transaction(self.engine) as connection:
            attempt.forgive(connection)

    def disable(self, person_id: str, *, by: Actor = SYSTEM) -> None:
        """Bar a person from signing in and end every session of theirs. Raises PersonNotFound."""
        with transaction(self.engine) as connection:
            if not store.disable_person(connection, person_id, self.clock()):
                raise PersonNotFound(person_id=person_id)
            store.remove_sessions_of(connection, person_id)
            links_store.close_links(connection, LinkKind.SECOND_STEP, self.clock(), person_id=person_id)
            self.record(connection, "person.disable", person_id, by)

    def add_member(self, organization_id: str, person_id: str, role: Role | str, *, by: Actor = SYSTEM) -> None:
        """Make a person a member of an organization, or change their role. Raises OrganizationNotFound, PersonNotFound."""
        try:
            role = Role(role)
        except ValueError:
            raise RequestInvalid(f"a role is one of {', '.join(Role)}", field="role") from None
        with reading(self.engine) as connection:  # who is no member yet is seen by the platform alone
            if not store.has_organization(connection, organization_id):
                raise OrganizationNotFound(organization_id=organization_id)
            if not store.has_person(connection, person_id):
                raise PersonNotFound(person_id=person_id)
        with transaction(self.engine, organization_id) as connection:
            self.put_member(connection, organization_id, person_id, role, by)

    def put_member(self, connection: sqlalchemy.Connection, organization_id: str, person_id: str, role: Role, by: Actor) -> None:
        """Make a person a member, or change their role, in the caller's transaction."""
        before = store.role_in(connection, organization_id, person_id)
        if before is role:
            return
        store.put_member(connection, organization_id, person_id, role, self.clock())
        was = None if before is None else {"role": before}
        action = "member.add" if before is None else "member.role"
        self.record(connection, action, person_id, by, organization_id=organization_id, before=was, after={"role": role})

    def remove_member(self, organization_id: str, person_id: str, *, by: Actor = SYSTEM) -> bool:
        """End a membership at once; return whether there was one."""
        with transaction(self.engine, organization_id) as connection:
            role = store.role_in(connection, organization_id, person_id)
            if role is None:
                return False
            store.remove_member(connection, organization_id, person_id)
            self.record(connection, "member.remove", person_id, by, organization_id=organization_id, before={"role": role})
            return True

    def organizations_of(self, person: Person, *, limit: int = 100) -> tuple[Membership, ...]:
        """Return the organizations a person belongs to, by name."""
        with reading(self.engine) as connection:
            return store.memberships_of(connection, person.id, limit)

    def may_read(self, person: Person, organization_id: str) -> bool:
        """Return whether the person sees an organization: as a member, or as a platform administrator."""
        if person.is_platform_admin:
            return True
        with reading(self.engine, organization_id) as connection:
            return store.role_in(connection, organization_id, person.id) is not None

    def sign_in(self, email: str, password: str, *, source: str, agent: str = "", replaces: str | None = None) -> SignedIn:
        """Open a session with a fresh token, in place of the one that `replaces` names.

        Raises CredentialsInvalid, the same for an unknown address, a wrong password and a disabled person; SignInThrottled when
        the address or the source failed too often; SecondFactorNeeded, with a token for the second step, when there is one.
        """
        address = normalized_email(email)
        limits = {subject_of("email", address): FAILURES_PER_EMAIL, source_subject(source): FAILURES_PER_SOURCE}
        attempt = self.throttle.attempt(limits)
        person = self._verified(address, password)
        with transaction(self.engine) as connection:
            attempt.forgive(connection)
            if factors_store.has_factor(connection, person.id):
                step = self._second_step(connection, person)
            else:
                return self.open_session(connection, person, source=source, agent=agent, replaces=replaces)
        raise SecondFactorNeeded(step=step)

    def _second_step(self, connection: sqlalchemy.Connection, person: Person) -> str:
        now, token = self.clock(), secrets.token_urlsafe(32)
        link = Link(
            id=new_id("lnk"), kind=LinkKind.SECOND_STEP, person_id=person.id, created_at=now, expires_at=now + STEP_LIFETIME
        )
        links_store.prune_links(connection, now - timedelta(days=30))
        links_store.add_link(connection, link, token_hash(token))
        return token

    def open_session(
        self, connection: sqlalchemy.Connection, person: Person, *, source: str = "", agent: str = "", replaces: str | None = None
    ) -> SignedIn:
        """Open a session of somebody who proved who they are, in the caller's transaction."""
        now, token = self.clock(), secrets.token_urlsafe(32)
        session = Session(
            person=person,
            csrf_token=secrets.token_urlsafe(32),
            created_at=now,
            seen_at=now,
            expires_at=now + self._session_lifetime,
        )
        store.prune_sessions(connection, now, now - self._idle_limit)
        if replaces is not None:
            store.remove_session(connection, token_hash(replaces))
        store.add_session(connection, token_hash(token), session, source=source[:100], agent=_printable(agent)[:AGENT_LIMIT])
        return SignedIn(person=person, token=token, csrf_token=session.csrf_token, expires_at=session.expires_at)

    def _verified(self, address: str, password: str) -> Person:
        with reading(self.engine) as connection:
            found = store.find_person(connection, address) if is_email(address) else None
        person, password_hash = found or (None, None)
        is_right = self.passwords.matches(password_hash, password)
        if person is None or password_hash is None or not is_right or person.disabled_at is not None:
            raise CredentialsInvalid("The e-mail address or the password is not right.")
        renewed = self.passwords.renewed(password_hash, password)
        if renewed is not None:
            with transaction(self.engine) as connection:
                store.set_password_hash(connection, person.id, renewed)
        return person

    def session(self, token: str) -> Session | None:
        """Return the session of a token, or None if it was ended, expired, lay idle too long, or its person is disabled."""
        now = self.clock()
        hashed = token_hash(token)
        with reading(self.engine) as connection:
            session = store.find_session(connection, hashed)
        if session is None or session.person.disabled_at is not None:
            return None
        if now >= session.expires_at or now - session.seen_at > self._idle_limit:
            return None
        if now - session.seen_at >= TOUCH_INTERVAL:
            try:
                with transaction(self.engine) as connection:
                    store.touch_session(connection, hashed, now)
            except StoreBusy:
                pass  # who asks still is signed in; the next view writes it
        return session

    def sessions_of(self, person_id: str, current: str | None = None, *, limit: int = 50) -> tuple[OpenSession, ...]:
        """Return a person's open sessions, the one last used first; `current` is the token of the one that asks."""
        now = self.clock()
        hashed = None if current is None else token_hash(current)
        with reading(self.engine) as connection:
            return store.sessions_of(connection, person_id, hashed, now, now - self._idle_limit, limit)

    def sign_out(self, token: str) -> None:
        """End the session of a token, if there is one."""
        with transaction(self.engine) as connection:
            store.remove_session(connection, token_hash(token))

    def sign_out_everywhere(self, person_id: str) -> int:
        """End every session of a person; return how many there were."""
        with transaction(self.engine) as connection:
            return store.remove_sessions_of(connection, person_id)


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())
