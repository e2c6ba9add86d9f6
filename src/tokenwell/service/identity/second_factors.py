"""Second factors: codes of an authenticator app (TOTP, RFC 6238) and ten recovery codes, each good for one sign-in.

The secret is kept sealed, recovery codes as hashes. A code is taken once: the step it belongs to is noted, and neither it nor an
earlier one is taken again. Attempts are counted as those of passwords are.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime
from hashlib import sha256

import msgspec
import pyotp
import segno
import sqlalchemy

from tokenwell.core.happenings import Actor
from tokenwell.errors import CredentialsInvalid, LinkInvalid, RequestInvalid
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.identity.credentials import token_hash
from tokenwell.service.identity.people import FAILURES_PER_SOURCE, People, Person, SignedIn
from tokenwell.service.identity.throttling import source_subject, subject_of
from tokenwell.store.identity import links as links_store
from tokenwell.store.identity import people as people_store
from tokenwell.store.identity import second_factors as store
from tokenwell.store.identity.links import LinkKind
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

ISSUER = "Tokenwell"
STEP_SECONDS = 30
STEPS_APART = 1
"""How many steps the clock of a phone may be away from ours."""

RECOVERY_CODES = 10
FAILURES_PER_PERSON = 10
"""How many wrong codes within the window bar a person's second step."""

_PURPOSE = "second-factor"
_ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """A second factor that is offered. `secret` is typed or scanned into an app; `sealed` comes back with the first code."""

    secret: str
    sealed: str
    qr_svg: str


class SecondFactors:
    """The second factors in one database. Its methods block."""

    def __init__(self, people: People, sealer: Sealer) -> None:
        self._engine = people.engine
        self._clock = people.clock
        self._sealer = sealer
        self._people = people

    def codes_left(self, person_id: str) -> int | None:
        """Return how many recovery codes a person has left, None for somebody without a second factor."""
        with reading(self._engine) as connection:
            return store.codes_left(connection, person_id) if store.has_factor(connection, person_id) else None

    def begin(self, person: Person, sealed: str = "") -> Enrolment:
        """Offer a second factor; with what an earlier offer was `sealed` in, the same one. Nothing is kept yet."""
        secret = self._opened(person, sealed) if sealed else pyotp.random_base32()
        address = pyotp.TOTP(secret).provisioning_uri(name=person.email, issuer_name=ISSUER)
        svg = segno.make(address, error="m").svg_inline(omitsize=True, svgclass="qr", lineclass=None, border=2)
        return Enrolment(secret=secret, sealed=sealed or self._sealed(person, secret), qr_svg=svg)

    def confirm(self, person: Person, sealed: str, code: str, *, by: Actor) -> tuple[str, ...]:
        """Keep a second factor whose first code is right; return its recovery codes, told only here.

        Raises RequestInvalid for a wrong code or an offer that is not this person's.
        """
        secret = self._opened(person, sealed)
        now = self._clock()
        step = _step_of(secret, code, now)
        if step is None:
            raise RequestInvalid("the code is not right", field="code")
        codes = tuple(_fresh_code() for _ in range(RECOVERY_CODES))
        kept = self._sealer.seal(secret, purpose=f"{_PURPOSE}:{person.id}")
        with transaction(self._engine) as connection:
            store.put_factor(connection, person.id, kept, step, [_code_hash(person.id, code) for code in codes], now)
            self._people.record(connection, "person.second_factor", person.id, by, after={"second_factor": True})
        return codes

    def remove(self, person: Person, password: str, *, source: str, by: Actor) -> None:
        """Remove a second factor, with the person's password. Raises CredentialsInvalid, SignInThrottled."""
        self._people.check_password(person, password, source=source)
        self.clear(person.id, by=by)

    def clear(self, person_id: str, *, by: Actor) -> None:
        """Remove a second factor as an administrator: its owner has lost it."""
        with transaction(self._engine) as connection:
            if store.remove_factor(connection, person_id):
                self._people.record(connection, "person.second_factor", person_id, by, after={"second_factor": False})

    def sign_in(self, step_token: str, code: str, *, source: str, agent: str = "", replaces: str | None = None) -> SignedIn:
        """Open the session of somebody whose password was right, with a code of the app or a recovery code.

        Raises CredentialsInvalid for a wrong code, SignInThrottled, LinkInvalid where the first step is too long ago.
        """
        now = self._clock()
        with reading(self._engine) as connection:
            link = links_store.find_link(connection, LinkKind.SECOND_STEP, token_hash(step_token))
            person = None if link is None or link.person_id is None else people_store.get_person(connection, link.person_id)
            sealed = None if person is None else store.sealed_secret(connection, person.id)
        if link is None or person is None or person.disabled_at is not None or link.used_at is not None or now >= link.expires_at:
            raise LinkInvalid("Please sign in again.")
        limits = {subject_of("code", person.id): FAILURES_PER_PERSON, source_subject(source): FAILURES_PER_SOURCE}
        attempt = self._people.throttle.attempt(limits)
        with transaction(self._engine) as connection:
            if not self._takes(connection, person, sealed, code, now):
                raise CredentialsInvalid("The code is not right, or it was used before.", field="code")
            if not links_store.use_link(connection, link, now):
                raise LinkInvalid("Please sign in again.")
            attempt.forgive(connection)
            return self._people.open_session(connection, person, source=source, agent=agent, replaces=replaces)

    def _takes(self, connection: sqlalchemy.Connection, person: Person, sealed: bytes | None, code: str, now: datetime) -> bool:
        if sealed is None:
            return False
        secret = self._sealer.open(sealed, purpose=f"{_PURPOSE}:{person.id}")
        step = _step_of(secret, code, now)
        if step is not None:
            return store.take_step(connection, person.id, step)
        return store.take_code(connection, person.id, _code_hash(person.id, code))

    def _sealed(self, person: Person, secret: str) -> str:
        return self._sealer.seal(secret, purpose=f"{_PURPOSE}-offer:{person.id}").decode()

    def _opened(self, person: Person, sealed: str) -> str:
        try:
            return self._sealer.open(sealed.encode(errors="replace"), purpose=f"{_PURPOSE}-offer:{person.id}")
        except Exception as error:
            raise RequestInvalid("this offer of a second factor cannot be read; begin again", field="code") from error


def _step_of(secret: str, code: str, now: datetime) -> int | None:
    """Return the step a code belongs to, None if it is not right now."""
    typed = code.replace(" ", "")
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    present = totp.timecode(now)
    for step in range(present - STEPS_APART, present + STEPS_APART + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), typed.encode(errors="replace")):
            return step
    return None


def _fresh_code() -> str:
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(15))
    return "-".join(letters[start : start + 5] for start in range(0, 15, 5))


def _code_hash(person_id: str, code: str) -> bytes:
    """Return what of a recovery code (74 random bits) is kept; typed with or without its dashes, in any case."""
    plain = "".join(letter for letter in code.casefold() if letter.isalnum())
    return sha256(f"{person_id}\x00{plain}".encode(errors="replace")).digest()
