"""Live: what is written anywhere reaches the open pages of its organization, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from tests.console.browsing import Browser
from tokenwell.config import Settings
from tokenwell.console.live import Hub, news_of
from tokenwell.console.visits import Console, Visit
from tokenwell.core.health import State
from tokenwell.errors import StoreUnavailable
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.records.directory import Pulse
from tokenwell.service.suite import Suite

OpenBrowser = Callable[..., Browser]


def pulse(seq: int) -> Pulse:
    return Pulse(seq=seq, balance_tokens=10, held_tokens=0, state=State.NORMAL)


async def test_pages_hear_of_their_own_organization_only() -> None:
    told = {"acme": pulse(1), "beta": pulse(7)}
    asked: list[tuple[str, ...]] = []

    def read(names: Any) -> dict[str, Pulse]:
        asked.append(tuple(names))
        return {name: told[name] for name in names}

    hub = Hub(read, poll_seconds=0.001)
    one, other = hub.join("acme"), hub.join("acme")
    assert (await one.get()).seq == (await other.get()).seq == 1
    told["beta"] = pulse(8)
    told["acme"] = pulse(2)
    assert (await one.get()).seq == 2
    assert all(names == ("acme",) for names in asked)
    hub.leave("acme", one)
    hub.leave("acme", other)
    assert hub.newest("acme") is None


async def test_every_stream_ends_where_the_process_stops() -> None:
    hub = Hub(lambda names: {name: pulse(1) for name in names}, poll_seconds=0.001)
    before = hub.join("acme")
    hub.end()
    later = hub.join("beta")
    while await before.get() is not None:
        pass
    assert await later.get() is None


async def test_a_slow_page_gets_the_newest_and_an_outage_is_outlived() -> None:
    numbers = iter(range(1, 1_000))
    failures = iter([True, False, True] + [False] * 1_000)

    def read(names: Any) -> dict[str, Pulse]:
        if next(failures):
            raise StoreUnavailable
        return {name: pulse(next(numbers)) for name in names}

    hub = Hub(read, poll_seconds=0.001)
    queue = hub.join("acme")
    seen = 0
    while seen < 5:
        await asyncio.sleep(0.005)
        newest = (await queue.get()).seq
        assert newest > seen
        seen = newest
    hub.leave("acme", queue)


async def test_the_watch_begins_again_after_the_last_page_was_closed() -> None:
    hub = Hub(lambda names: {name: pulse(3) for name in names}, poll_seconds=0.001)
    for _ in range(3):
        queue = hub.join("acme")
        assert (await queue.get()).seq == 3
        hub.leave("acme", queue)
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("path", "status"), [("/o/beta/live", 404), ("/o/none/live", 404)])
def test_another_organizations_news_do_not_exist(mei: Browser, path: str, status: int) -> None:
    assert mei.get(path).status_code == status


def test_nobody_hears_nothing(open_browser: OpenBrowser) -> None:
    answer = open_browser().get("/o/acme/live?after=1", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in?next=%2Fo%2Facme%2Flive%3Fafter%3D1")


def test_news_are_numbers_in_the_readers_words(mei: Browser, meter: Meter, people: People) -> None:
    meter.grant("acme", 9_000)
    meter.debit("acme", 300)
    meter.debit("acme", 400)
    suite = Suite(meter, people=people)
    told = suite.directory.pulses(["acme", "none"])
    assert set(told) == {"acme"}
    for language, words in (("en", "2 new rows."), ("zh", "2 行新记录。")):
        scope = {
            "type": "http",
            "headers": [(b"accept-language", language.encode())],
            "method": "GET",
            "path": "/",
            "query_string": b"",
        }
        visit = Visit(Console(suite, Settings()), Request(scope), None)
        written = news_of(visit, "acme", told["acme"], 1).decode()
        event, data = written.strip().split("\ndata: ")
        assert event == "event: news"
        news = msgspec.json.decode(data)
        assert (news["seq"], news["lines"], news["words"]) == (3, 2, words)
        assert (news["balance"], news["state"]) == ("8,300", "normal")
