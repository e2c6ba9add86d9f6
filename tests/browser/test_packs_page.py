"""The AI Resource Packs page as a person uses it, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.people import PASSWORD
from tests.doubles import FrozenClock
from tokenwell.core.packs import PackStatus
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter

OpenPage = Callable[..., Page]


def fill(meter: Meter, clock: FrozenClock, *, lines: int = 12, left: int = 20_000_000) -> None:
    """Give northwind packs of every status and a ledger, with `left` tokens of balance."""
    end = clock.now
    clock.now = end - timedelta(days=20)
    meter.grant("northwind", 10_000_000, expires_at=end - timedelta(days=2), note="Summer campaign")
    meter.debit("northwind", 9_000_000, prompt_tokens=8_000_000, completion_tokens=1_000_000, model="qwen3-max", session="Import")
    clock.now = end - timedelta(days=1)
    meter.revoke("northwind", meter.grant("northwind", 2_000_000, note="Granted by mistake").pack.id)
    meter.grant("northwind", 40_000, note="Trial")
    meter.debit("northwind", 40_000, already_used=True, session="Grace Obi · Messenger", reason="AI reply")
    spent = sum(1_000 + number for number in range(lines))
    meter.grant("northwind", left + spent - 1_000, expires_at=end + timedelta(days=8, hours=2), note="Q4 contract")
    meter.grant("northwind", 1_000, note="Goodwill")
    for number in range(lines):
        clock.now = end - timedelta(minutes=lines - number)
        meter.debit(
            "northwind",
            prompt_tokens=900,
            completion_tokens=100 + number,
            model="claude-sonnet-4.5",
            session=f"Visitor {number} · Web chat",
            reason="AI reply",
            already_used=True,
        )
    clock.now = end


def text_of(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_the_numbers_on_the_page_are_the_meters(open_page: OpenPage, meter: Meter, clock: FrozenClock) -> None:
    fill(meter, clock)
    meter.open_hold("northwind", 38_410)
    page = open_page()
    expect(page).to_have_title("AI resource packs · Northwind Support · Tokenwell")
    balance = meter.balance("northwind")
    assert balance.balance_tokens == 20_000_000
    expect(page.locator("#balance")).to_have_text(f"{balance.balance_tokens:,}")
    hero = page.locator(".hero")
    expect(hero).to_contain_text("Normal")
    expect(hero).to_contain_text(f"{balance.active_packs} active packs")
    expect(hero).to_contain_text(f"{balance.held_tokens:,}")
    expect(hero).to_contain_text(f"{balance.available_tokens:,}")
    expect(page.locator(".banner")).to_have_count(0)

    counts = meter.pack_counts("northwind")
    for status in PackStatus:
        expect(page.locator(f"#packs-{status}")).to_have_text(re.compile(rf"{status.capitalize()}\s+{counts[status]}"))
    packs = meter.packs("northwind").items
    assert page.locator("tr[data-pack]").count() == len(packs) == 5
    for line in packs:
        row = page.locator(f'tr[data-pack="PK-{line.pack.number}"]')
        expect(row).to_contain_text(f"{line.pack.remaining_tokens:,} / {line.pack.total_tokens:,}")
        expect(row).to_contain_text(line.status.capitalize())
        expect(row).to_contain_text(line.pack.note)
    lines = meter.ledger("northwind").items
    assert page.locator("tr[data-seq]").count() == len(lines) == 14
    for line, row in zip(lines, page.locator("tr[data-seq]").all(), strict=True):
        expect(row).to_contain_text(f"−{line.entry.amount_tokens:,}")
        expect(row).to_contain_text(f"PK-{line.pack_number}")
        if line.entry.session:
            expect(row).to_contain_text(line.entry.session)
    used = meter.usage_totals("northwind", since=clock.now.replace(hour=0, minute=0), until=clock.now.replace(hour=23, minute=45))
    expect(page.locator(".used strong").first.or_(page.locator(".stats dd").first)).to_contain_text(f"{used.debited_tokens:,}")


def test_the_ledger_is_read_to_its_end_in_place_and_back(open_page: OpenPage, meter: Meter, clock: FrozenClock) -> None:
    fill(meter, clock, lines=118)
    page = open_page()
    seen: list[str] = []
    addresses = [page.url]
    older = page.locator("#ledger").get_by_role("link", name="Older")
    while True:
        seen += [row.get_attribute("data-seq") or "" for row in page.locator("tr[data-seq]").all()]
        if not older.count():
            break
        first = page.locator("tr[data-seq]").first.get_attribute("data-seq")
        older.click()
        expect(page.locator("tr[data-seq]").first).not_to_have_attribute("data-seq", first or "")
        expect(page.locator("#ledger-h")).to_be_focused()
        expect(page.locator("#announce")).to_have_text(re.compile(r"\d+ lines on this page"))
        addresses.append(page.url)
    everything = [str(line.entry.seq) for line in meter.ledger("northwind", limit=1_000).items]
    assert seen == everything
    assert len(set(addresses)) == len(addresses) == 3
    page.go_back()
    expect(page).to_have_url(addresses[1])
    expect(page.locator("tr[data-seq]").first).to_have_attribute("data-seq", everything[50])
    page.reload()
    expect(page.locator("tr[data-seq]").first).to_have_attribute("data-seq", everything[50])
    page.locator("#ledger").get_by_role("link", name="Newest").click()
    expect(page.locator("tr[data-seq]").first).to_have_attribute("data-seq", everything[0])


def test_packs_are_filtered_in_place(open_page: OpenPage, meter: Meter, clock: FrozenClock) -> None:
    fill(meter, clock)
    page = open_page()
    for status in PackStatus:
        tab = page.locator(f"#packs-{status}")
        tab.click()
        expect(tab).to_have_attribute("aria-current", "true")
        expect(tab).to_be_focused()
        assert f"packs={status}" in page.url
        badges = text_of(page, "tr[data-pack] .badge")
        assert set(badges) == {status.capitalize()}
        assert len(badges) == meter.pack_counts("northwind")[status]
    page.locator("#packs-all").click()
    expect(page.locator("tr[data-pack]")).to_have_count(5)
    expect(page.locator("tr[data-pack]").first).to_contain_text("In use now")


def test_the_three_states_and_how_a_grant_resumes(open_page: OpenPage, meter: Meter, clock: FrozenClock) -> None:
    page = open_page()
    expect(page.get_by_role("heading", name="AI has not started yet")).to_be_visible()
    meter.grant("northwind", 6_000_000)
    page.reload()
    expect(page.locator(".hero")).to_contain_text("Normal")
    meter.debit("northwind", 2_000_000)
    page.reload()
    expect(page.get_by_role("heading", name="AI is running low")).to_be_visible()
    expect(page.locator(".banner")).to_contain_text("Ask your platform admin to top up before it runs out.")
    meter.debit("northwind", 3_500_000)
    page.reload()
    expect(page.get_by_role("heading", name="AI is stopped")).to_be_visible()
    expect(page.locator(".banner")).to_contain_text("500,000 tokens, below the minimum reserve of 1,000,000")
    expect(page.locator(".hero")).to_contain_text("All AI services are paused until a new pack is granted.")
    meter.grant("northwind", 9_000_000)
    page.reload()
    expect(page.locator(".banner")).to_have_count(0)
    expect(page.locator("#balance")).to_have_text("9,500,000")


def test_a_receipt_opens_in_its_row_by_keyboard(open_page: OpenPage, meter: Meter, clock: FrozenClock) -> None:
    meter.grant("northwind", 4_000_000, expires_at=clock.now + timedelta(days=3))
    meter.grant("northwind", 4_000_000)
    meter.debit("northwind", prompt_tokens=4_000_000, completion_tokens=500_000, key="req-1")
    page = open_page()
    opener = page.get_by_role("link", name="Receipt of req-1").first
    opener.focus()
    page.keyboard.press("Enter")
    receipt = page.locator("tr.receipt")
    expect(receipt).to_contain_text("4,000,000 prompt + 500,000 completion = 4,500,000")
    expect(receipt).to_contain_text("8,000,000 → 3,500,000")
    expect(receipt.locator(".shares tbody tr")).to_have_count(2)
    expect(opener).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Enter")
    expect(receipt).to_have_count(0)
    expect(opener).to_have_attribute("aria-expanded", "false")
    page.get_by_role("link", name="2 of 2").click()
    expect(page.get_by_role("heading", name="Request")).to_be_visible()
    page.get_by_role("link", name="Back to the ledger").click()
    expect(page.locator("#ledger-h")).to_be_in_viewport()


def test_language_theme_and_zone_are_the_viewers(open_page: OpenPage, meter: Meter, clock: FrozenClock) -> None:
    fill(meter, clock)
    page = open_page(timezone_id="Asia/Shanghai", color_scheme="light")
    expect(page.locator("#zone")).to_have_text("Asia/Shanghai (UTC+8)")
    newest = page.locator("tr[data-seq] time").first
    expect(newest).to_have_text("31 Jan, 17:29:00")
    page.locator("#zone").click()
    expect(page.locator("#zone")).to_have_text("UTC")
    expect(newest).to_have_text("31 Jan, 09:29:00")
    page.locator("#zone").click()
    expect(newest).to_have_text("31 Jan, 17:29:00")

    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    page.locator("#theme").click()
    dark = background()
    assert dark != light
    page.reload()
    assert background() == dark
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"

    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.get_by_role("heading", name="用量明细")).to_be_visible()
    expect(newest).to_have_text("1月31日 17:29:00")
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_the_systems_dark_theme_is_followed(open_page: OpenPage) -> None:
    colours = {
        scheme: open_page(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert colours == {"light": "rgb(248, 248, 250)", "dark": "rgb(11, 12, 15)"}


def test_signing_out_leaves_nothing_to_go_back_to(open_page: OpenPage, meter: Meter) -> None:
    page = open_page()
    page.locator(".account summary").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page).to_have_url(re.compile(r"/sign-in$"))
    page.go_back()
    expect(page).to_have_url(re.compile(r"/sign-in"))
    expect(page.locator("#balance")).to_have_count(0)


def test_a_wrong_password_is_told_where_it_is_typed(open_page: OpenPage) -> None:
    page = open_page(None, expects="status of 401")
    page.goto("/o/northwind")
    page.get_by_label("E-mail address").fill("mei@example.com")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is not right.")
    expect(page.get_by_label("E-mail address")).to_have_value("mei@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/o/northwind$"))


def test_a_session_that_ended_leads_back_to_sign_in(open_page: OpenPage, meter: Meter, people: People, clock: FrozenClock) -> None:
    fill(meter, clock)
    page = open_page(expects="status of 401")
    person = people.find("mei@example.com")
    assert person is not None
    people.sign_out_everywhere(person.id)
    page.locator("#packs-revoked").click()
    expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    page.get_by_label("E-mail address").fill("mei@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-pack]")).to_have_count(1)


def test_menus_open_and_close_by_keyboard(open_page: OpenPage, meter: Meter, people: People) -> None:
    meter.create_organization("mori", name="Mori Logistics")
    person = people.find("mei@example.com")
    assert person is not None
    people.add_member("mori", person.id, "viewer")
    page = open_page()
    expect(page).to_have_url(re.compile(r"/o/mori$"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    other = page.get_by_role("link", name="Northwind Support")
    expect(other).to_be_visible()
    page.keyboard.press("Escape")
    expect(other).to_be_hidden()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/o/northwind$"))


def test_everything_works_without_scripts(open_page: OpenPage, meter: Meter, clock: FrozenClock) -> None:
    fill(meter, clock, lines=60)
    page = open_page(java_script_enabled=False)
    expect(page.locator("#zone")).to_be_hidden()
    expect(page.locator("#theme")).to_be_hidden()
    expect(page.locator(".zone")).to_have_text("UTC")
    page.locator("#packs-revoked").click()
    expect(page.locator("tr[data-pack]")).to_have_count(1)
    page.locator("#ledger").get_by_role("link", name="Older").click()
    expect(page.locator("tr[data-seq]")).to_have_count(12)
    expect(page.locator("tr[data-pack]")).to_have_count(1)
    page.locator("a.disc").first.click()
    expect(page.locator(".receipt-card")).to_contain_text("Charged")
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.locator(".account summary").click()
    page.get_by_role("button", name="退出登录", exact=True).click()
    expect(page).to_have_url(re.compile(r"/sign-in$"))


@pytest.mark.parametrize("path", ["/admin", "/o/northwind"])
def test_a_platform_administrator_reaches_every_organization(open_page: OpenPage, meter: Meter, path: str) -> None:
    meter.grant("northwind", 9_000_000)
    page = open_page("ada@example.com")
    page.goto(path)
    if path == "/admin":
        expect(page.locator("tbody tr")).to_contain_text("9,000,000")
        page.get_by_role("link", name="Northwind Support", exact=True).click()
    expect(page.locator("#balance")).to_have_text("9,000,000")
    page.get_by_role("link", name="Organizations").click()
    expect(page.get_by_role("heading", name="All organizations")).to_be_visible()
