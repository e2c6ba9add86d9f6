"""Fixtures of the API's tests: a platform on each database, and a client that may do everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.api.platform import Platform
from tests.doubles import FrozenClock


@pytest.fixture
def platform(database_url: str, clock: FrozenClock) -> Iterator[Platform]:
    """A platform on SQLite and on PostgreSQL."""
    platform = Platform(database_url, clock)
    yield platform
    platform.close()


@pytest.fixture
def lone(sqlite_url: str, clock: FrozenClock) -> Iterator[Platform]:
    """A platform on SQLite, where the database makes no difference."""
    platform = Platform(sqlite_url, clock)
    yield platform
    platform.close()


@pytest.fixture
async def api(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that may do everything, on both databases."""
    async with platform.client() as client:
        yield client


@pytest.fixture
async def http(lone: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that may do everything, on SQLite."""
    async with lone.client() as client:
        yield client
