"""The matrix: every page there is × light and dark × English and Chinese × widths from 320 to 1920 passes axe and fits its window.

The pages are those of the table of who may do what (`tests/console/test_who_may_what.py`), which has a row for every route: a page
that is new is looked at, too. The browser complains of nothing meanwhile, under the policy that pages are sent with. A page is
loaded once a language; a theme changes its colours alone, so that the darker one is judged by its contrast.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.test_reach import AXE, RULES, SCREENS, draw, sideways
from tests.console.test_who_may_what import CASES, OPEN, PLATFORM, SCOPES, SIGNED_IN, Case, methods_of, name_of
from tests.console.world import ADMIN, MEMBER, NOBODY, OWN, World
from tests.databases import sqlite_url_in
from tests.doubles import FrozenClock
from tokenwell.service.access.scopes import Scope

WIDTHS = (320, 768, 1280, 1920)
JUDGED = (320, 1280)
NO_PAGES = {
    "/": "goes on to another page",
    "/sign-in/sso": "goes on to somebody else's page",
    "/sign-in/sso/return": "goes on to another page",
    "/o/{organization}/live": "a stream",
    "/admin/live": "a stream",
    "/o/{organization}/top": "a part of a page",
    "/o/{organization}/ledger/values": "a part of a page",
    "/o/{organization}/ledger.csv": "a file",
    "/o/{organization}/audit/export": "a file",
    "/admin/audit/export": "a file",
    "/admin/reconciliation/{reconciliation}/lines.csv": "a file",
}
"""Addresses that are looked at by GET and show no page of their own, and why."""


@contextmanager
def served(world: World) -> Iterator[str]:
    """Give the address at which a world's console answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(world.app, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two organizations with everything in them."""
    with closing(World(sqlite_url_in(tmp_path_factory.mktemp("matrix")), FrozenClock())) as world:
        yield world


def visitor_of(case: Case) -> str:
    """Return who looks at a page: the one with the least rights of those who may."""
    if case.need == OPEN:
        return NOBODY
    if case.need == PLATFORM or (case.need != SIGNED_IN and Scope(case.need) not in SCOPES[MEMBER]):
        return ADMIN
    return MEMBER


class Looking:
    """Looks at pages, as one visitor or another, and keeps what is wrong with them."""

    def __init__(self, browser: Browser, world: World, address: str, language: str) -> None:
        self.wrong: list[str] = []
        self._browser, self._world, self._address, self._language = browser, world, address, language
        self._pages: dict[str, Page] = {}
        self._place = ""

    def close(self) -> None:
        """Close every profile."""
        for page in self._pages.values():
            page.context.close()

    def look(self, case: Case) -> None:
        """Look at one page."""
        self._place = name_of(case)
        page = self._page(visitor_of(case))
        page.emulate_media(color_scheme="light")
        answer = page.goto(self._address_of(case), wait_until="commit")  # what never ends is no page, and is told at once
        assert answer is not None
        assert "text/html" in answer.headers["content-type"], self._place
        page.wait_for_load_state()
        if answer.status != 200 and case.need != OPEN:
            self.wrong.append(f"{self._place}: answered with {answer.status}")
        draw(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            self.wrong += sideways(page, f"{self._place} {width}")
        session = page.context.new_cdp_session(page)  # the pages' policy stays in force
        session.send("Runtime.evaluate", {"expression": AXE})
        session.detach()
        for theme, asked in (("light", RULES), ("dark", {"type": "rule", "values": ["color-contrast"]})):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            for width in JUDGED:
                page.set_viewport_size({"width": width, "height": 800})
                self._judge(page, asked, f"{theme} {width}")
        self._keep(page, case)

    def _address_of(self, case: Case) -> str:
        if case.path == "/embed/{token}":
            return self._world.suite.embedding.link(OWN)
        things = self._world.things[OWN]
        of_the_platform = {name: things[f"platform_{name}"] for name in ("invitation", "channel")}
        names = of_the_platform if case.need == PLATFORM else {}
        return case.address(self._world, OWN, **names)

    def _judge(self, page: Page, asked: Any, how: str) -> None:
        found = page.evaluate("rules => axe.run(document, {runOnly: rules}).then(r => r.violations)", asked)
        self.wrong += [
            f"{self._place} {how} {self._language}: {each['id']} at {[node['target'] for node in each['nodes']]}" for each in found
        ]

    def _keep(self, page: Page, case: Case) -> None:
        """Keep a picture: wide and light of the one language, narrow and dark of the other."""
        is_wide = self._language == "en-GB"
        page.emulate_media(color_scheme="light" if is_wide else "dark")
        page.set_viewport_size({"width": 1280 if is_wide else 320, "height": 800})
        name = f"{case.path} {case.act}".strip("/ ").translate(str.maketrans("/{}:. ", "------"))
        directory = SCREENS / ("every-page-light-en" if is_wide else "every-page-dark-zh")
        directory.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(directory, f"{name}.png"), full_page=True)

    def _page(self, role: str) -> Page:
        if role not in self._pages:
            self._pages[role] = self._open(role).new_page()
        return self._pages[role]

    def _open(self, role: str) -> BrowserContext:
        context = self._browser.new_context(base_url=self._address, locale=self._language, reduced_motion="reduce")
        if role != NOBODY:
            token = self._world.visitors[role].token
            context.add_cookies([{"name": "tokenwell_session", "value": token, "url": self._address}])
        context.on("console", lambda message: self._hear(message.text) if message.type in ("error", "warning") else None)
        context.on("weberror", lambda error: self._hear(str(error.error)))
        return context

    def _hear(self, text: str) -> None:
        """Keep what the browser complains of; that a link which is used up is answered with an error is as it should be."""
        if "responded with a status of 4" not in text:
            self.wrong.append(f"{self._place}: {text}")


def test_what_is_no_page_is_a_route(world: World) -> None:
    assert {route.path for route in world.routes} >= set(NO_PAGES)


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_every_page_is_within_reach(chromium: Browser, world: World, language: str) -> None:
    cases = [case for case in CASES if case.method == "GET" and case.path not in NO_PAGES and "GET" in methods_of(world, case.path)]
    assert len(cases) > 70
    with served(world) as address, closing(Looking(chromium, world, address, language)) as looking:
        for case in cases:
            looking.look(case)
    assert not looking.wrong, "\n".join(looking.wrong)
