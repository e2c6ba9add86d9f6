"""Fixtures of the console's tests: a meter and people on SQLite, and browsers that keep cookies but run no script."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import argon2
import pytest
from starlette.testclient import TestClient

from tests.console.browsing import Browser
from tests.doubles import FrozenClock
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.health import Thresholds
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

THRESHOLDS = Thresholds(5_000, 1_000)


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    Meter(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def meter(blank_database: Path, tmp_path: Path, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with the organizations acme and beta."""
    directory = tmp_path / "data"
    directory.mkdir()
    shutil.copy(blank_database, directory / "tokenwell.db")
    with Meter(f"sqlite:///{directory / 'tokenwell.db'}", thresholds=THRESHOLDS, clock=clock, migrate=False) as meter:
        meter.create_organization("acme", name="Acme Parts")
        meter.create_organization("beta", name="Beta & Sons")
        yield meter


@pytest.fixture
def people(meter: Meter, clock: FrozenClock) -> People:
    """Mei is an administrator of acme, Vic a viewer of both, Ada of the platform, Nora belongs to nothing."""
    people = People(meter.engine, clock, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    mei = people.create_person(email="mei@example.com", password=Browser.PASSWORD, name="Mei Lin")
    people.add_member("acme", mei.id, "organization_admin")
    vic = people.create_person(email="vic@example.com", password=Browser.PASSWORD)
    people.add_member("acme", vic.id, "viewer")
    people.add_member("beta", vic.id, "viewer")
    people.create_admin(email="ada@example.com", password=Browser.PASSWORD, name="Ada Root")
    people.create_person(email="nora@example.com", password=Browser.PASSWORD, name="Nora")
    return people


@pytest.fixture
def open_browser(meter: Meter, people: People) -> Callable[..., Browser]:
    """Open a browser on a console with these settings; signed in where an e-mail address is given."""

    def browser(email: str | None = None, **settings: object) -> Browser:
        scheme = "https" if settings.get("secure_cookies") else "http"
        limit = settings.get("emergency_limit_tokens", 0)
        suite = Suite(meter, people=people, sealer=Sealer(lambda: ("k" * 48,)), emergency_limit_tokens=limit)  # type: ignore[arg-type]
        app = create_console(suite, Settings(**settings))  # type: ignore[arg-type]
        client = TestClient(app, base_url=f"{scheme}://testserver", raise_server_exceptions=False, follow_redirects=False)
        opened = Browser(client)
        if email is not None:
            assert opened.sign_in(email).status_code == 303
        return opened

    return browser


@pytest.fixture
def mei(open_browser: Callable[..., Browser]) -> Browser:
    """A browser in which Mei, an administrator of acme alone, is signed in."""
    return open_browser("mei@example.com")
