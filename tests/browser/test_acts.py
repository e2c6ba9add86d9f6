"""Forms in front of their page, in Chromium: by keyboard alone, previewed while one types, done once."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tokenwell.service.meter import Meter

OpenPage = Callable[..., Page]


def test_a_grant_by_keyboard_alone(open_page: OpenPage, meter: Meter) -> None:
    page = open_page("ada@example.com")
    page.goto("/o/northwind")
    link = page.locator(".page-head, header").get_by_role("link", name="Grant pack")
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("#amount")).to_be_focused()
    page.keyboard.type("6.5M")
    expect(dialog.locator("#send")).to_have_text("Grant 6,500,000")
    expect(dialog.locator("#preview")).to_contain_text("6,500,000")
    expect(dialog.locator("#preview .badge").last).to_have_text("Normal")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(link).to_be_focused()
    assert meter.packs("northwind").items == ()
    page.keyboard.press("Enter")
    expect(dialog.locator("#amount")).to_be_focused()
    page.keyboard.type("7M")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_have_text("AI is running again. 7,000,000 tokens granted.")
    expect(page.locator("#balance")).to_have_text("7,000,000")
    assert [line.pack.total_tokens for line in meter.packs("northwind").items] == [7_000_000]


def test_what_is_wrong_is_shown_in_the_dialog_and_typing_goes_on(open_page: OpenPage, meter: Meter) -> None:
    page = open_page("ada@example.com", expects="status of 422")
    page.goto("/o/northwind")
    page.locator(".page-head, header").get_by_role("link", name="Grant pack").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("#amount").fill("apples")
    dialog.locator("#note").fill("For the autumn")
    dialog.locator("#send").click()
    expect(dialog.get_by_role("alert")).to_contain_text("not a whole number of tokens")
    expect(dialog.locator("#amount")).to_be_focused()
    expect(dialog.locator("#note")).to_have_value("For the autumn")
    dialog.get_by_role("button", name="10M").click()
    dialog.get_by_text("Never").click()
    expect(dialog.locator("#until")).to_have_text("It never expires.")
    dialog.locator("#send").click()
    expect(page.locator("#balance")).to_have_text("10,000,000")
    (line,) = meter.packs("northwind").items
    assert (line.pack.note, line.pack.expires_at) == ("For the autumn", None)


def test_revoking_asks_for_the_name_where_ai_would_stop(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 9_000_000)
    page = open_page("ada@example.com", expects="status of 422")
    page.goto("/o/northwind/packs/PK-1")
    page.get_by_role("link", name="Revoke").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("#note").fill("By mistake")
    dialog.locator("#send").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Type the name of the organization")
    dialog.locator("#confirm").fill("Northwind Support")
    dialog.locator("#send").click()
    expect(page.locator(".said")).to_have_text("PK-1 was revoked.")
    assert meter.balance("northwind").balance_tokens == 0


def test_the_ledger_by_keyboard_alone(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 20_000_000)
    for number in range(60):
        meter.debit("northwind", 1_000 + number, model=f"model-{number % 2}", session=f"Visitor {number}")
    page = open_page()
    page.goto("/o/northwind/ledger")
    page.locator("#filter-model").focus()
    page.keyboard.press("Enter")
    offered = page.get_by_role("link", name="model-1")
    expect(offered).to_be_visible()
    offered.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"model=model-1"))
    expect(page.locator("#filter-model")).to_be_focused()
    expect(page.locator("#sum")).to_contain_text("in 30 lines")
    first = page.locator("a.disc").first
    first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("tr.receipt")).to_contain_text("Charged")
    expect(first).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Enter")
    expect(page.locator("tr.receipt")).to_have_count(0)
    page.locator("#find").focus()
    page.keyboard.type("Visitor 7")
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-seq]")).to_have_count(1)
    page.go_back()
    expect(page.locator("#sum")).to_contain_text("in 30 lines")


def test_the_usage_chart_is_read_by_arrow_keys_and_as_a_table(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 20_000_000)
    meter.debit("northwind", 4_321, model="qwen3-max")
    page = open_page()
    page.goto("/o/northwind/usage?range=7d")
    chart = page.locator("#usage[data-drawn]")
    chart.focus()
    page.keyboard.press("End")
    expect(page.locator("#announce")).to_have_text(re.compile(r"31 Jan: 4,321"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#announce")).to_have_text(re.compile(r"30 Jan: 0"))
    page.locator("#as-table").click()
    expect(page.locator("#usage-table")).to_be_visible()
    expect(page.locator("#usage-table tbody tr").first).to_contain_text("4,321")
    expect(page.locator("#usage")).to_be_hidden()


def test_forms_work_without_scripts(open_page: OpenPage, meter: Meter) -> None:
    page = open_page("ada@example.com", java_script_enabled=False)
    page.goto("/o/northwind")
    page.locator(".page-head, header").get_by_role("link", name="Grant pack").click()
    page.locator("#amount").fill("8M")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("8,000,000")
    page.locator("#send").click()
    expect(page.locator("#balance")).to_have_text("8,000,000")
