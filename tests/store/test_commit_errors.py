"""PostgreSQL: an error that the server gives in answer to COMMIT leaves it unknown whether the work is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from tests.doubles import FrozenClock
from tests.store.tenants import NO_THRESHOLDS, Tenant, refused
from tokenwell import Meter
from tokenwell.errors import CommitUnknown

CODES = ["53100", "XX000", "40001", "23505", "23502"]
"""A full disk, a defect of the server, a conflict of serialization, a key that exists, a null: at COMMIT none tells the outcome."""


@pytest.fixture
def tenant(postgres_url: str, clock: FrozenClock) -> Iterator[Tenant]:
    """An organization on a database of its own."""
    with Meter(postgres_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        yield Tenant(meter, clock)


@contextmanager
def failing_commits(tenant: Tenant, table: str, code: str) -> Iterator[None]:
    """Let every COMMIT of a transaction that wrote to a table fail with an SQLSTATE."""
    with tenant.meter.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION 'at the last moment' USING ERRCODE = '{code}'; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION fail()"
            )
        )
    yield
    with tenant.meter.engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER fail ON {table}"))


@pytest.mark.parametrize("code", CODES)
def test_a_batch_whose_commit_fails_has_an_unknown_outcome(tenant: Tenant, code: str) -> None:
    tenant.grant(10)
    tenant.debit(1)
    with failing_commits(tenant, "account", code):
        for _ in range(2):
            with refused(CommitUnknown):
                tenant.debit(1, key="k")
    assert not tenant.debit(1, key="k").replayed
    assert tenant.totals()[0] == 8
    assert tenant.problems() == ()


@pytest.mark.parametrize("code", CODES)
def test_a_transaction_off_the_hot_path_whose_commit_fails_has_an_unknown_outcome(tenant: Tenant, code: str) -> None:
    with failing_commits(tenant, "organization", code), refused(CommitUnknown):
        tenant.meter.create_organization("later")
    tenant.meter.create_organization("later")
