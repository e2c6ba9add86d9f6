"""The platform's pages in a browser: within reach in every theme and language, and what is done on them, by those who may."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_reach import check, look, sideways
from tests.doubles import FrozenClock
from tokenwell.console.records.disputespage import OPEN
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite
from tokenwell.service.supply.schedules import Unit

OpenPage = Callable[..., Page]
EXPORT = (
    "request_id,created_at,model,input_tokens,output_tokens\n"
    "r0,2027-01-31T10:00:00Z,gpt-5-mini,100000,24000\n"
    "elsewhere,2027-01-30T10:00:00Z,claude-sonnet-4.5,5000,800\n"
)


@pytest.fixture
def suite(meter: Meter, people: People, clock: FrozenClock) -> Suite:
    """Northwind has something of all that these pages show."""
    suite = Suite(meter, people=people)
    meter.grant("northwind", "30M", note="Annual plan")
    for _ in range(26):
        meter.debit("northwind", 100_000, model="gpt-5-mini", session="Omar · LINE")
        clock.advance(timedelta(hours=1))
    made = [
        suite.schedules.create(
            "northwind", amount, unit=unit, first_day=date(2027, 2, 28), valid_days=31, note="Monthly plan", by=SYSTEM
        )
        for amount, unit in (("5M", Unit.MONTH), ("750k", Unit.WEEK), ("1M", Unit.DAY))
    ]
    suite.schedules.pause("northwind", made[1].id, by=SYSTEM)
    suite.schedules.end("northwind", made[2].id, by=SYSTEM)
    for number in range(2):
        meter.debit("northwind", 123_456, key=f"r{number}", model="gpt-5-mini", session="Lina · Web chat")
        suite.disputes.open("northwind", f"r{number}", note="The reply was in the wrong language, and came twice", by=SYSTEM)
    answered = suite.disputes.list("northwind").items[0]
    suite.disputes.answer("northwind", answered.id, answer="It is the language of the question", by=SYSTEM)
    meter.create_organization("harbour", name="Harbour Lights")
    person = people.find("mei@example.com")
    assert person is not None
    people.add_member("harbour", person.id, "organization_admin")
    made = suite.codes.create("1M", 200, valid_days=90, note="Spring fair", by=SYSTEM)
    suite.codes.redeem("harbour", made.codes[0], by=SYSTEM)
    suite.reconciliations.compare(io.BytesIO(EXPORT.encode()), name="January.csv", by=SYSTEM)
    meter.debit("northwind", 8_765, key="req_of_lina", model="gpt-5-mini")
    suite.outlooks.refresh()
    return suite


@pytest.mark.parametrize(("theme", "language"), [("light", "en-GB"), ("dark", "zh-CN")])
def test_every_page_is_within_reach(open_page: OpenPage, suite: Suite, theme: str, language: str) -> None:
    ada = open_page("ada@example.com", color_scheme=theme, locale=language)
    mei = open_page(color_scheme=theme, locale=language)
    (going, *_) = suite.schedules.list(going=True).items[::-1]
    visits = {
        "grants": "/admin/grants?schedules=all",
        "schedule": "/admin/grants/schedule?organization=northwind",
        "schedule-change": f"/o/northwind/schedules/{going.id}/change",
        "schedule-end": f"/o/northwind/schedules/{going.id}/end",
    }
    visits["disputes-of-all"] = "/admin/disputes?show=all"
    visits["dispute-refund"] = f"/o/northwind/disputes/{suite.disputes.list(statuses=OPEN).items[0].id}/refund"
    visits["admin-by-stop"] = "/admin"
    visits["codes"] = "/admin/codes"
    visits["codes-new"] = "/admin/codes/new"
    visits["codes-batch"] = f"/admin/codes/{suite.codes.list().items[0].id}"
    visits["reconciliations"] = "/admin/reconciliation"
    visits["reconciliation"] = f"/admin/reconciliation/{suite.reconciliations.page().items[0].id}"
    own = {
        "usage-by-session": "/o/northwind/usage?by=session&range=7d",
        "pack-note": "/o/northwind/packs/PK-1",
        "packs-low": "/o/harbour",
        "emergency": "/o/harbour/emergency",
        "disputes": "/o/northwind/disputes?show=all",
        "dispute": "/o/northwind/dispute?request=req_of_lina",
        "receipt-disputed": "/o/northwind/request?id=r0",
    }
    wrong: list[str] = []
    for page, name, path in [(ada, *each) for each in visits.items()] + [(mei, *each) for each in own.items()]:
        page.goto(path)
        for width in (320, 768, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 800})
            wrong += check(page, f"{name} {width}") if width in (320, 1280) else sideways(page, f"{name} {width}")
            look(page, f"{name}-{width}", theme, language)
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


def test_a_line_is_disputed_from_the_ledger_and_given_back_by_the_platform(open_page: OpenPage, suite: Suite) -> None:
    mei = open_page(expects="status of 4")
    mei.goto("/o/northwind/ledger?find=req_of_lina")
    mei.locator("a.disc").first.click()
    mei.locator("tr.receipt").get_by_role("link", name="Dispute", exact=True).click()
    dialog = mei.get_by_role("dialog")
    dialog.get_by_role("button", name="Dispute it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Say what is wrong with it.")
    dialog.locator("#note").fill("Nobody asked for this")
    dialog.get_by_role("button", name="Dispute it").click()
    expect(mei.locator("tr[data-dispute]").first).to_contain_text("Nobody asked for this")
    ada = open_page("ada@example.com")
    ada.goto("/admin/disputes")
    ada.locator("tr[data-dispute]").first.get_by_role("link", name="Refund").click()
    dialog = ada.get_by_role("dialog")
    expect(dialog.locator("#preview")).to_contain_text("27,153,088")
    dialog.get_by_role("button", name="Refund 8,765").click()
    expect(ada.locator(".said")).to_contain_text("8,765 tokens were given back.")
    mei.goto("/o/northwind/request?id=req_of_lina")
    expect(mei.locator("[data-dispute]")).to_contain_text("Refunded")
    assert mei.goto("/admin/disputes").status == 404  # type: ignore[union-attr]


def test_an_export_is_uploaded_and_compared(open_page: OpenPage, suite: Suite) -> None:
    page = open_page("ada@example.com", expects="status of 422")
    page.goto("/admin/reconciliation")
    page.locator("#file").set_input_files({"name": "broken.csv", "mimeType": "text/csv", "buffer": b"hello"})
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be compared")
    expect(page.locator("#file")).to_be_focused()
    export = EXPORT.replace("100000", "123456")
    page.locator("#file").set_input_files({"name": "usage.csv", "mimeType": "text/csv", "buffer": export.encode()})
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("h1")).to_have_text("usage.csv")
    expect(page.locator("#unmatched")).to_have_text("1")
    page.get_by_role("link", name="Day", exact=True).click()
    expect(page.locator("tr[data-drift]").first).to_contain_text("2027-01-30")
    assert len(suite.reconciliations.page().items) == 2


def test_codes_are_made_downloaded_once_and_redeemed(open_page: OpenPage, suite: Suite) -> None:
    page = open_page("ada@example.com")
    page.goto("/admin/codes")
    page.get_by_role("link", name="New codes").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("#count").fill("2")
    expect(dialog.locator("#preview")).to_contain_text("2,000,000")
    dialog.get_by_role("button", name="Make 2 codes").click()
    expect(dialog.locator("#dialog-h")).to_have_text("2 codes were made")
    assert check(page, "codes that were made") == []
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Download CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert (len(lines), lines[1].split(",")[0] in dialog.locator("#codes").input_value()) == (3, True)
    mei = open_page()
    mei.goto("/o/northwind")
    mei.get_by_role("link", name="Redeem a code").click()
    mei.locator("#code").fill(lines[1].split(",")[0].lower())
    mei.get_by_role("dialog").get_by_role("button", name="Redeem").click()
    expect(mei.locator(".said")).to_contain_text("Code redeemed: 1,000,000 tokens.")
    dialog.get_by_role("link", name="Done").click()
    expect(page.locator("tr[data-code]")).to_contain_text("Mei Lin")
    assert lines[1].split(",")[0] not in page.content()


def test_emergency_tokens_are_taken_with_a_look_before(open_page: OpenPage, suite: Suite) -> None:
    page = open_page(expects="status of 422")
    page.goto("/o/harbour")
    page.get_by_role("link", name="Emergency tokens").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("#amount").fill("600k")
    dialog.locator("#send").click()
    expect(dialog.get_by_role("alert")).to_contain_text("more than the platform allows")
    dialog.locator("#amount").fill("400k")
    expect(dialog.locator("#preview")).to_contain_text("1,400,000")
    expect(dialog.locator("#until")).to_have_text("400,000")
    dialog.locator("#send").click()
    expect(page.locator(".said")).to_contain_text("400,000 emergency tokens were taken")
    expect(page.locator("#balance")).to_have_text("1,400,000")
    expect(page.get_by_role("link", name="Emergency tokens")).to_have_count(0)
