"""Access: what may be done, by whom, in which organization. The API and the console ask here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import OrganizationNotFound, ScopeMissing
from tokenwell.store.identity.people import Membership, Person, Role

__all__ = ["MEMBER_SCOPES", "Principal", "Role", "Scope", "principal_of"]


class Scope(StrEnum):
    """One thing that may be done. A platform key has those it was given, a person those of their role."""

    ORGANIZATIONS_READ = "organizations:read"
    ORGANIZATIONS_WRITE = "organizations:write"
    PACKS_READ = "packs:read"
    PACKS_WRITE = "packs:write"
    LEDGER_READ = "ledger:read"
    USAGE_WRITE = "usage:write"
    SERVICES_READ = "services:read"
    SERVICES_WRITE = "services:write"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    RATES_READ = "rates:read"
    RATES_WRITE = "rates:write"
    TOPUPS_READ = "topups:read"
    TOPUPS_WRITE = "topups:write"
    TOPUPS_DECIDE = "topups:decide"
    ALERTS_READ = "alerts:read"
    ALERTS_WRITE = "alerts:write"
    DISPUTES_WRITE = "disputes:write"
    AUDIT_READ = "audit:read"
    PLATFORM_WRITE = "platform:write"


_VIEWER = frozenset(
    {
        Scope.ORGANIZATIONS_READ, Scope.PACKS_READ, Scope.LEDGER_READ, Scope.SERVICES_READ, Scope.RATES_READ, Scope.TOPUPS_READ,
        Scope.ALERTS_READ,
    }
)  # fmt: skip

MEMBER_SCOPES = {
    Role.VIEWER: _VIEWER,
    Role.ORGANIZATION_ADMIN: _VIEWER
    | {
        Scope.SERVICES_WRITE, Scope.MEMBERS_READ, Scope.MEMBERS_WRITE, Scope.TOPUPS_WRITE, Scope.ALERTS_WRITE,
        Scope.DISPUTES_WRITE, Scope.AUDIT_READ,
    },
}  # fmt: skip
"""What a member of an organization may do in it. A platform administrator may do everything everywhere."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `platform_scopes` hold in every organization, `organization_scopes` in those named."""

    actor: Actor
    platform_scopes: frozenset[Scope] = frozenset()
    organization_scopes: dict[str, frozenset[Scope]] = {}

    @property
    def is_platform(self) -> bool:
        """Whether every organization is in reach."""
        return bool(self.platform_scopes)

    def may(self, scope: Scope, organization_id: str | None = None) -> bool:
        """Return whether something may be done in an organization; None asks for the whole platform."""
        if scope in self.platform_scopes:
            return True
        return organization_id is not None and scope in self.organization_scopes.get(organization_id, frozenset())

    def require(self, scope: Scope, organization_id: str | None = None) -> None:
        """Return if something may be done. Raises OrganizationNotFound for an organization out of reach, ScopeMissing otherwise."""
        if self.may(scope, organization_id):
            return
        if organization_id is not None and not self.is_platform and organization_id not in self.organization_scopes:
            raise OrganizationNotFound(organization_id=organization_id)
        raise ScopeMissing(scope=scope.value)


def principal_of(person: Person, memberships: Iterable[Membership], *, source: str = "") -> Principal:
    """Return what a person who is signed in may do, by the organizations they belong to; `source` is where they ask from."""
    return Principal(
        actor=Actor(kind=ActorKind.PERSON, id=person.id, name=person.name or person.email, source=source),
        platform_scopes=frozenset(Scope) if person.is_platform_admin else frozenset(),
        organization_scopes={each.organization_id: MEMBER_SCOPES[each.role] for each in memberships},
    )
