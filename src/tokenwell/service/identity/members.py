"""Members: who belongs to an organization and in what role, and who administers the platform.

An organization that has administrators keeps one, and so does the platform: the last cannot be removed or given a lesser role.
"""

from __future__ import annotations

import sqlalchemy

from tokenwell.core.happenings import SYSTEM, Actor
from tokenwell.core.identifiers import check_label, check_organization_id
from tokenwell.errors import LastAdministrator, PersonNotFound, RequestInvalid
from tokenwell.service.identity.people import People, Person, Role
from tokenwell.service.pages import check_limit
from tokenwell.service.ports import Page
from tokenwell.store.identity import members as store
from tokenwell.store.identity import people as people_store
from tokenwell.store.identity.members import Account, Member
from tokenwell.store.reader import organization, reading
from tokenwell.store.writer import transaction

__all__ = ["Account", "Member", "Members"]


class Members:
    """The memberships in one database. Its methods block."""

    def __init__(self, people: People) -> None:
        self._engine = people.engine
        self._clock = people.clock
        self._people = people

    def list(self, organization_id: str, *, cursor: str | None = None, limit: int = 50) -> Page[Member]:
        """Return an organization's members, those who joined Tokenwell first. Raises OrganizationNotFound."""
        _check_page(cursor, limit)
        with reading(self._engine, organization_id) as connection:
            organization(connection, organization_id)
            found = store.members_of(connection, organization_id, cursor, limit + 1)
        items = tuple(found[:limit])
        return Page(items, items[-1].person.id if len(found) > limit else None)

    def get(self, organization_id: str, person_id: str) -> Member:
        """Return a member. Raises PersonNotFound."""
        with reading(self._engine, organization_id) as connection:
            return _found(connection, organization_id, person_id)

    def set_role(self, organization_id: str, person_id: str, role: Role | str, *, by: Actor = SYSTEM) -> Member:
        """Give a member another role. Raises PersonNotFound, RequestInvalid, LastAdministrator."""
        try:
            role = Role(role)
        except ValueError:
            raise RequestInvalid(f"a role is one of {', '.join(Role)}", field="role") from None
        with transaction(self._engine, organization_id) as connection:
            administrators = store.lock_administrators(connection, organization_id)
            _found(connection, organization_id, person_id)
            if role is not Role.ORGANIZATION_ADMIN and administrators == [person_id]:
                raise LastAdministrator
            self._people.put_member(connection, organization_id, person_id, role, by)
            return _found(connection, organization_id, person_id)

    def remove(self, organization_id: str, person_id: str, *, by: Actor = SYSTEM) -> None:
        """End a membership at once. Raises PersonNotFound, LastAdministrator."""
        with transaction(self._engine, organization_id) as connection:
            administrators = store.lock_administrators(connection, organization_id)
            member = _found(connection, organization_id, person_id)
            if administrators == [person_id]:
                raise LastAdministrator
            people_store.remove_member(connection, organization_id, person_id)
            before = {"role": member.role, "email": member.person.email}
            self._people.record(connection, "member.remove", person_id, by, organization_id=organization_id, before=before)

    def accounts(self, *, search: str = "", cursor: str | None = None, limit: int = 50) -> Page[Account]:
        """Return everybody who can sign in, or could, those whose name or address holds `search`."""
        _check_page(cursor, limit)
        check_label(search, field="search")
        with reading(self._engine) as connection:
            found = store.accounts(connection, search.strip().casefold(), cursor, limit + 1)
        items = tuple(found[:limit])
        return Page(items, items[-1].person.id if len(found) > limit else None)

    def set_platform_admin(self, person_id: str, *, is_admin: bool, by: Actor = SYSTEM) -> Person:
        """Make a person an administrator of the platform, or no longer. Raises PersonNotFound, LastAdministrator."""
        with transaction(self._engine) as connection:
            administrators = store.lock_platform_administrators(connection)
            person = _person(connection, person_id)
            if not is_admin and administrators == [person_id]:
                raise LastAdministrator
            if person.is_platform_admin is not is_admin:
                store.set_platform_admin(connection, person_id, is_admin=is_admin)
                was, became = {"is_platform_admin": not is_admin}, {"is_platform_admin": is_admin}
                self._people.record(connection, "person.platform_admin", person_id, by, before=was, after=became)
            return _person(connection, person_id)

    def set_enabled(self, person_id: str, *, is_enabled: bool, by: Actor = SYSTEM) -> Person:
        """Bar a person from signing in, or let them again. Raises PersonNotFound, LastAdministrator."""
        with transaction(self._engine) as connection:
            administrators = store.lock_platform_administrators(connection)
            person = _person(connection, person_id)
            if not is_enabled and administrators == [person_id]:
                raise LastAdministrator
            if (person.disabled_at is None) is not is_enabled:
                if is_enabled:
                    store.set_enabled(connection, person_id)
                else:
                    people_store.disable_person(connection, person_id, self._clock())
                    people_store.remove_sessions_of(connection, person_id)
                self._people.record(connection, "person.enable" if is_enabled else "person.disable", person_id, by)
            return _person(connection, person_id)


def _check_page(cursor: str | None, limit: int) -> None:
    check_limit(limit)
    check_label(cursor, field="cursor")


def _found(connection: sqlalchemy.Connection, organization_id: str, person_id: str) -> Member:
    check_organization_id(organization_id)
    check_label(person_id, field="person_id")
    member = store.find_member(connection, organization_id, person_id)
    if member is None:
        raise PersonNotFound("the organization has no such member", person_id=person_id)
    return member


def _person(connection: sqlalchemy.Connection, person_id: str) -> Person:
    check_label(person_id, field="person_id")
    person = people_store.get_person(connection, person_id)
    if person is None:
        raise PersonNotFound(person_id=person_id)
    return person
