"""The bell: on every page, with what is unread; its panel, and what its stream tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from tests.console.browsing import Browser, Page
from tokenwell.config import Settings
from tokenwell.console.live import rung_of
from tokenwell.console.visits import Console, Visit
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

OpenBrowser = Callable[..., Browser]
PART = {"hx-request": "true"}


def label_on(page: Page) -> str:
    """Return what the bell of a page is called; its link and its button are called the same."""
    (link,), (button,) = page.all("a", class_="btn btn-quiet btn-icon btn-sm bell without-js"), page.all("button", id="bell")
    assert link["aria-label"] == button["aria-label"]
    assert (link["href"], button["popovertarget"]) == (button["data-path"], "bell-panel")
    return button["aria-label"]


@pytest.mark.parametrize(
    "path",
    ["", "/usage", "/ledger", "/sessions", "/alerts", "/proof", "/services", "/members", "/audit", "/services/new", "/topup"],
)
def test_every_page_of_an_organization_has_a_bell(mei: Browser, meter: Meter, path: str) -> None:
    meter.grant("acme", 6_000)
    assert label_on(mei.page(f"/o/acme{path}")) == "Alerts: 1 unread"


def test_the_bell_of_ones_own_pages_is_that_of_the_first_organization(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 6_000)
    assert label_on(mei.page("/profile")) == "Alerts: 1 unread"


def test_who_belongs_to_nothing_has_no_bell(open_browser: OpenBrowser) -> None:
    assert not open_browser("nora@example.com").page("/profile").all("button", id="bell")


def test_a_hundred_and_more_are_told_as_such(mei: Browser, meter: Meter) -> None:
    for _ in range(101):
        meter.grant("acme", 6_000)
    page = mei.page("/o/acme")
    assert label_on(page) == "Alerts: 100 or more unread"
    assert "99+" in page.text


def test_the_panel_shows_the_latest_and_leads_to_what_they_are_about(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 6_000)
    meter.debit("acme", 2_000)
    page = mei.page("/o/acme/bell", headers=PART)
    assert "AI is running low. New The balance is 4,000 tokens, below the warning threshold of 5,000." in page.text
    assert [each["href"] for each in page.all("a")] == ["/o/acme", "/o/acme/packs/PK-1", "/o/acme/alerts"]
    assert page.having("data-label") == ["Alerts: 2 unread"]
    assert "<html" not in page.html


def test_the_panel_without_a_script_is_the_alerts_page(mei: Browser) -> None:
    assert mei.get("/o/acme/bell").headers["location"] == "/o/acme/alerts"


def test_one_alert_is_marked_as_read_or_all(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 6_000)
    meter.debit("acme", 2_000)
    newest = mei.page("/o/acme/bell", headers=PART).having("data-unread")[1]
    mei.submit("/o/acme", "/o/acme/bell", {"event": newest})
    assert label_on(mei.page("/o/acme")) == "Alerts: 1 unread"
    mei.submit("/o/acme", "/o/acme/bell", {"event": "evt_nothing"})
    assert label_on(mei.page("/o/acme")) == "Alerts: 1 unread"
    assert mei.submit("/o/acme", "/o/acme/bell", {"event": "all"}).headers["location"] == "/o/acme/alerts"
    assert label_on(mei.page("/o/acme")) == "Alerts: nothing unread"


def test_a_bell_of_elsewhere_is_not_there_and_a_form_from_elsewhere_reads_nothing(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 6_000)
    mei.page("/o/beta/bell", status=404)
    assert mei.submit("/o/acme", "/o/beta/bell", {"event": "all"}).status_code == 404
    assert mei.post("/o/acme/bell", {"event": "all"}).status_code == 403
    assert label_on(mei.page("/o/acme")) == "Alerts: 1 unread"


@pytest.mark.parametrize(
    ("language", "label", "title"),
    [("en", "Alerts: 2 unread", "AI is running low."), ("zh", "提醒：2 条未读", "AI 余额不足。")],
)
def test_its_stream_tells_how_many_are_unread_and_what_the_newest_says(
    meter: Meter, people: People, language: str, label: str, title: str
) -> None:
    suite = Suite(meter, people=people)
    session = people.session(people.sign_in("mei@example.com", Browser.PASSWORD, source="192.0.2.7").token)
    before = suite.directory.pulses(["acme"])["acme"]
    meter.grant("acme", 6_000)
    meter.debit("acme", 2_000)
    newest = suite.inbox.history("acme").items[0].id
    assert (before.event_id, suite.directory.pulses(["acme"])["acme"].event_id) == ("", newest)
    headers = [(b"accept-language", language.encode())]
    scope: dict[str, Any] = {"type": "http", "headers": headers, "method": "GET", "path": "/", "query_string": b""}
    visit = Visit(Console(suite, Settings()), Request(scope), session)
    name, data = rung_of(visit, "acme").decode().strip().split("\ndata: ")
    assert name == "event: bell"
    told = msgspec.json.decode(data)
    assert told == {"newest": newest, "unread": 2, "count": "2", "label": label, "title": title}
