"""Reach: every page in every state, theme, language and width passes axe, fits its window, and gives no cause for complaint.

axe-core is injected through the browser's own protocol, so that the pages' policy stays in force.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.doubles import FrozenClock
from tokenwell.service.meter import Meter
from tokenwell.service.people import People

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WIDTHS = (320, 390, 768, 1024, 1280, 1920)

OpenPage = Callable[..., Page]


@pytest.fixture
def organizations(meter: Meter, people: People, clock: FrozenClock) -> list[str]:
    """One organization in each state, one with nothing, one with the longest of everything; Mei belongs to all."""
    granted = {"normal": 30_000_000, "low": 9_500_000, "stopped": 6_000_000, "overdrawn": 900_000}
    end = clock.now
    for organization_id, tokens in granted.items():
        meter.create_organization(organization_id, name=organization_id.capitalize())
        clock.now = end - timedelta(days=9)
        meter.grant(organization_id, 500_000, expires_at=end - timedelta(days=1), note="Trial")
        meter.revoke(organization_id, meter.grant(organization_id, 700_000, note="Granted by mistake").pack.id)
        meter.grant(organization_id, tokens, expires_at=end + timedelta(days=3), note="Annual plan")
        clock.now = end - timedelta(hours=3)
        meter.debit(organization_id, 5_400_000, model="qwen3-max", session="Lina · Web chat", reason="AI reply", already_used=True)
        request = meter.debit(
            organization_id, prompt_tokens=900, completion_tokens=90, model="gpt-5-mini", already_used=True, estimated=True
        )
        meter.refund(organization_id, request.request_id, note="Wrong language")
    clock.now = end
    meter.open_hold("normal", 40_000)
    meter.create_organization("longest", name="The Longest Name of an Organization There Could Possibly Be, Incorporated")
    meter.grant("longest", 10**16 - 10**9, note="x" * 500)
    meter.debit("longest", 10**12, model="m" * 200, session="s" * 200, reason="r" * 200)
    names = ["normal", "low", "stopped", "overdrawn", "longest", "northwind"]
    person = people.find("mei@example.com")
    assert person is not None
    for organization_id in names:
        people.add_member(organization_id, person.id, "viewer")
    return names


def check(page: Page, where: str) -> list[str]:
    """Return what is wrong with the page as it is: violations, and how far it scrolls sideways."""
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": AXE})
    session.detach()
    found: list[dict[str, Any]] = page.evaluate("rules => axe.run(document, {runOnly: rules}).then(r => r.violations)", RULES)
    wrong = [f"{where}: {each['id']} at {[node['target'] for node in each['nodes']]}" for each in found]
    sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wrong + ([f"{where}: scrolls {sideways} px sideways"] if sideways > 0 else [])


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_within_reach(open_page: OpenPage, organizations: list[str], theme: str, language: str) -> None:
    page = open_page(color_scheme=theme, locale=language)
    wrong: list[str] = []
    for organization_id in organizations:
        page.goto(f"/o/{organization_id}")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            wrong += check(page, f"{organization_id} {width}")
        if page.locator("a.disc").count():
            page.locator("a.disc").first.click()
            page.locator("tr.receipt").wait_for()
            for width in (320, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                wrong += check(page, f"{organization_id} receipt {width}")
    page.locator(".switch summary").click()
    wrong += check(page, "switch open")
    page.locator(".account summary").click()
    wrong += check(page, "account open")
    assert wrong == []


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_around_it_are_within_reach(open_page: OpenPage, organizations: list[str], theme: str, language: str) -> None:
    stranger = open_page(None, color_scheme=theme, locale=language, expects="status of 404")
    admin = open_page("ada@example.com", color_scheme=theme, locale=language)
    wrong: list[str] = []
    for page, path in ((stranger, "/sign-in"), (stranger, "/no/such/page"), (admin, "/admin"), (admin, "/o/normal")):
        page.goto(path)
        for width in (320, 768, 1280):
            page.set_viewport_size({"width": width, "height": 700})
            wrong += check(page, f"{path} {width}")
    assert wrong == []
