"""Invitations: how somebody becomes a member of an organization, or an administrator of the platform.

An invitation is a link that opens once, within seven days; the database holds only its hash. Accepting one with an address that is
known already takes that person's password, so that an invitation never opens an account that is somebody's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta

import msgspec
import sqlalchemy

from tokenwell.core.happenings import PLATFORM, SYSTEM, Actor, ActorKind
from tokenwell.core.identifiers import check_key, check_label
from tokenwell.core.letters import Letter, LetterKind
from tokenwell.errors import LinkInvalid, NotFound, PersonExists, RequestInvalid
from tokenwell.service import acts
from tokenwell.service.identity.credentials import checked_email, token_hash
from tokenwell.service.identity.people import People, Person, Role
from tokenwell.service.notices.post import Mailer
from tokenwell.service.pages import check_limit
from tokenwell.service.ports import Page, new_id
from tokenwell.store import reader
from tokenwell.store.access import creations
from tokenwell.store.identity import links as store
from tokenwell.store.identity import members as members_store
from tokenwell.store.identity import people as people_store
from tokenwell.store.identity.links import Link, LinkKind
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

LIFETIME = timedelta(days=7)
PLATFORM_ADMIN = "platform_admin"
"""The role of an invitation to administer the platform."""


Address = Callable[[str], str]
"""Gives the address of the page that a token opens."""


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was asked in and has not come yet."""

    id: str
    organization_id: str
    email: str
    role: str
    link: Link
    organization_name: str = ""


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation that was made. `address` is where it opens, told only here; empty where a letter was sent instead."""

    invitation: Invitation
    address: str
    is_sent: bool
    replayed: bool = False


class Invitations:
    """The invitations in one database. Its methods block."""

    def __init__(self, people: People, mailer: Mailer) -> None:
        self._engine = people.engine
        self._clock = people.clock
        self._people = people
        self._mailer = mailer

    def invite(
        self,
        organization_id: str | None,
        *,
        email: str,
        role: str,
        address_of: Address,
        language: str = "en",
        key: str | None = None,
        by: Actor = SYSTEM,
    ) -> Invited:
        """Invite somebody to an organization, or (None) to administer the platform.

        The link is sent to them; where no mail can be sent it is returned, for who invited to pass on. Raises RequestInvalid,
        OrganizationNotFound, PersonExists for somebody who has the role already.
        """
        now, token = self._clock(), secrets.token_urlsafe(32)
        home = PLATFORM if organization_id is None else organization_id
        link = Link(
            id=new_id("inv"),
            kind=LinkKind.INVITATION,
            organization_id=home,
            email=checked_email(email),
            role=_checked_role(role, home),
            created_by=by.name,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        told = {"what": "invitation", "email": link.email, "role": link.role}
        with transaction(self._engine) as connection:
            name = _organization_name(connection, home)
            first = None if key is None else creations.claim(connection, home, check_key(key), link.id, told, now)
            if first is not None:
                known = store.find_open(connection, home, first, now)
                return Invited(invitation=_invitation(known or link, name), address="", is_sent=False, replayed=True)
            _refuse_member(connection, link)
            store.add_link(connection, link, token_hash(token))
            self._record(connection, "member.invite", link, by, after={"email": link.email, "role": link.role})
            return self._sent(connection, _invitation(link, name), address_of(token), language, by)

    def resend(
        self,
        organization_id: str | None,
        invitation_id: str,
        *,
        address_of: Address,
        language: str = "en",
        key: str | None = None,
        by: Actor = SYSTEM,
    ) -> Invited:
        """Send an invitation again, with a new link that opens for as long as the first did; the old one opens no more.

        Again with the same key sends nothing. Raises NotFound for one that was accepted, closed or has expired.
        """
        now, token = self._clock(), secrets.token_urlsafe(32)
        home = PLATFORM if organization_id is None else organization_id
        check_label(invitation_id, field="invitation_id")
        told = {"what": "invitation again", "invitation_id": invitation_id}
        with transaction(self._engine) as connection:
            name = _organization_name(connection, home)
            first = None if key is None else creations.claim(connection, home, check_key(key), invitation_id, told, now)
            link = store.find_open(connection, home, invitation_id, now)
            if link is None or link.kind is not LinkKind.INVITATION:
                raise NotFound("there is no such invitation", invitation_id=invitation_id)
            if first is not None:
                return Invited(invitation=_invitation(link, name), address="", is_sent=False, replayed=True)
            link = msgspec.structs.replace(link, expires_at=now + LIFETIME)
            if not store.renew_link(connection, link, token_hash(token)):
                raise NotFound("there is no such invitation", invitation_id=invitation_id)
            self._record(connection, "member.invite_again", link, by, after={"email": link.email, "role": link.role})
            return self._sent(connection, _invitation(link, name), address_of(token), language, by)

    def _sent(self, connection: sqlalchemy.Connection, invitation: Invitation, address: str, language: str, by: Actor) -> Invited:
        """Queue the letter of an invitation, where letters can be sent."""
        letter = Letter(
            kind=LetterKind.INVITATION,
            to=invitation.email,
            language=language,
            link=address,
            facts={"organization": invitation.organization_name, "inviter": by.name, "hours": str(LIFETIME // timedelta(hours=1))},
        )
        self._mailer.post(connection, letter)
        is_sent = self._mailer.is_ready
        return Invited(invitation=invitation, address="" if is_sent else address, is_sent=is_sent)

    def list(self, organization_id: str | None, *, cursor: str | None = None, limit: int = 50) -> Page[Invitation]:
        """Return the invitations that still open, newest first: of an organization, or (None) of the platform."""
        check_limit(limit)
        check_label(cursor, field="cursor")
        home = PLATFORM if organization_id is None else organization_id
        with reading(self._engine, home or None) as connection:
            name = _organization_name(connection, home)
            found = store.open_links(connection, home, LinkKind.INVITATION, self._clock(), cursor, limit + 1)
        items = tuple(_invitation(link, name) for link in found[:limit])
        return Page(items, items[-1].id if len(found) > limit else None)

    def get(self, organization_id: str | None, invitation_id: str) -> Invitation:
        """Return an invitation that still opens: of an organization, or (None) of the platform. Raises NotFound."""
        home = PLATFORM if organization_id is None else organization_id
        check_label(invitation_id, field="invitation_id")
        with reading(self._engine, home or None) as connection:
            link = store.find_open(connection, home, invitation_id, self._clock())
            if link is None or link.kind is not LinkKind.INVITATION:
                raise NotFound("there is no such invitation", invitation_id=invitation_id)
            return _invitation(link, _organization_name(connection, home))

    def cancel(self, organization_id: str | None, invitation_id: str, *, by: Actor = SYSTEM) -> None:
        """Close an invitation; nobody can accept it any more. Raises NotFound."""
        home = PLATFORM if organization_id is None else organization_id
        check_label(invitation_id, field="invitation_id")
        with transaction(self._engine, home or None) as connection:
            link = store.find_open(connection, home, invitation_id, self._clock())
            if link is None or link.kind is not LinkKind.INVITATION or not store.use_link(connection, link, self._clock()):
                raise NotFound("there is no such invitation", invitation_id=invitation_id)
            self._record(connection, "member.invite_cancel", link, by, before={"email": link.email, "role": link.role})

    def find(self, token: str) -> tuple[Invitation, bool]:
        """Return what a token invites to, and whether the address is that of somebody known. Raises LinkInvalid."""
        with reading(self._engine) as connection:
            link = self._open(store.find_link(connection, LinkKind.INVITATION, token_hash(token)))
            is_known = people_store.find_person(connection, link.email or "") is not None
            return _invitation(link, _organization_name(connection, link.organization_id)), is_known

    def accept(self, token: str, *, password: str, name: str = "", source: str) -> Person:
        """Accept an invitation: as a new person with this name and password, or as the person of the address with theirs.

        Raises LinkInvalid for one that was used or expired, RequestInvalid, CredentialsInvalid and SignInThrottled where the
        address is known and the password is not theirs.
        """
        with reading(self._engine) as connection:
            link = self._open(store.find_link(connection, LinkKind.INVITATION, token_hash(token)))
            known = people_store.find_person(connection, link.email or "")
        password_hash = ""
        if known is not None:
            person = known[0]
            if person.disabled_at is not None:
                raise LinkInvalid
            self._people.check_password(person, password, source=source)
        else:
            is_admin = link.role == PLATFORM_ADMIN
            person = self._people.new_person(email=link.email or "", name=name, is_platform_admin=is_admin)
            password_hash = self._people.passwords.hash(password)
        actor = Actor(kind=ActorKind.PERSON, id=person.id, name=person.name or person.email, source=source)
        try:
            with transaction(self._engine) as connection:
                if not store.use_link(connection, link, self._clock()):
                    raise LinkInvalid
                if known is None:
                    self._people.add(connection, person, password_hash, actor)
                self._join(connection, link, person, actor)
        except sqlalchemy.exc.IntegrityError:
            raise PersonExists(email=person.email) from None  # made at the same moment; the link still opens
        return person

    def _join(self, connection: sqlalchemy.Connection, link: Link, person: Person, actor: Actor) -> None:
        if link.role == PLATFORM_ADMIN:
            if not person.is_platform_admin:
                members_store.set_platform_admin(connection, person.id, is_admin=True)
                self._people.record(connection, "person.platform_admin", person.id, actor, after={"is_platform_admin": True})
            return
        self._people.put_member(connection, link.organization_id, person.id, Role(link.role or ""), actor)

    def _open(self, link: Link | None) -> Link:
        if link is None or link.used_at is not None or self._clock() >= link.expires_at:
            raise LinkInvalid
        return link

    def _record(self, connection: sqlalchemy.Connection, action: str, link: Link, by: Actor, **what: object) -> None:
        at, home = self._clock(), link.organization_id
        acts.record(connection, by=by, at=at, organization_id=home, action=action, subject=link.id, **what)


def _invitation(link: Link, organization_name: str) -> Invitation:
    return Invitation(
        id=link.id,
        organization_id=link.organization_id,
        email=link.email or "",
        role=link.role or "",
        link=link,
        organization_name=organization_name,
    )


def _organization_name(connection: sqlalchemy.Connection, home: str) -> str:
    """Return what an organization is called, nothing for the platform. Raises OrganizationNotFound."""
    return "" if home == PLATFORM else reader.organization(connection, home)[1]


def _checked_role(role: str, home: str) -> str:
    allowed = (PLATFORM_ADMIN,) if home == PLATFORM else tuple(each.value for each in Role)
    if role not in allowed:
        raise RequestInvalid(f"a role is one of {', '.join(allowed)}", field="role")
    return role


def _refuse_member(connection: sqlalchemy.Connection, link: Link) -> None:
    """Raise PersonExists if who is invited has the role already."""
    found = people_store.find_person(connection, link.email or "")
    if found is None:
        return
    person = found[0]
    if link.role == PLATFORM_ADMIN:
        has_it = person.is_platform_admin
    else:
        has_it = people_store.role_in(connection, link.organization_id, person.id) is not None
    if has_it:
        raise PersonExists("This person is a member already.", email=person.email, field="email")
