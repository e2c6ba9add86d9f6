"""Single sign-on: people come in by their organization's own provider, and get there what its groups give them.

Somebody is known by the provider's name for them. Who is not known yet is linked to a person only by an e-mail address that the
provider says it verified; else they are made. Organizations and roles that the mapping of groups names follow the provider at
each sign-in; all others stay as they are.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from typing import Any

import msgspec
import sqlalchemy

from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import RequestInvalid, SealBroken, SignOnFailed
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.identity.credentials import NOBODYS_HASH, is_email, normalized_email
from tokenwell.service.identity.people import People, Person, Role, SignedIn
from tokenwell.service.identity.provider import Provider, parse_roles
from tokenwell.store.identity import identities as store
from tokenwell.store.identity import members as members_store
from tokenwell.store.identity import people as people_store
from tokenwell.store.writer import transaction

LIFETIME = timedelta(minutes=10)
"""How long somebody may take at the provider."""

PLATFORM_ADMIN = "platform_admin"
_PURPOSE = "sign-on"


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-on under way: where the browser goes, and what it brings back in a cookie, sealed."""

    address: str
    sealed: str


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    nonce: str
    verifier: str
    next_path: str
    redirect_uri: str
    until: str


class SingleSignOn:
    """Signing in by a provider. Its methods block."""

    def __init__(self, people: People, sealer: Sealer, provider: Provider, *, name: str, groups_claim: str, roles: str) -> None:
        self.name = name
        self._people = people
        self._sealer = sealer
        self._provider = provider
        self._groups_claim = groups_claim
        self._roles = parse_roles(roles)

    def begin(self, *, redirect_uri: str, next_path: str) -> Begun:
        """Return where to sign in. Raises SignOnFailed where the provider cannot be asked."""
        kept = _Kept(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(64),
            next_path=next_path,
            redirect_uri=redirect_uri,
            until=(self._people.clock() + LIFETIME).isoformat(),
        )
        address = self._provider.authorization_address(
            redirect_uri=redirect_uri, state=kept.state, nonce=kept.nonce, verifier=kept.verifier
        )
        return Begun(address=address, sealed=self._sealer.seal(msgspec.json.encode(kept).decode(), purpose=_PURPOSE).decode())

    def finish(
        self, sealed: str, *, code: str, state: str, issuer: str | None, source: str, agent: str, replaces: str | None = None
    ) -> tuple[SignedIn, str]:
        """Open the session of who came back from the provider; returns where they wanted to go, too. Raises SignOnFailed."""
        kept = self._opened(sealed)
        if not code or not hmac.compare_digest(state.encode(), kept.state.encode()) or issuer not in (None, self._provider.issuer):
            raise SignOnFailed("this answer was not asked for")
        claims = self._provider.claims_for(code, redirect_uri=kept.redirect_uri, nonce=kept.nonce, verifier=kept.verifier)
        try:
            with transaction(self._people.engine) as connection:
                person = self._person(connection, claims, source)
                if person.disabled_at is not None:
                    raise SignOnFailed("this person is barred from signing in")
                self._follow_groups(connection, person, claims, source)
                signed_in = self._people.open_session(connection, person, source=source, agent=agent, replaces=replaces)
        except (sqlalchemy.exc.IntegrityError, RequestInvalid):
            raise SignOnFailed("the provider's account cannot be used here") from None
        return signed_in, kept.next_path

    def _opened(self, sealed: str) -> _Kept:
        try:
            text = self._sealer.open(sealed.encode(errors="replace"), purpose=_PURPOSE)
        except SealBroken:
            raise SignOnFailed("this answer was not asked for") from None
        kept = msgspec.json.decode(text, type=_Kept)
        if self._people.clock().isoformat() >= kept.until:
            raise SignOnFailed("that took too long; begin again")
        return kept

    def _person(self, connection: sqlalchemy.Connection, claims: dict[str, Any], source: str) -> Person:
        subject, issuer = str(claims.get("sub", "")), self._provider.issuer
        if not 1 <= len(subject) <= 255:
            raise SignOnFailed("the provider does not say who this is")
        known = store.person_of(connection, issuer, subject)
        if known is not None:
            return known
        email = normalized_email(str(claims.get("email", "")))
        if not is_email(email) or claims.get("email_verified") is not True:
            raise SignOnFailed("the provider did not verify an e-mail address")
        found = people_store.find_person(connection, email)
        if found is not None:
            person = found[0]
        else:
            person = self._people.new_person(email=email, name=_name_in(claims))
            self._people.add(connection, person, NOBODYS_HASH, _actor(person, source))
        store.link(connection, issuer, subject, person.id, self._people.clock())
        self._people.record(connection, "person.sign_on_linked", person.id, _actor(person, source), after={"issuer": issuer})
        return person

    def _follow_groups(self, connection: sqlalchemy.Connection, person: Person, claims: dict[str, Any], source: str) -> None:
        actor = _actor(person, source)
        given: dict[str, str] = {}
        for group in _groups_in(claims.get(self._groups_claim)):
            for organization_id, role in self._roles.get(group, ()):
                if given.get(organization_id) != Role.ORGANIZATION_ADMIN:
                    given[organization_id] = role
        for organization_id in {pair[0] for pairs in self._roles.values() for pair in pairs}:
            if not organization_id:
                self._follow_platform(connection, person, actor, is_admin=organization_id in given)
            elif organization_id in given and people_store.has_organization(connection, organization_id):
                self._people.put_member(connection, organization_id, person.id, Role(given[organization_id]), actor)
            elif organization_id not in given and people_store.remove_member(connection, organization_id, person.id):
                self._people.record(connection, "member.remove", person.id, actor, organization_id=organization_id)

    def _follow_platform(self, connection: sqlalchemy.Connection, person: Person, actor: Actor, *, is_admin: bool) -> None:
        if person.is_platform_admin is is_admin:
            return
        if not is_admin and members_store.lock_platform_administrators(connection) == [person.id]:
            return  # the platform keeps its last administrator
        members_store.set_platform_admin(connection, person.id, is_admin=is_admin)
        after = {"is_platform_admin": is_admin}
        self._people.record(connection, "person.platform_admin", person.id, actor, after=after)


def _actor(person: Person, source: str) -> Actor:
    return Actor(kind=ActorKind.PERSON, id=person.id, name=person.name or person.email, source=source)


def _name_in(claims: dict[str, Any]) -> str:
    name = str(claims.get("name") or "")[:100]
    return "".join(letter for letter in name if letter.isprintable())


def _groups_in(told: Any) -> list[str]:
    if isinstance(told, str):
        return told.split()
    return [group for group in told if isinstance(group, str)] if isinstance(told, list) else []
