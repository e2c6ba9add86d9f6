"""Fixtures of the SDK's tests: a platform behind a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.platform import Platform
from tests.api.serving import served
from tests.doubles import FrozenClock
from tokenwell.client import Tokenwell


@pytest.fixture
def platform(sqlite_url: str, clock: FrozenClock) -> Iterator[Platform]:
    """A platform on SQLite: the SDK sees the database only through the API."""
    platform = Platform(sqlite_url, clock)
    yield platform
    platform.close()


@pytest.fixture
def address(platform: Platform) -> Iterator[str]:
    """The address of a server."""
    with served(platform.app) as address:
        yield address


@pytest.fixture
def tokenwell(platform: Platform, address: str) -> Iterator[Tokenwell]:
    """A client that may do everything."""
    with Tokenwell(address, platform.secrets["platform"]) as tokenwell:
        yield tokenwell
