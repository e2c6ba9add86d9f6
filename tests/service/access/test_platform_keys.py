"""Platform keys: hashed, with the scopes they were given, in every organization or in one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.core.happenings import ActorKind
from tokenwell.errors import (
    CredentialsInvalid,
    IdempotencyConflict,
    KeyNotFound,
    KeyRevoked,
    OrganizationNotFound,
    RequestInvalid,
    ScopeMissing,
)
from tokenwell.service.access.platform_keys import PlatformKeys
from tokenwell.service.access.scopes import Scope
from tokenwell.service.meter import Meter


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with an organization."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        opened.create_organization("acme")
        yield opened


@pytest.fixture
def keys(meter: Meter) -> Iterator[PlatformKeys]:
    """The platform keys."""
    opened = PlatformKeys(meter.engine, meter.clock)
    yield opened
    opened.close()


def test_a_key_reaches_every_organization_with_its_scopes_alone(keys: PlatformKeys) -> None:
    created = keys.create(name="Billing", scopes=["packs:write", Scope.LEDGER_READ])
    assert created.secret.startswith("tw_plat_")
    principal = keys.authenticate(created.secret, source="192.0.2.7")
    assert (principal.actor.kind, principal.actor.id, principal.actor.source) == (
        ActorKind.PLATFORM_KEY, created.key.id, "192.0.2.7",
    )  # fmt: skip
    principal.require(Scope.PACKS_WRITE, "acme")
    with pytest.raises(ScopeMissing):
        principal.require(Scope.USAGE_WRITE, "acme")


def test_a_key_of_one_organization_does_not_see_another(keys: PlatformKeys) -> None:
    created = keys.create(name="Acme's backend", scopes=["usage:write"], organization_id="acme")
    principal = keys.authenticate(created.secret)
    principal.require(Scope.USAGE_WRITE, "acme")
    with pytest.raises(OrganizationNotFound):
        principal.require(Scope.USAGE_WRITE, "other")
    with pytest.raises(OrganizationNotFound):
        keys.create(name="x", scopes=["usage:write"], organization_id="nobody")


def test_the_database_holds_no_secret(meter: Meter, keys: PlatformKeys) -> None:
    created = keys.create(name="Billing", scopes=["packs:write"])
    with meter.engine.connect() as connection:
        for table in ("platform_key", "act", "creation"):
            assert created.secret[14:] not in str(connection.execute(sqlalchemy.text(f"SELECT * FROM {table}")).all())


def test_a_gateway_key_is_no_platform_key(keys: PlatformKeys) -> None:
    for secret in ("", "tw_live_" + "a" * 40, "tw_plat_" + "a" * 40):
        with pytest.raises(CredentialsInvalid):
            keys.authenticate(secret)


def test_keys_end_by_revocation_and_by_expiry(keys: PlatformKeys, clock: FrozenClock) -> None:
    revoked = keys.create(name="one", scopes=["packs:write"])
    expiring = keys.create(name="two", scopes=["packs:write"], expires_at=clock() + timedelta(minutes=1))
    keys.authenticate(revoked.secret)
    first = keys.revoke(revoked.key.id)
    clock.advance(timedelta(seconds=1))
    assert keys.revoke(revoked.key.id).revoked_at == first.revoked_at  # its last use is noted meanwhile, in the background
    with pytest.raises(KeyRevoked):
        keys.authenticate(revoked.secret)
    keys.authenticate(expiring.secret)
    clock.advance(timedelta(minutes=1))
    with pytest.raises(CredentialsInvalid):
        keys.authenticate(expiring.secret)
    with pytest.raises(KeyNotFound):
        keys.revoke("pkey_nonsense")


def test_creating_is_idempotent_and_told_once(meter: Meter, keys: PlatformKeys) -> None:
    created = keys.create(name="one", scopes=["packs:write"], key="once")
    again = keys.create(name="one", scopes=["packs:write"], key="once")
    assert (again.key, again.secret, again.replayed) == (created.key, "", True)
    with pytest.raises(IdempotencyConflict) as conflict:
        keys.create(name="one", scopes=["packs:read"], key="once")
    assert conflict.value.details == {"field": "scopes"}
    assert keys.list().items == (created.key,)
    with meter.engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT action FROM act")).scalars().all() == ["platform_key.create"]


@pytest.mark.parametrize("fields", [{"name": " "}, {"scopes": []}, {"scopes": ["fly"]}, {"name": "x" * 101}])
def test_a_key_that_cannot_be_is_refused(keys: PlatformKeys, fields: dict[str, object]) -> None:
    with pytest.raises(RequestInvalid):
        keys.create(**({"name": "one", "scopes": ["packs:read"]} | fields))  # type: ignore[arg-type]
    assert keys.list().items == ()


def test_keys_are_listed_newest_first_page_by_page(keys: PlatformKeys) -> None:
    made = [keys.create(name=f"{number}", scopes=["packs:read"]).key.id for number in range(3)]
    first = keys.list(limit=2)
    second = keys.list(first.next_cursor, 2)
    assert [key.id for key in first.items + second.items] == sorted(made, reverse=True)
    assert second.next_cursor is None
