"""What is done in the console, by each role, in Chromium, on both databases: seen before, done once, and told afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tokenwell.core.happenings import SYSTEM
from tokenwell.core.health import State
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

OpenPage = Callable[..., Page]
ADA, VIC = "ada@example.com", "vic@example.com"

pytestmark = pytest.mark.parametrize("meter", ["sqlite", "postgres"], indirect=True)


def dialog_of(page: Page, path: str) -> None:
    """Open the form of an address in front of its page."""
    page.locator(f'a[data-dialog][href^="{path}"]').first.click()
    page.locator("dialog[open] form").wait_for()


def test_the_platform_grants_extends_refunds_and_revokes(open_page: OpenPage, meter: Meter) -> None:
    page = open_page(ADA, expects="status of 422")
    page.goto("/o/northwind")
    dialog_of(page, "/o/northwind/grant")
    page.locator("#amount").fill("9M")
    expect(page.locator("#preview .badge").last).to_have_text("Normal")
    page.locator("#send").click()
    expect(page.locator(".said")).to_contain_text("9,000,000 tokens granted")
    meter.debit("northwind", 700_000, key="wrong-answer", model="gpt-5-mini")

    page.goto("/o/northwind/packs/PK-1")
    dialog_of(page, "/o/northwind/packs/PK-1/extend")
    page.get_by_text("Never").click()
    page.locator("#send").click()
    expect(page.locator(".said")).to_have_text("PK-1 was extended.")
    assert meter.packs("northwind").items[0].pack.expires_at is None

    page.goto("/o/northwind/ledger")
    page.locator("a.disc").first.click()
    page.locator("tr.receipt").wait_for()
    dialog_of(page, "/o/northwind/refund")
    page.locator("#note").fill("Wrong answer")
    page.locator("#send").click()
    expect(page.locator(".said")).to_have_text("700,000 tokens were given back.")
    assert meter.balance("northwind").balance_tokens == 9_000_000

    page.goto("/o/northwind/packs/PK-1")
    dialog_of(page, "/o/northwind/packs/PK-1/revoke")
    page.locator("#note").fill("By mistake")
    page.locator("#send").click()
    expect(page.locator("dialog[open]").get_by_role("alert")).to_contain_text("Type the name of the organization")
    page.locator("#confirm").fill("Northwind Support")
    page.locator("#send").click()
    expect(page.locator(".said")).to_have_text("PK-1 was revoked.")
    assert meter.balance("northwind").state is State.AI_STOPPED


def test_the_platform_sets_thresholds_with_a_look_at_the_state(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 9_000_000)
    page = open_page(ADA)
    page.goto("/o/northwind")
    dialog_of(page, "/o/northwind/thresholds")
    page.locator("#warning").fill("10M")
    expect(page.locator("#preview .badge").last).to_have_text("Running low")
    page.locator("#send").click()
    expect(page.locator(".said")).to_have_text("The thresholds were set.")
    expect(page.locator(".hero .badge")).to_have_text("Running low")
    assert meter.balance("northwind").warning_tokens == 10_000_000


def test_a_top_up_is_asked_for_declined_asked_again_and_approved(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 2_000_000)
    mei, ada = open_page(expects="status of 422"), open_page(ADA)
    for amount in ("4M", "6M"):
        mei.goto("/o/northwind")
        dialog_of(mei, "/o/northwind/topup")
        mei.locator("#amount").fill("many")
        mei.locator("#send").click()
        expect(mei.locator("dialog[open]").get_by_role("alert")).to_contain_text("not a whole number of tokens")
        mei.locator("#amount").fill(amount)
        mei.locator("#send").click()
        expect(mei.locator(".said")).to_contain_text("tokens were requested")
        ada.goto("/admin/requests")
        if amount == "4M":
            ada.get_by_role("link", name=re.compile("Decline")).first.click()
            ada.locator("dialog[open] #note").fill("Next month")
            ada.locator("#send").click()
            expect(ada.locator(".said")).to_contain_text("was declined")
            mei.goto("/o/northwind")
            expect(mei.locator("#main")).to_contain_text("Next month")
    ada.get_by_role("link", name=re.compile("Approve")).first.click()
    expect(ada.locator("dialog[open] #amount")).to_have_value(re.compile("6.?000.?000|6M"))
    ada.locator("#send").click()
    expect(ada.locator(".said")).to_contain_text("6,000,000")
    assert meter.balance("northwind").balance_tokens == 8_000_000
    mei.goto("/o/northwind")
    expect(mei.locator("#balance")).to_have_text("8,000,000")


def test_an_administrator_manages_services_keys_and_members(open_page: OpenPage, meter: Meter, people: People) -> None:
    meter.grant("northwind", 9_000_000)
    page = open_page()
    page.goto("/o/northwind/services")
    dialog_of(page, "/o/northwind/services/new")
    page.get_by_label("Name").fill("Knowledge base")
    page.get_by_role("button", name="Create service").click()
    expect(page.locator(".said")).to_contain_text("Knowledge base was created")
    dialog_of(page, "/o/northwind/keys/new")
    page.locator("dialog[open]").get_by_label("Name").fill("Staging")
    page.get_by_role("button", name="Issue key").click()
    expect(page.locator("dialog[open]").get_by_label("Secret")).to_have_value(re.compile("^tw_live_"))
    page.get_by_role("link", name="Done").click()
    page.get_by_role("link", name=re.compile("Disable")).first.click()
    page.locator("dialog[open]").get_by_role("button", name="Disable").click()
    expect(page.locator(".said")).to_contain_text("is disabled")
    page.goto("/o/northwind/members")
    vic = people.find(VIC)
    assert vic is not None
    dialog_of(page, f"/o/northwind/members/{vic.id}/remove")
    page.locator("dialog[open]").get_by_role("button", name="Remove").click()
    expect(page.locator(".said")).to_contain_text("was removed")
    assert not people.may_read(vic, "northwind")


def test_a_viewer_sees_no_button_and_is_refused_the_form(open_page: OpenPage, meter: Meter, people: People) -> None:
    suite = Suite(meter, people=people)
    meter.grant("northwind", 2_000_000)
    meter.debit("northwind", 500, key="asked")
    suite.keys.create("northwind", name="Key", service_id=suite.services.create("northwind", name="Bot").service.id)
    suite.topups.ask("northwind", 5_000_000, by=SYSTEM)
    page = open_page(VIC, expects="status of 403")
    pages = ("", "/packs/PK-1", "/ledger", "/request?id=asked", "/services", "/members", "/usage", "/proof", "/disputes")
    for path in pages:
        page.goto(f"/o/northwind{path}")
        assert page.locator("a[data-dialog]").count() == 0, path
        asked = page.locator("form[method=post]").evaluate_all("forms => forms.map(form => form.getAttribute('action'))")
        assert set(asked) <= {"/sign-out", "/language", "/o/northwind/bell"}, (path, asked)
    token = page.locator('form[action="/sign-out"] input[name=csrf_token]').first.input_value()
    for path in ("/grant", "/packs/PK-1/revoke", "/topup", "/services/new", "/members/invite", "/thresholds"):
        status = page.evaluate(
            """async ([path, token]) => (await fetch(path, {method: 'POST', headers: {'Content-Type':
            'application/x-www-form-urlencoded'}, body: new URLSearchParams({csrf_token: token, amount: '5M'})})).status""",
            [f"/o/northwind{path}", token],
        )
        assert status == 403, path
    assert meter.balance("northwind").balance_tokens == 1_999_500
