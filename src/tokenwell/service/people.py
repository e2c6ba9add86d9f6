"""People: who may sign in, what they belong to, and the sessions of those who have.

Passwords are kept as argon2id hashes, session tokens as SHA-256: what the database holds opens nothing. Signing in tells an unknown
address from a wrong password neither by its answer nor by its time, and failures are counted across processes per address and per
source, so that guessing is bounded.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import threading
import unicodedata
from datetime import datetime, timedelta
from hashlib import sha256

import argon2
import msgspec
import sqlalchemy

from tokenwell.core.identifiers import check_label
from tokenwell.errors import (
    CredentialsInvalid,
    OrganizationNotFound,
    PersonExists,
    PersonNotFound,
    RequestInvalid,
    SignInThrottled,
    StoreBusy,
)
from tokenwell.service.ports import Clock, new_id, system_clock
from tokenwell.store import people as store
from tokenwell.store.people import Membership, Person, Role, Session
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["Membership", "People", "Person", "Role", "Session", "SignedIn"]

PASSWORD_LEAST_CHARACTERS = 12
PASSWORD_MOST_BYTES = 1024
EMAIL_LIMIT = 254
NAME_LIMIT = 100

FAILURE_WINDOW = timedelta(minutes=15)
"""For how long a failed sign-in counts."""

FAILURES_PER_EMAIL = 10
FAILURES_PER_SOURCE = 50
"""How many failures within the window bar an address, or a source, from trying again."""

SESSION_LIFETIME = timedelta(hours=12)
IDLE_LIMIT = timedelta(hours=2)
TOUCH_INTERVAL = timedelta(minutes=1)
"""How stale the time of a session's last use may be: what a page view may write, at most this often."""

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f\ud800-\udfff]+@[^\s@\x00-\x1f\x7f\ud800-\udfff]+")
_HASHES_AT_ONCE = threading.BoundedSemaphore(2)
"""A hash takes 64 MiB: this many run at once in a process."""


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
        self._engine = engine
        self._clock = clock
        self._session_lifetime = session_lifetime
        self._idle_limit = min(idle_limit, session_lifetime)
        self._hasher = hasher or argon2.PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))

    def create_admin(self, *, email: str, password: str, name: str = "") -> Person:
        """Add a platform administrator. Raises RequestInvalid, or PersonExists if the address is taken."""
        return self._create(email, password, name, is_platform_admin=True)

    def create_person(self, *, email: str, password: str, name: str = "") -> Person:
        """Add a person who belongs to no organization yet. Raises RequestInvalid, or PersonExists if the address is taken."""
        return self._create(email, password, name, is_platform_admin=False)

    def _create(self, email: str, password: str, name: str, *, is_platform_admin: bool) -> Person:
        person = Person(
            id=new_id("per"),
            email=_checked_email(email),
            name=(check_label(name, field="name", limit=NAME_LIMIT) or "").strip(),
            is_platform_admin=is_platform_admin,
            created_at=self._clock(),
        )
        password_hash = self._hash(_checked_password(password))
        try:
            with transaction(self._engine) as connection:
                store.add_person(connection, person, password_hash)
        except sqlalchemy.exc.IntegrityError:
            raise PersonExists(email=person.email) from None
        return person

    def find(self, email: str) -> Person | None:
        """Return the person with this e-mail address, or None."""
        with reading(self._engine) as connection:
            found = store.find_person(connection, _checked_email(email))
        return None if found is None else found[0]

    def set_password(self, person_id: str, password: str) -> None:
        """Replace a password and end every session of the person. Raises RequestInvalid, PersonNotFound."""
        password_hash = self._hash(_checked_password(password))
        with transaction(self._engine) as connection:
            if not store.set_password_hash(connection, person_id, password_hash):
                raise PersonNotFound(person_id=person_id)
            store.remove_sessions_of(connection, person_id)

    def disable(self, person_id: str) -> None:
        """Bar a person from signing in and end every session of theirs. Raises PersonNotFound."""
        with transaction(self._engine) as connection:
            if not store.disable_person(connection, person_id, self._clock()):
                raise PersonNotFound(person_id=person_id)
            store.remove_sessions_of(connection, person_id)

    def add_member(self, organization_id: str, person_id: str, role: Role | str) -> None:
        """Make a person a member of an organization, or change their role. Raises OrganizationNotFound, PersonNotFound."""
        try:
            role = Role(role)
        except ValueError:
            raise RequestInvalid(f"a role is one of {', '.join(Role)}", field="role") from None
        with transaction(self._engine) as connection:
            if not store.has_organization(connection, organization_id):
                raise OrganizationNotFound(organization_id=organization_id)
            if not store.has_person(connection, person_id):
                raise PersonNotFound(person_id=person_id)
            store.put_member(connection, organization_id, person_id, role, self._clock())

    def remove_member(self, organization_id: str, person_id: str) -> bool:
        """End a membership at once; return whether there was one."""
        with transaction(self._engine) as connection:
            return store.remove_member(connection, organization_id, person_id)

    def organizations_of(self, person: Person, *, limit: int = 100) -> tuple[Membership, ...]:
        """Return the organizations a person belongs to, by name."""
        with reading(self._engine) as connection:
            return store.memberships_of(connection, person.id, limit)

    def may_read(self, person: Person, organization_id: str) -> bool:
        """Return whether the person sees an organization: as a member, or as a platform administrator."""
        if person.is_platform_admin:
            return True
        with reading(self._engine) as connection:
            return store.role_in(connection, organization_id, person.id) is not None

    def sign_in(self, email: str, password: str, *, source: str, replaces: str | None = None) -> SignedIn:
        """Open a session with a fresh token, in place of the one that `replaces` names.

        Raises CredentialsInvalid, the same for an unknown address, a wrong password and a disabled person; SignInThrottled when
        the address or the source failed too often.
        """
        now = self._clock()
        address = _normalized(email)
        limits = {_subject("email", address): FAILURES_PER_EMAIL, _subject("source", _network_of(source)): FAILURES_PER_SOURCE}
        subjects = tuple(limits)
        attempt = new_id("try")
        # Counted before it is tried, in a transaction of its own: however many try at once, each sees those before it.
        with transaction(self._engine) as connection:
            store.add_failure(connection, subjects, now, attempt)
        retry_at = self._retry_at(limits, now)
        if retry_at is not None:
            with transaction(self._engine) as connection:
                store.remove_failure(connection, subjects, now, attempt)
            raise SignInThrottled(retry_after_seconds=max(1, int((retry_at - now).total_seconds())))
        person = self._verified(address, password)
        token = secrets.token_urlsafe(32)
        session = Session(
            person=person,
            csrf_token=secrets.token_urlsafe(32),
            created_at=now,
            seen_at=now,
            expires_at=now + self._session_lifetime,
        )
        with transaction(self._engine) as connection:
            store.remove_failure(connection, subjects, now, attempt)
            store.prune_failures(connection, now - FAILURE_WINDOW)
            store.prune_sessions(connection, now, now - self._idle_limit)
            if replaces is not None:
                store.remove_session(connection, _token_hash(replaces))
            store.add_session(connection, _token_hash(token), session)
        return SignedIn(person=person, token=token, csrf_token=session.csrf_token, expires_at=session.expires_at)

    def _retry_at(self, limits: dict[str, int], now: datetime) -> datetime | None:
        """Return when the subjects may try again, None if now. The attempt under way is among those counted."""
        latest: datetime | None = None
        with reading(self._engine) as connection:
            for subject, limit in limits.items():
                failures = store.failures_of(connection, subject, now - FAILURE_WINDOW, limit + 1)
                if len(failures) > limit:
                    free_at = failures[-1] + FAILURE_WINDOW
                    latest = free_at if latest is None else max(latest, free_at)
        return latest

    def _verified(self, address: str, password: str) -> Person:
        with reading(self._engine) as connection:
            found = store.find_person(connection, address) if _EMAIL.fullmatch(address) else None
        person, password_hash = found or (None, self._nobody)
        is_right = self._verify(password_hash, password)
        if person is None or not is_right or person.disabled_at is not None:
            raise CredentialsInvalid("The e-mail address or the password is not right.")
        if self._hasher.check_needs_rehash(password_hash):
            with transaction(self._engine) as connection:
                store.set_password_hash(connection, person.id, self._hash(_encoded(password)))
        return person

    def session(self, token: str) -> Session | None:
        """Return the session of a token, or None if it was ended, expired, lay idle too long, or its person is disabled."""
        now = self._clock()
        token_hash = _token_hash(token)
        with reading(self._engine) as connection:
            session = store.find_session(connection, token_hash)
        if session is None or session.person.disabled_at is not None:
            return None
        if now >= session.expires_at or now - session.seen_at > self._idle_limit:
            return None
        if now - session.seen_at >= TOUCH_INTERVAL:
            try:
                with transaction(self._engine) as connection:
                    store.touch_session(connection, token_hash, now)
            except StoreBusy:
                pass  # who asks still is signed in; the next view writes it
        return session

    def sign_out(self, token: str) -> None:
        """End the session of a token, if there is one."""
        with transaction(self._engine) as connection:
            store.remove_session(connection, _token_hash(token))

    def sign_out_everywhere(self, person_id: str) -> int:
        """End every session of a person; return how many there were."""
        with transaction(self._engine) as connection:
            return store.remove_sessions_of(connection, person_id)

    def _hash(self, password: bytes) -> str:
        with _HASHES_AT_ONCE:
            return self._hasher.hash(password)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            encoded = _encoded(password)
        except RequestInvalid:
            encoded = b""
        with _HASHES_AT_ONCE:
            try:
                return self._hasher.verify(password_hash, encoded)
            except argon2.exceptions.VerifyMismatchError:
                return False


def _normalized(email: str) -> str:
    """Return the form under which an address is kept: NFKC, without case."""
    return unicodedata.normalize("NFKC", email[: EMAIL_LIMIT * 4]).strip().casefold()


def _checked_email(email: str) -> str:
    address = _normalized(email)
    if len(address) > EMAIL_LIMIT or not _EMAIL.fullmatch(address):
        raise RequestInvalid("the e-mail address cannot be read", field="email")
    return address


def _encoded(password: str) -> bytes:
    """Return the bytes that are hashed; raises RequestInvalid past the limit and for what is not text."""
    try:
        encoded = unicodedata.normalize("NFKC", password).encode() if len(password) <= PASSWORD_MOST_BYTES else None
    except UnicodeEncodeError:
        encoded = None
    if encoded is None or len(encoded) > PASSWORD_MOST_BYTES:
        raise RequestInvalid(f"a password has at most {PASSWORD_MOST_BYTES} bytes", field="password")
    return encoded


def _checked_password(password: str) -> bytes:
    encoded = _encoded(password)
    if len(unicodedata.normalize("NFKC", password)) < PASSWORD_LEAST_CHARACTERS:
        raise RequestInvalid(f"a password has at least {PASSWORD_LEAST_CHARACTERS} characters", field="password")
    return encoded


def _token_hash(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()


def _subject(kind: str, text: str) -> str:
    """Return what failures are counted under: hashed, so that no list of addresses that were tried is kept."""
    return f"{kind}:{sha256(text.encode(errors='replace')).hexdigest()[:32]}"


def _network_of(source: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 that one customer is given on IPv6."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
