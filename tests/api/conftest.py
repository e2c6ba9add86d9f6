"""Fixtures of the API's tests: a platform on each database, and a client that may do everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.api.platform import Platform
from tests.doubles import FrozenClock
from tests.payments import StripeServer, checkout_at, stripe_server


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
def stripe() -> Iterator[StripeServer]:
    """A stand-in for Stripe."""
    with stripe_server() as server:
        yield server


@pytest.fixture
def seller(database_url: str, clock: FrozenClock, stripe: StripeServer) -> Iterator[Platform]:
    """A platform that sells, on each database."""
    platform = Platform(database_url, clock, checkout=checkout_at(stripe))
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
