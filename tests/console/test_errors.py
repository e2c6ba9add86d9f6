"""Errors as pages, and the headers that every answer carries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.console.browsing import Browser, Page
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter

OpenBrowser = Callable[..., Browser]


@contextmanager
def unreachable(meter: Meter) -> Iterator[None]:
    """Take the database away for a while."""
    database = Path(str(meter.engine.url.database))
    away = database.parent.with_name("away")
    meter.engine.dispose()
    database.parent.rename(away)
    try:
        yield
    finally:
        meter.engine.dispose()
        away.rename(database.parent)


def assert_protected(answer: Any) -> None:
    headers = answer.headers
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split("; ")}
    assert policy["default-src"] == ["'none'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert policy["base-uri"] == ["'none'"]
    assert not any("unsafe" in source or "*" in source for sources in policy.values() for source in sources)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"]
    assert "strict-transport-security" not in headers


def assert_no_store(answer: Any) -> None:
    assert answer.headers["cache-control"] == "no-store"


def test_every_answer_is_protected_and_no_page_is_kept(open_browser: OpenBrowser, mei: Browser, meter: Meter) -> None:
    stranger = open_browser()
    answers = [
        stranger.get("/"),
        stranger.get("/sign-in"),
        stranger.get("/no/such/page"),
        stranger.post("/sign-in", {}),
        stranger.client.put("/sign-in"),
        stranger.client.post("/sign-in", content=b"x" * 70_000, headers={"content-type": "application/x-www-form-urlencoded"}),
        mei.get("/o/acme"),
        mei.get("/o/acme", headers={"hx-request": "1"}),
        mei.get("/o/beta"),
        mei.get("/o/acme?packs=nonsense"),
        mei.client.head("/o/acme"),
    ]
    with unreachable(meter):
        answers.append(mei.get("/o/acme"))
    assert [answer.status_code for answer in answers] == [303, 200, 404, 403, 405, 413, 200, 200, 404, 400, 200, 503]
    for answer in answers:
        assert_protected(answer)
        assert_no_store(answer)


def test_an_unreachable_database_is_a_page_that_says_when_to_come_back(mei: Browser, meter: Meter) -> None:
    with unreachable(meter):
        answer = mei.get("/o/acme?packs=active")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        page = Page(answer.text)
        assert "The data cannot be reached right now" in page.text
        assert page.all("a", class_="btn")[0]["href"] == "/o/acme?packs=active"
        assert mei.post("/sign-out", {}).status_code == 503
    assert mei.get("/o/acme").status_code == 200


def test_signing_in_without_a_database_is_told_as_such(open_browser: OpenBrowser, meter: Meter) -> None:
    browser = open_browser()
    token = browser.page("/sign-in").csrf_token
    with unreachable(meter):
        answer = browser.post("/sign-in", {"csrf_token": token, "email": "mei@example.com", "password": Browser.PASSWORD})
    assert answer.status_code == 503


def test_a_defect_is_a_page_that_tells_nothing_of_it(mei: Browser, meter: Meter, people: People) -> None:
    with meter.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE membership SET role = 'king'")
    answer = mei.get("/o/acme")
    assert answer.status_code == 500
    assert_protected(answer)
    assert_no_store(answer)
    page = Page(answer.text)
    assert "Something went wrong" in page.text
    assert not re.search(r"Traceback|king|Error|\.py", answer.text)


@pytest.mark.parametrize("path", ["/o/beta", "/o/none", "/o/beta/request?id=x", "/admin"])
def test_what_belongs_to_others_looks_like_what_does_not_exist(mei: Browser, path: str) -> None:
    missing = mei.get("/o/acme/no/such/page")
    answer = mei.get(path)
    assert (answer.status_code, answer.text) == (404, missing.text)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/o/acme?before=abc", 400),
        ("/o/acme?before=-1", 400),
        ("/o/acme?before=99999999999999999999", 400),
        ("/o/acme?packs_after=%00", 400),
        ("/o/acme?packs=", 400),
        ("/o/acme/request", 400),
        ("/o/acme/request?id=%00%ff", 400),
        ("/o/acme/request?id=req_none", 404),
        ("/o/%00", 404),
        ("/o/ACME", 404),
        ("/o/acme%2F", 404),
        ("/o/acme/", 404),
        ("/o/" + "a" * 5000, 404),
    ],
)
def test_an_address_that_makes_no_sense_is_a_page_too(mei: Browser, path: str, status: int) -> None:
    assert mei.get(path).status_code == status


def test_a_platform_administrator_gets_pages_for_nonsense_too(open_browser: OpenBrowser) -> None:
    ada = open_browser("ada@example.com")
    assert [ada.get(path).status_code for path in ("/o/none", "/o/%00", "/admin?after=%00")] == [404, 404, 400]


def test_errors_speak_the_visitors_language(mei: Browser) -> None:
    assert "页面不存在" in mei.get("/o/beta", headers={"accept-language": "zh"}).text
