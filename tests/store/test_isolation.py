"""Row-level security: what a role bound to one organization sees and may do, whatever the statement says."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from tokenwell.errors import OrganizationNotFound, RequestInvalid, StoreUnavailable
from tokenwell.service.meter import Meter
from tokenwell.store import reader
from tokenwell.store.isolation import POLICY, checked_role, tenant_tables
from tokenwell.store.reader import reading


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """A role that may do nothing by itself."""
    name = f"tenant_{uuid4().hex[:12]}"
    url = postgres_url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} NOLOGIN")
        yield name
        admin.execute(f"DROP OWNED BY {name}")
        admin.execute(f"DROP ROLE {name}")


@pytest.fixture
def meter(postgres_url: str, role: str) -> Iterator[Meter]:
    """Two organizations, each with a pack, a charge and a hold."""
    with Meter(postgres_url, tenant_role=role) as opened:
        for organization_id in ("acme", "beta"):
            opened.create_organization(organization_id)
            opened.grant(organization_id, "5M")
            opened.debit(organization_id, 100, model="gpt-5")
            opened.open_hold(organization_id, 100)
        yield opened


def test_every_table_of_tenants_has_its_policy(meter: Meter) -> None:
    with meter.engine.connect() as connection:
        found = connection.execute(text("SELECT tablename, policyname FROM pg_policies")).all()
    assert {(table.name, POLICY) for table in tenant_tables()} == {tuple(row) for row in found}
    assert len(tenant_tables()) > 15


def test_a_statement_that_forgot_its_organization_gives_nothing_of_anothers(meter: Meter) -> None:
    shared = set()
    for table in tenant_tables():
        statement = text(f"SELECT organization_id FROM {table.name}")
        with reading(meter.engine, "acme") as connection:
            assert set(connection.execute(statement).scalars()) <= {"acme"}, table.name
        with reading(meter.engine) as connection:
            if {"acme", "beta"} <= set(connection.execute(statement).scalars()):
                shared.add(table.name)
    assert {"account", "entry", "hold", "organization", "pack", "rollup", "event"} <= shared


CROSSING = [
    "SELECT * FROM entry WHERE organization_id = 'beta'",
    "SELECT * FROM entry WHERE organization_id <> 'acme'",
    "SELECT p.* FROM pack p JOIN account a ON a.organization_id <> p.organization_id",
    "SELECT * FROM (SELECT * FROM pack UNION ALL SELECT * FROM pack) AS two WHERE organization_id = 'beta'",
    "SELECT * FROM organization WHERE organization_id = 'beta'",
]
CHANGING = [
    "UPDATE pack SET remaining_tokens = 0",
    "DELETE FROM hold",
    "INSERT INTO membership VALUES ('acme', 'per_1', 'viewer', 0)",
    "TRUNCATE entry",
    "SELECT * FROM person",
    "SELECT * FROM session",
    "SELECT * FROM second_factor",
    "SET LOCAL app.organization = 'beta'; SET LOCAL transaction_read_only = off; UPDATE pack SET remaining_tokens = 0",
]


def test_naming_another_organization_gives_nothing(meter: Meter) -> None:
    for statement in CROSSING:
        with reading(meter.engine, "acme") as connection:
            assert connection.execute(text(statement)).all() == [], statement


def test_the_role_only_reads_and_only_what_is_a_tenants(meter: Meter) -> None:
    for statement in CHANGING:
        with pytest.raises((StoreUnavailable, sqlalchemy.exc.DBAPIError)), reading(meter.engine, "acme") as connection:
            connection.execute(text(statement))
    assert meter.balance("beta").balance_tokens == meter.balance("acme").balance_tokens == 5_000_000 - 100


def test_a_transaction_that_is_nobodys_sees_nothing(meter: Meter) -> None:
    for nobody in ("", "gamma", "acme' OR '1'='1", "beta'; RESET ROLE; --"):
        with reading(meter.engine, nobody) as connection:
            assert connection.execute(text("SELECT organization_id FROM entry")).all() == [], nobody


def test_the_binding_ends_with_the_transaction(meter: Meter) -> None:
    for _ in range(5):
        with reading(meter.engine, "acme"):
            pass
    with reading(meter.engine) as connection:
        assert connection.execute(text("SELECT count(DISTINCT organization_id) FROM entry")).scalar_one() == 2


def test_the_services_own_reads_stay_behind_the_wall(meter: Meter) -> None:
    assert meter.balance("acme").balance_tokens == 5_000_000 - 100
    assert len(meter.ledger("acme").items) == len(meter.packs("acme").items) == 1
    with pytest.raises(OrganizationNotFound):
        meter.balance("gamma")
    with reading(meter.engine, "acme") as connection, pytest.raises(OrganizationNotFound):
        reader.account(connection, "beta")


def test_a_role_with_an_odd_name_is_refused() -> None:
    for name in ('x"; DROP TABLE entry; --', "", "Tenant", "x" * 64):
        with pytest.raises(RequestInvalid):
            checked_role(name)
    assert checked_role("tokenwell_tenant") == "tokenwell_tenant"
