"""Reach: every page in every state, theme, language and width passes axe, fits its window, and gives no cause for complaint.

axe-core is injected through the browser's own protocol, so that the pages' policy stays in force. What the pages look like is
written to `artifacts/screens`, to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.doubles import FrozenClock
from tokenwell.core.rates import Rate
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WIDTHS = (320, 390, 768, 1024, 1280, 1920)
SCREENS = Path(__file__).parents[2] / "artifacts" / "screens"

STATES = {
    "usage-hours": "/o/normal/usage?width=hour&range=7d&by=reason",
    "ledger-filtered": "/o/normal/ledger?model=none&range=7d",
    "session": "/o/normal/sessions/Lina%20%C2%B7%20Web%20chat",
    "proof": "/o/normal/proof?part=granted",
    "missing": "/no/such/page",
}
"""Pages in states of their own; all others are looked at by `test_matrix`."""

DIALOGS = {
    "grant": ("/o/stopped", "/o/stopped/grant"),
    "thresholds": ("/o/low", "/o/low/thresholds"),
    "revoke": ("/o/normal/packs/PK-3", "/o/normal/packs/PK-3/revoke"),
    "extend": ("/o/normal/packs/PK-3", "/o/normal/packs/PK-3/extend"),
    "rate": ("/admin/rates", "/admin/rates/set"),
}

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
        for hour in range(0, 8 * 24, 12):
            clock.now = end - timedelta(days=8) + timedelta(hours=hour)
            model = ("claude-sonnet-4.5", "text-embed-3", "deepseek-v4")[hour % 3]
            meter.debit(organization_id, 9_000 + hour, model=model, session="Omar · LINE", reason="Summary", already_used=True)
        clock.now = end - timedelta(hours=3)
        meter.debit(organization_id, 5_400_000, model="qwen3-max", session="Lina · Web chat", reason="AI reply", already_used=True)
        request = meter.debit(
            organization_id, prompt_tokens=900, completion_tokens=90, model="gpt-5-mini", already_used=True, estimated=True
        )
        meter.refund(organization_id, request.request_id, note="Wrong language")
    clock.now = end
    meter.set_rate(Rate(model="gpt-5-mini", effective_at=end, input_millionths=500_000))
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
    return wrong + sideways(page, where)


def sideways(page: Page, where: str) -> list[str]:
    """Return how far the page scrolls sideways, where it does."""
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [f"{where}: scrolls {too_wide} px sideways"] if too_wide > 0 else []


def look(page: Page, name: str, theme: str, language: str) -> None:
    """Keep a picture of the page, in two of the four ways it can look."""
    if (theme, language) in (("light", "en-GB"), ("dark", "zh-CN")):
        SCREENS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENS / f"{name}-{theme}-{language}.png", full_page=True)


def draw(page: Page) -> None:
    """Wait until a chart of the page, if it has one, is drawn."""
    if page.locator("#usage").count():
        page.locator("#usage[data-drawn]").wait_for()


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_packs_page_is_within_reach(open_page: OpenPage, organizations: list[str], theme: str, language: str) -> None:
    page = open_page(color_scheme=theme, locale=language)
    wrong: list[str] = []
    for organization_id in organizations:
        page.goto(f"/o/{organization_id}")
        for width in WIDTHS if organization_id in ("normal", "longest") else (320, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            wrong += check(page, f"{organization_id} {width}")
            if width in (320, 1280):
                draw(page)
                look(page, f"packs-{organization_id}-{width}", theme, language)
        if organization_id == "normal":
            page.locator("a.disc").first.click()
            page.locator("tr.receipt").wait_for()
            wrong += check(page, "receipt")
            page.locator("#as-table").click()
            wrong += check(page, "usage as a table")
    page.locator(".switch summary").click()
    wrong += check(page, "switch open")
    page.locator(".account summary").click()
    wrong += check(page, "account open")
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator(".burger summary").click()
    wrong += check(page, "menu open")
    assert wrong == []


@pytest.mark.parametrize(("theme", "language"), [("light", "en-GB"), ("dark", "zh-CN")])
def test_states_and_forms_are_within_reach(open_page: OpenPage, organizations: list[str], theme: str, language: str) -> None:
    mei = open_page(color_scheme=theme, locale=language, expects="status of 404")
    ada = open_page("ada@example.com", color_scheme=theme, locale=language)
    wrong: list[str] = []
    for name, path in STATES.items():
        mei.goto(path)
        for width in (320, 1280):
            mei.set_viewport_size({"width": width, "height": 700})
            wrong += check(mei, f"{name} {width}")
            draw(mei)
            look(mei, f"{name}-{width}", theme, language)
    for name, (path, address) in DIALOGS.items():
        ada.goto(path)
        ada.locator(f'a[data-dialog][href^="{address}"]').first.click()
        ada.locator("dialog[open] form").wait_for()
        wrong += check(ada, f"dialog {name}")
        look(ada, f"dialog-{name}", theme, language)
    mei.goto("/o/normal/ledger")
    mei.locator("#filter-model").click()
    wrong += check(mei, "filter open")
    assert wrong == []
