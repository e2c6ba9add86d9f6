"""Access: what each role may do, and how what may not be done is refused."""

from __future__ import annotations

import pytest

from tokenwell.core.happenings import SYSTEM
from tokenwell.errors import OrganizationNotFound, ScopeMissing
from tokenwell.service.access.scopes import MEMBER_SCOPES, Principal, Role, Scope

VIEWER = Principal(actor=SYSTEM, organization_scopes={"acme": MEMBER_SCOPES[Role.VIEWER]})
PLATFORM = Principal(actor=SYSTEM, platform_scopes=frozenset(Scope))


def test_a_viewer_reads_and_changes_nothing() -> None:
    assert VIEWER.may(Scope.LEDGER_READ, "acme")
    assert not [scope for scope in MEMBER_SCOPES[Role.VIEWER] if not scope.endswith(":read")]


def test_an_administrator_of_an_organization_never_gives_tokens() -> None:
    assert not MEMBER_SCOPES[Role.ORGANIZATION_ADMIN] & {Scope.PACKS_WRITE, Scope.USAGE_WRITE, Scope.TOPUPS_DECIDE}


def test_what_is_out_of_reach_is_not_there() -> None:
    with pytest.raises(OrganizationNotFound):
        VIEWER.require(Scope.LEDGER_READ, "beta")


def test_what_the_role_does_not_allow_is_refused_as_such() -> None:
    with pytest.raises(ScopeMissing) as refusal:
        VIEWER.require(Scope.PACKS_WRITE, "acme")
    assert refusal.value.details == {"scope": "packs:write"}
    with pytest.raises(ScopeMissing):
        VIEWER.require(Scope.PLATFORM_WRITE)


def test_the_platform_reaches_every_organization() -> None:
    PLATFORM.require(Scope.PACKS_WRITE, "acme")
    PLATFORM.require(Scope.PLATFORM_WRITE)


def test_a_platform_key_does_what_it_was_given_and_sees_what_it_may_not_change() -> None:
    reader = Principal(actor=SYSTEM, platform_scopes=frozenset({Scope.LEDGER_READ}))
    reader.require(Scope.LEDGER_READ, "beta")
    with pytest.raises(ScopeMissing):
        reader.require(Scope.PACKS_WRITE, "beta")
