"""Fixtures of the store's tests: a database migrated once for all, and a new organization on it for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.databases import fresh_postgres, sqlite_url_in
from tests.doubles import FrozenClock
from tests.store.tenants import NO_THRESHOLDS, Tenant
from tests.store.workers import Workers
from tokenwell import Meter


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def shared_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database on SQLite and on PostgreSQL, shared by tests that keep to organizations of their own."""
    if request.param == "sqlite":
        url = sqlite_url_in(tmp_path_factory.mktemp("shared"))
        Meter(url).close()
        yield url
        return
    with fresh_postgres(request.getfixturevalue("postgres_server_url")) as url:
        Meter(url).close()
        yield url


@pytest.fixture
def meter(shared_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter without thresholds whose clock the test moves."""
    with Meter(shared_url, thresholds=NO_THRESHOLDS, clock=clock, migrate=False) as meter:
        yield meter


@pytest.fixture
def tenant(meter: Meter, clock: FrozenClock) -> Iterator[Tenant]:
    """A new organization. Whatever a test does to it, its books must balance at the end."""
    tenant = Tenant(meter, clock)
    yield tenant
    if not tenant.tampered:
        assert tenant.problems() == ()


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Four other processes."""
    with Workers(count=4) as workers:
        yield workers
