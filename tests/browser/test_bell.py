"""The bell in Chromium: its count is live, its panel works by keyboard and by touch, and without a script it is a link."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_reach import check, look
from tokenwell.service.meter import Meter

OpenPage = Callable[..., Page]


def test_the_count_is_live_on_every_page_and_told_once(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 6_000_000)
    page = open_page()
    page.goto("/o/northwind/usage")
    bell = page.locator("#bell")
    expect(bell).to_have_accessible_name("Alerts: 1 unread")
    meter.debit("northwind", 2_000_000)
    expect(bell).to_have_accessible_name("Alerts: 2 unread")
    expect(bell).to_have_text("2")
    expect(page.locator("#announce")).to_have_text("AI is running low.")


def test_the_panel_works_by_keyboard(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 6_000_000)
    meter.debit("northwind", 2_000_000)
    page = open_page()
    bell, panel = page.locator("#bell"), page.locator("#bell-panel")
    bell.focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("listitem")).to_have_count(2)
    expect(panel.get_by_role("heading", name="Alerts")).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(bell).to_be_focused()
    page.keyboard.press("Space")
    expect(panel.get_by_role("heading", name="Alerts")).to_be_focused()
    page.keyboard.press("Tab")
    expect(panel.get_by_role("button", name="Mark all as read")).to_be_focused()
    page.keyboard.press("Enter")
    expect(bell).to_have_accessible_name("Alerts: nothing unread")
    expect(panel.get_by_role("heading", name="Alerts")).to_be_focused()
    expect(panel.get_by_role("button")).to_have_count(0)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/o/northwind/packs/PK-1")


def test_who_follows_an_alert_has_read_it_and_a_click_elsewhere_closes_the_panel(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 6_000_000)
    meter.debit("northwind", 2_000_000)
    page = open_page()
    panel = page.locator("#bell-panel")
    page.locator("#bell").click()
    expect(panel.get_by_role("listitem")).to_have_count(2)
    page.locator(".foot").click()
    expect(panel).to_be_hidden()
    page.locator("#bell").click()
    with page.expect_request(lambda request: request.method == "POST" and request.url.endswith("/bell")):
        panel.get_by_role("link", name="6,000,000 tokens granted.").click()
    page.wait_for_url("**/o/northwind/packs/PK-1")
    expect(page.locator("#bell")).to_have_accessible_name("Alerts: 1 unread")


def test_without_a_script_the_bell_is_a_link(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 6_000_000)
    page = open_page(java_script_enabled=False)
    bell = page.get_by_role("link", name="Alerts: 1 unread")
    expect(bell).to_be_visible()
    expect(page.locator("#bell")).to_be_hidden()
    bell.click()
    page.wait_for_url("**/o/northwind/alerts")
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.get_by_role("link", name="Alerts: nothing unread")).to_be_visible()


@pytest.mark.parametrize(("theme", "language"), [("light", "en-GB"), ("dark", "zh-CN")])
def test_the_panel_is_within_reach(open_page: OpenPage, meter: Meter, theme: str, language: str) -> None:
    pack = meter.grant("northwind", 6_000_000)
    meter.grant("northwind", 500_000)
    meter.revoke("northwind", pack.pack.id, note="Granted by mistake")
    meter.debit("northwind", 1_000, already_used=True)
    page = open_page(color_scheme=theme, locale=language)
    wrong: list[str] = []
    for width in (320, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.locator("#bell").click()
        expect(page.locator("#bell-h")).to_be_focused()
        box = page.locator("#bell-panel").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        wrong += check(page, f"{theme} {language} {width}")
        look(page, f"bell-{width}", theme, language)
        page.keyboard.press("Escape")
    assert wrong == []
