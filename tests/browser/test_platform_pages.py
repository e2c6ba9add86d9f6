"""The platform's pages in a browser: within reach in every theme and language, and what is done on them, by those who may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_reach import check, look
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite
from tokenwell.service.supply.schedules import Unit

OpenPage = Callable[..., Page]


@pytest.fixture
def suite(meter: Meter, people: People) -> Suite:
    """Northwind has something of all that these pages show."""
    suite = Suite(meter, people=people)
    meter.grant("northwind", "30M", note="Annual plan")
    made = [
        suite.schedules.create(
            "northwind", amount, unit=unit, first_day=date(2027, 2, 28), valid_days=31, note="Monthly plan", by=SYSTEM
        )
        for amount, unit in (("5M", Unit.MONTH), ("750k", Unit.WEEK), ("1M", Unit.DAY))
    ]
    suite.schedules.pause("northwind", made[1].id, by=SYSTEM)
    suite.schedules.end("northwind", made[2].id, by=SYSTEM)
    return suite


@pytest.mark.parametrize(("theme", "language"), [("light", "en-GB"), ("dark", "zh-CN")])
def test_every_page_is_within_reach(open_page: OpenPage, suite: Suite, theme: str, language: str) -> None:
    ada = open_page("ada@example.com", color_scheme=theme, locale=language)
    (going, *_) = suite.schedules.list(going=True).items[::-1]
    visits = {
        "grants": "/admin/grants?schedules=all",
        "schedule": "/admin/grants/schedule?organization=northwind",
        "schedule-change": f"/o/northwind/schedules/{going.id}/change",
        "schedule-end": f"/o/northwind/schedules/{going.id}/end",
    }
    wrong: list[str] = []
    for name, path in visits.items():
        ada.goto(path)
        for width in (320, 768, 1280, 1920):
            ada.set_viewport_size({"width": width, "height": 800})
            wrong += check(ada, f"{name} {width}")
            look(ada, f"{name}-{width}", theme, language)
    assert wrong == []


def test_a_recurring_grant_is_made_and_paused_in_front_of_its_page(open_page: OpenPage, suite: Suite) -> None:
    page = open_page("ada@example.com", expects="status of 422")
    page.goto("/admin/grants")
    page.get_by_role("link", name="New recurring grant").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("#organization").fill("nobody")
    dialog.locator("#amount").fill("2M")
    dialog.locator("#first_day").fill("2027-03-31")
    expect(dialog.locator("#preview time").first).to_have_text("31 Mar, 09:00")
    dialog.locator("#send").click()
    expect(dialog.get_by_role("alert")).to_contain_text("no organization with this id")
    dialog.locator("#organization").fill("northwind")
    dialog.locator("#send").click()
    expect(page.locator(".said")).to_contain_text("was made")
    row = page.locator("tr[data-schedule]").first
    expect(row).to_contain_text("2,000,000")
    row.get_by_role("link", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator("tr[data-schedule]").first).to_contain_text("Paused")
    newest = suite.schedules.list().items[0]
    assert (newest.amount_tokens, newest.paused_at is not None) == (2_000_000, True)
