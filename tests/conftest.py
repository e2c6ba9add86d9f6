"""Fixtures of every test: a fresh database on SQLite, on PostgreSQL, or on each in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.databases import fresh_postgres, postgres_server, sqlite_url_in
from tests.doubles import FrozenClock


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """A PostgreSQL server, started at its first use and stopped at the end of the run."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new SQLite file."""
    return sqlite_url_in(tmp_path)


@pytest.fixture
def postgres_url(postgres_server_url: str) -> Iterator[str]:
    """A new, empty PostgreSQL database."""
    with fresh_postgres(postgres_server_url) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A new database on SQLite and on PostgreSQL: a test that takes it runs on both."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What a command run inside a test makes of the log ends with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> FrozenClock:
    """A clock that the test moves."""
    return FrozenClock()
