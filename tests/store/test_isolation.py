"""Row-level security: what a role bound to one organization sees and may do, whatever the statement says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from tokenwell.errors import OrganizationNotFound, RequestInvalid, StoreUnavailable
from tokenwell.service.meter import Meter
from tokenwell.store import reader, schema
from tokenwell.store.isolation import POLICY, checked_role, grants, protected_tables, tenant_tables
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

DENIED = "42501"
"""What PostgreSQL says to a row of another organization, and to what the role may not do."""

OF_THE_PLATFORM = {
    "job", "person", "person_identity", "person_preference", "rate", "recovery_code", "second_factor", "session",
    "sign_in_failure",
}  # fmt: skip
"""Tables that belong to no organization: a role bound to one sees nothing of them, but its own members."""


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
    """Two organizations, each with a row in every table of tenants, and a member."""
    with Meter(postgres_url, tenant_role=role) as opened:
        for organization_id in ("acme", "beta"):
            opened.create_organization(organization_id)
            opened.grant(organization_id, "5M")
            opened.debit(organization_id, 100, model="gpt-5")
            opened.open_hold(organization_id, 100)
        with opened.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # rows need nothing they refer to
            for table in tenant_tables():
                for organization_id in ("acme", "beta"):
                    named = {"organization": organization_id}
                    known = text(f"SELECT 1 FROM {table.name} WHERE organization_id = :organization")
                    if connection.execute(known, named).first() is None:
                        connection.execute(sqlalchemy.insert(table).values(row_of(table, organization_id)))
            for organization_id in ("acme", "beta"):
                who = {"person_id": f"of-{organization_id}", "email": f"{organization_id}@example.com"}
                connection.execute(sqlalchemy.insert(schema.person).values(row_of(schema.person) | who))
        yield opened


def row_of(table: sqlalchemy.Table, organization_id: str = "") -> dict[str, object]:
    """Return a row of a table that means nothing."""
    values = {column.name: _value(column.type) for column in table.columns if not column.nullable}
    values |= {"person_id": f"of-{organization_id}"} if "person_id" in values else {}
    return values | ({"organization_id": organization_id} if organization_id else {})


def _value(kind: sqlalchemy.types.TypeEngine[object]) -> object:
    if isinstance(kind, sqlalchemy.LargeBinary):
        return b"x"
    if isinstance(kind, sqlalchemy.Boolean):
        return False
    return 1 if isinstance(kind, sqlalchemy.Integer) else "x"


def outcome(meter: Meter, statement: sqlalchemy.Executable | str) -> tuple[str, int]:
    """Return what came of a statement run as acme, which is then undone: the error's state, and how many rows it was about."""
    state, touched = "", 0
    with suppress(_Undone), transaction(meter.engine, "acme") as connection:
        try:
            touched = connection.execute(text(statement) if isinstance(statement, str) else statement).rowcount
        except sqlalchemy.exc.DBAPIError as error:
            state = str(getattr(error.orig, "sqlstate", ""))
        raise _Undone
    return state, touched


def denied(meter: Meter, statement: sqlalchemy.Executable | str) -> bool:
    """Return whether a statement run as acme is refused for want of a right."""
    return outcome(meter, statement)[0] == DENIED


class _Undone(Exception):
    """Ends a transaction without what was done in it."""


def test_every_table_of_tenants_has_its_policy(meter: Meter) -> None:
    with meter.engine.connect() as connection:
        found = connection.execute(text("SELECT tablename, policyname FROM pg_policies")).all()
    assert {(table, POLICY) for table in protected_tables()} == {tuple(row) for row in found}


def test_every_table_is_a_tenants_or_known_to_be_the_platforms(meter: Meter) -> None:
    tenants = {table.name for table in tenant_tables()}
    assert tenants.isdisjoint(OF_THE_PLATFORM)
    assert tenants | OF_THE_PLATFORM == {table.name for table in schema.metadata.sorted_tables}
    assert all(next(iter(table.primary_key.columns)).name == "organization_id" for table in tenant_tables())
    for name in OF_THE_PLATFORM - {"person"}:
        assert denied(meter, f"SELECT 1 FROM {name}"), name


def test_a_statement_that_forgot_its_organization_gives_nothing_of_anothers(meter: Meter) -> None:
    for table in tenant_tables():
        statement = text(f"SELECT organization_id FROM {table.name}")
        with reading(meter.engine) as connection:
            assert {"acme", "beta"} <= set(connection.execute(statement).scalars()), table.name
        with reading(meter.engine, "acme") as connection:
            assert set(connection.execute(statement).scalars()) == {"acme"}, table.name
        with transaction(meter.engine, "acme") as connection:
            assert set(connection.execute(statement).scalars()) == {"acme"}, table.name


def test_a_change_that_forgot_its_organization_touches_nothing_of_anothers(meter: Meter) -> None:
    changed = set()
    for table in tenant_tables():
        column = next(column.name for column in table.columns if not column.nullable and not column.primary_key)
        for statement in (f"UPDATE {table.name} SET {column} = {column}", f"DELETE FROM {table.name}"):
            state, touched = outcome(meter, statement)
            assert (state, touched) in ((DENIED, 0), ("", 1)), (statement, state, touched)
            changed |= {table.name} if touched else set()
    assert {"membership", "gateway_key", "ai_service", "channel", "access_link", "topup", "dispute", "schedule"} <= changed
    assert not changed & {"account", "entry", "hold", "pack", "rollup", "organization", "act", "event"}


def test_no_row_can_be_added_for_another_or_given_to_another(meter: Meter) -> None:
    for table in tenant_tables():
        assert denied(meter, sqlalchemy.insert(table).values(row_of(table, "beta"))), table.name
        assert denied(meter, f"UPDATE {table.name} SET organization_id = 'beta'"), table.name
        assert denied(meter, sqlalchemy.insert(table).values(row_of(table, "acme"))) == (table.name in _not_added()), table.name


def _not_added() -> set[str]:
    return {grant.table for grant in grants() if grant.what == ("SELECT",)}


def test_of_people_only_members_are_seen_and_no_password(meter: Meter) -> None:
    with transaction(meter.engine, "acme") as connection:
        assert connection.execute(text("SELECT email FROM person")).scalars().all() == ["acme@example.com"]
    assert denied(meter, "SELECT password_hash FROM person")
    assert denied(meter, "UPDATE person SET is_platform_admin = true")
    assert denied(meter, "INSERT INTO person SELECT * FROM person")


def test_of_a_pack_only_the_note_can_be_changed(meter: Meter) -> None:
    assert denied(meter, "UPDATE pack SET remaining_tokens = 0")
    with transaction(meter.engine, "acme") as connection:
        assert connection.execute(text("UPDATE pack SET note = 'ours'")).rowcount == 1
    assert [line.pack.note for line in meter.packs("beta").items] == [""]


def test_a_role_that_has_all_it_may_is_given_nothing_more(meter: Meter, postgres_url: str, role: str) -> None:
    migrated = Meter(postgres_url, tenant_role=role)
    migrated.close()
    with meter.engine.connect() as connection:
        mine = connection.execute(
            text("SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = :role"), {"role": role}
        ).scalar_one()
    assert mine == sum(len(grant.what) for grant in grants() if not grant.columns)


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
    "SELECT * FROM session",
    "SELECT * FROM second_factor",
    "SET LOCAL app.organization = 'beta'; SET LOCAL transaction_read_only = off; UPDATE pack SET remaining_tokens = 0",
]


def test_naming_another_organization_gives_nothing(meter: Meter) -> None:
    for statement in CROSSING:
        with reading(meter.engine, "acme") as connection:
            assert connection.execute(text(statement)).all() == [], statement


def test_a_snapshot_only_reads_and_only_what_is_a_tenants(meter: Meter) -> None:
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
