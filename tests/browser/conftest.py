"""Fixtures of the browser's tests: a server with a real meter on SQLite, and Chromium with a watch on all it complains of."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import argon2
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.people import PASSWORD
from tests.databases import fresh_postgres
from tests.doubles import FrozenClock
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.health import Thresholds
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
THRESHOLDS = Thresholds(5_000_000, 1_000_000)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium, for one module: Playwright's loop must be gone before other modules run theirs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    Meter(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def meter(request: pytest.FixtureRequest, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with the organization northwind, which has nothing yet; on SQLite, unless a test names the other database."""
    with ExitStack() as stack:
        if getattr(request, "param", "sqlite") == "postgres":
            url = stack.enter_context(fresh_postgres(request.getfixturevalue("postgres_server_url")))
        else:
            path = request.getfixturevalue("tmp_path") / "tokenwell.db"
            shutil.copy(request.getfixturevalue("blank_database"), path)
            url = f"sqlite:///{path}"
        meter = stack.enter_context(Meter(url, thresholds=THRESHOLDS, clock=clock))
        meter.create_organization("northwind", name="Northwind Support")
        yield meter


@pytest.fixture
def people(meter: Meter, clock: FrozenClock) -> People:
    """Mei is an administrator of northwind, Vic its viewer, Ada a platform administrator."""
    people = People(meter.engine, clock, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    mei = people.create_person(email="mei@example.com", password=PASSWORD, name="Mei Lin")
    people.add_member("northwind", mei.id, "organization_admin")
    people.create_admin(email="ada@example.com", password=PASSWORD, name="Ada Root")
    vic = people.create_person(email="vic@example.com", password=PASSWORD, name="Vic Reader")
    people.add_member("northwind", vic.id, "viewer")
    return people


@pytest.fixture
def address(meter: Meter, people: People) -> Iterator[str]:
    """Where a server answers; it stops with the test."""
    listener = socket.create_server(("127.0.0.1", 0))
    suite = Suite(meter, people=people, emergency_limit_tokens=500_000)
    config = uvicorn.Config(create_console(suite, Settings()), lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def open_context(chromium: Browser, address: str) -> Iterator[Callable[..., BrowserContext]]:
    """Open a browser's profile at the server; what its pages complain of fails the test unless it was expected."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(*, expects: str | tuple[str, ...] = (), **options: Any) -> BrowserContext:
        expected = (expects,) if isinstance(expects, str) else expects
        defaults: dict[str, Any] = {"base_url": address, "locale": "en-GB", "viewport": {"width": 1280, "height": 800}}
        # Nothing fades in: half-faded words have no contrast to be judged by.
        defaults["reduced_motion"] = "reduce"
        context = chromium.new_context(**(defaults | options))

        def note(text: str) -> None:
            if not any(each in text for each in expected):
                complaints.append(text)

        context.on("console", lambda message: note(message.text) if message.type in ("error", "warning") else None)
        context.on("weberror", lambda error: note(str(error.error)))
        contexts.append(context)
        return context

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def open_page(open_context: Callable[..., BrowserContext]) -> Callable[..., Page]:
    """Open a page on which Mei is signed in, unless told otherwise."""

    def opened(email: str | None = "mei@example.com", **options: Any) -> Page:
        page = open_context(**options).new_page()
        if email is not None:
            page.goto("/sign-in")
            page.get_by_label("E-mail address").or_(page.get_by_label("邮箱地址")).fill(email)
            page.get_by_label("Password").or_(page.get_by_label("密码")).fill(PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url: "/sign-in" not in url)
        return page

    return opened
