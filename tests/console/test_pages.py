"""The pages: real numbers, lists that page, and nothing of what others wrote taken for markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

import pytest

from tests.console.browsing import Browser, Page
from tests.doubles import FrozenClock
from tokenwell.console.listing import PACKS_A_PAGE
from tokenwell.console.pages import LINES_A_PAGE
from tokenwell.core.health import State
from tokenwell.core.packs import PackStatus
from tokenwell.core.usage import Usage
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter

OpenBrowser = Callable[..., Browser]
HOSTILE = "<script>alert(1)</script>\"'&lt;<img src=x onerror=alert(1)>"


def balance_on(page: Page) -> str:
    match = re.search(r'<strong id="balance" class="num">([^<]*)</strong>', page.html)
    assert match
    return match[1]


def older_of(page: Page, focus: str) -> str | None:
    links = [link["href"] for link in page.all("a", rel="next") if link["data-swap"] == focus]
    return links[0].replace("&amp;", "&") if links else None


def test_an_organization_without_packs_is_told_what_will_happen(mei: Browser) -> None:
    page = mei.page("/o/acme")
    assert balance_on(page) == "0"
    for words in ("AI has not started yet", "AI stopped", "No resource packs yet", "No usage yet"):
        assert words in page.text
    assert "Next expiry" not in page.text


def test_the_balance_is_the_meters_with_what_is_held_and_available(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 20_000, expires_at=clock.now + timedelta(days=8, hours=1), note="Annual plan")
    meter.grant("acme", 3_000)
    meter.debit("acme", 1_234, prompt_tokens=1_000, completion_tokens=234)
    meter.open_hold("acme", 500)
    balance, page = meter.balance("acme"), mei.page("/o/acme")
    assert balance_on(page) == f"{balance.balance_tokens:,}" == "21,766"
    assert "of 23,000 tokens" in page.text
    assert "2 active packs" in page.text
    assert "500 held for replies in progress" in page.text
    assert f"Available {balance.available_tokens:,}" in page.text
    assert "in 8 days · 18,766 tokens" in page.text
    assert "Today 1,234 1 request" in page.text
    assert page.having("data-pack") == ["PK-1", "PK-2"]
    assert "In use now" in page.text


@pytest.mark.parametrize(
    ("left", "state", "badge", "line"),
    [
        (5_000, State.NORMAL, "Normal", "1 active pack"),
        (4_999, State.RUNNING_LOW, "Running low", "Ask your platform admin to top up before it runs out."),
        (1_000, State.RUNNING_LOW, "Running low", "Ask your platform admin to top up before it runs out."),
        (999, State.AI_STOPPED, "AI stopped", "All AI services are paused until a new pack is granted."),
    ],
)
def test_the_state_is_told_in_words(mei: Browser, meter: Meter, left: int, state: State, badge: str, line: str) -> None:
    meter.grant("acme", 10_000)
    meter.debit("acme", 10_000 - left, already_used=True)
    page = mei.page("/o/acme")
    assert meter.balance("acme").state is state
    assert badge in page.text
    assert line in page.text


def test_a_grant_resumes_and_overage_is_told_until_it_is_repaid(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 100)
    meter.debit("acme", 350, already_used=True)
    page = mei.page("/o/acme")
    assert "AI is stopped" in page.text
    assert "250 tokens are owed: used beyond the balance, or taken in an emergency." in page.text
    assert "+250 beyond the balance" in page.text
    meter.grant("acme", 9_000)
    page = mei.page("/o/acme")
    assert balance_on(page) == "8,750"
    assert "AI is stopped" not in page.text
    assert "were used beyond" not in page.text


def test_a_pack_stops_counting_at_its_expiry_with_no_job_run(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 9_000, expires_at=clock.now + timedelta(hours=1))
    clock.advance(timedelta(minutes=59, seconds=59))
    assert balance_on(mei.page("/o/acme")) == "9,000"
    clock.advance(timedelta(seconds=1))
    page = mei.page("/o/acme")
    assert balance_on(page) == "0"
    assert "Expired" in page.text
    assert "lapsed" in page.text


def grant_one_of_each(meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 500, expires_at=clock.now + timedelta(seconds=1), note="one")
    clock.advance(timedelta(seconds=2))
    meter.grant("acme", 700, note="two")
    meter.debit("acme", 700, already_used=True)
    meter.revoke("acme", meter.grant("acme", 900, note="three").pack.id)
    meter.grant("acme", 20_000, note="four")


@pytest.mark.parametrize(
    ("status", "packs"),
    [
        ("", ["PK-4", "PK-3", "PK-2", "PK-1"]),
        ("all", ["PK-4", "PK-3", "PK-2", "PK-1"]),
        ("active", ["PK-4"]),
        ("depleted", ["PK-2"]),
        ("expired", ["PK-1"]),
        ("revoked", ["PK-3"]),
    ],
)
def test_packs_are_filtered_by_status_with_counts(
    mei: Browser, meter: Meter, clock: FrozenClock, status: str, packs: list[str]
) -> None:
    grant_one_of_each(meter, clock)
    page = mei.page(f"/o/acme?packs={status}" if status else "/o/acme")
    assert page.having("data-pack") == packs
    tabs = re.findall(r'id="packs-(\w+)"[^>]*?( aria-current="true")?>\s*(\w+) <span class="n num">(\d+)</span>', page.html)
    assert [(tab[0], tab[2], tab[3]) for tab in tabs] == [
        ("all", "All", "4"),
        ("active", "Active", "1"),
        ("depleted", "Depleted", "1"),
        ("expired", "Expired", "1"),
        ("revoked", "Revoked", "1"),
    ]
    assert [tab[0] for tab in tabs if tab[1]] == [status or "all"]


def test_a_status_without_packs_says_so(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 500)
    assert "No packs have this status" in mei.page("/o/acme?packs=revoked").text


def test_many_packs_are_paged_the_active_ones_first_to_see(mei: Browser, meter: Meter) -> None:
    total = PACKS_A_PAGE + 3
    for number in range(total):
        meter.grant("acme", 1_000, note=f"note {number}")
    meter.revoke("acme", "PK-1")
    page = mei.page("/o/acme")
    assert page.all("a", id="packs-active", aria_current="true")
    assert len(page.having("data-pack")) == PACKS_A_PAGE
    seen, path = [], "/o/acme?packs=all"
    while path:
        page = mei.page(path)
        seen += page.having("data-pack")
        older = older_of(page, "packs-h")
        path = f"/o/acme{older}" if older else ""
    assert seen == [f"PK-{number}" for number in range(total, 0, -1)]
    assert balance_on(page) == f"{(total - 1) * 1_000:,}"


def test_many_active_packs_are_read_in_the_order_they_are_used(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    total = 2 * PACKS_A_PAGE + 3
    for number in range(total):
        meter.grant("acme", 100 + number, expires_at=clock.now + timedelta(days=3 + (7 * number) % total))
    meter.grant("acme", 50, expires_at=clock.now + timedelta(days=3))
    page = mei.page("/o/acme")
    assert "Next expiry" in page.text
    assert "150 tokens" in page.text  # PK-1 and the last one expire together
    assert page.text.count("In use now") == 1
    assert len(page.having("data-pack")) == PACKS_A_PAGE
    seen, path = [], "/o/acme"
    while path:
        page = mei.page(path)
        seen += page.having("data-pack")
        older = older_of(page, "packs-h")
        path = f"/o/acme{older}" if older else ""
    packs = [line.pack for line in meter.packs("acme", limit=1_000).items]
    assert seen == [f"PK-{pack.number}" for pack in sorted(packs, key=lambda pack: pack.burn_order())]
    assert seen[0] == "PK-1"
    assert mei.get("/o/acme?packs_after=999").status_code == 400


def test_the_ledger_pages_to_its_end_with_every_line_once(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 10_000_000)
    lines = 2 * LINES_A_PAGE + 1
    for number in range(lines):
        meter.debit("acme", 10 + number)
    seen, pages, path = [], 0, "/o/acme"
    while path:
        page = mei.page(path)
        seen += page.having("data-seq")
        pages += 1
        if pages == 1:
            meter.debit("acme", 99_999)  # what is written while somebody reads moves no page
        older = older_of(page, "ledger-h")
        path = f"/o/acme{older}" if older else ""
    assert pages == 3
    assert seen == [str(seq) for seq in range(lines + 1, 1, -1)]
    amounts = re.findall(r'<span class="strong">(−[\d,]+)</span></td>', mei.page("/o/acme").html)
    assert amounts[:2] == ["−99,999", f"−{10 + lines - 1}"]


def test_a_page_past_the_end_says_so(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 1_000)
    meter.debit("acme", 10, already_used=True)
    assert "No older deductions" in mei.page("/o/acme?before=1").text


def test_each_list_keeps_its_place_while_the_other_turns(mei: Browser, meter: Meter) -> None:
    for _ in range(PACKS_A_PAGE + 1):
        meter.grant("acme", 1_000_000)
    for _ in range(LINES_A_PAGE + 1):
        meter.debit("acme", 1)
    first = mei.page("/o/acme?packs=all")
    ledger = older_of(first, "ledger-h")
    assert ledger is not None
    assert "packs=all" in ledger
    second = mei.page(f"/o/acme{ledger}")
    packs = older_of(second, "packs-h")
    assert packs is not None
    third = mei.page(f"/o/acme{packs}")
    assert third.having("data-seq") == second.having("data-seq")
    assert third.having("data-pack") == ["PK-1"]


def test_a_line_shows_what_the_request_was(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 10_000)
    meter.debit(
        "acme",
        usage=Usage(input_tokens=200, output_tokens=50),
        model="qwen3-max",
        session="Lina · WhatsApp",
        reason="AI reply",
        estimated=True,
        key="req-7",
    )
    meter.refund("acme", "req-7", 100, key="refund-7")
    text = mei.page("/o/acme").text
    assert "−250 200 / 50 qwen3-max Lina · WhatsApp AI reply · qwen3-max PK-1" in text
    assert "estimated −250" in text
    assert "refund +100 – qwen3-max Lina · WhatsApp" in text


def test_parts_of_a_request_lead_to_the_whole(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 6_000, expires_at=clock.now + timedelta(days=1))
    meter.grant("acme", 6_000)
    key = "a/b?c=d&e #f"
    meter.debit("acme", prompt_tokens=6_000, completion_tokens=500, key=key)
    page = mei.page("/o/acme")
    assert "1 of 2" in page.text
    assert "2 of 2" in page.text
    links = {link["href"] for link in page.all("a", class_="tag tag-quiet num")}
    assert links == {f"/o/acme/request?id={quote(key, safe='')}"}
    receipt = mei.page(links.pop())
    assert "Charged 6,500" in receipt.text
    assert "Balance 12,000 → 5,500" in receipt.text
    assert "6,000 prompt + 500 completion = 6,500" in receipt.text
    assert "1 of 2 Debit PK-1 −6,000 6,000 / 0 0" in receipt.text
    assert "2 of 2 Debit PK-2 −500 0 / 500 5,500" in receipt.text
    assert key in receipt.text


def test_the_receipt_of_a_refund_leads_back_to_its_request(mei: Browser, meter: Meter) -> None:
    pack = meter.grant("acme", 9_000).pack
    meter.debit("acme", 300, key="req-1")
    meter.revoke("acme", pack.id)
    meter.refund("acme", "req-1", key="refund-1", note="Wrong language")
    receipt = mei.page("/o/acme/request?id=refund-1")
    assert "Given back 300" in receipt.text
    assert "Forfeited again: the pack no longer counts" in receipt.text
    assert "Wrong language" in receipt.text
    assert receipt.all("a", href="/o/acme/request?id=req-1")


def test_a_fragment_is_the_part_of_the_page_that_changes(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    meter.debit("acme", 300, key="req-1")
    whole, part = mei.get("/o/acme").text, mei.get("/o/acme", headers={"hx-request": "1"}).text
    assert part.strip() in whole
    assert "<html" not in part
    receipt = mei.get("/o/acme/request?id=req-1", headers={"hx-request": "1"}).text
    assert "<main" not in receipt
    assert "Taken from PK-1 · 8,700 left" in Page(receipt).text
    assert Page(receipt).all("a", href="/o/acme/request?id=req-1")
    assert "Taken from PK-1 · 8,700 left" in mei.page("/o/acme/request?id=req-1").text


def test_what_others_wrote_is_never_markup(open_browser: OpenBrowser, meter: Meter, people: People) -> None:
    meter.create_organization("evil", name=HOSTILE)
    person = people.create_person(email="<img/src=x>@example.com", password=Browser.PASSWORD, name=HOSTILE)
    people.add_member("evil", person.id, "viewer")
    people.add_member("acme", person.id, "viewer")
    meter.grant("evil", 9_000, note=HOSTILE)
    meter.debit("evil", 300, model=HOSTILE, session=HOSTILE, reason=HOSTILE, service_id=HOSTILE, note=HOSTILE, key=HOSTILE)
    browser = open_browser("<img/src=x>@example.com")
    for path in ("/o/evil", f"/o/evil/request?id={quote(HOSTILE, safe='')}", "/o/acme"):
        page = browser.page(path)
        assert HOSTILE in page.text
        assert_nothing_inline(page)
    failed = open_browser().sign_in(f'"><script>{HOSTILE}', "x")
    assert_nothing_inline(Page(failed.text))


def assert_nothing_inline(page: Page) -> None:
    for tag, attributes in page.elements:
        assert not any(name == "style" or name.startswith("on") for name in attributes), (tag, attributes)
        assert tag not in ("style", "base", "object", "embed", "iframe")
        assert tag != "script" or attributes.get("src", "").startswith("/static/")
        for name in ("href", "src", "action"):
            assert not attributes.get(name, "").lower().startswith(("javascript:", "data:", "http:", "https:", "//"))
    assert page.all("script") == [each for each in page.all("script") if "src" in each]


def test_pages_hold_no_inline_style_or_script(open_browser: OpenBrowser, mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    meter.debit("acme", 300)
    ada = open_browser("ada@example.com")
    for page in (mei.page("/o/acme"), ada.page("/admin"), open_browser().page("/sign-in"), mei.page("/x", 404)):
        assert_nothing_inline(page)


def test_identifiers_on_a_page_are_unique(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    for _ in range(3):
        meter.debit("acme", 300)
    found = mei.page("/o/acme").having("id")
    assert len(found) == len(set(found))


def test_days_are_cut_in_the_viewers_zone_and_the_page_says_which(
    open_browser: OpenBrowser, meter: Meter, clock: FrozenClock
) -> None:
    meter.grant("acme", 90_000)
    clock.now = clock.now.replace(hour=15, minute=0)
    meter.debit("acme", 100)
    clock.now = clock.now.replace(hour=17, minute=0)
    meter.debit("acme", 20)
    mei = open_browser("mei@example.com")
    utc = mei.page("/o/acme")
    assert "days in UTC" in utc.text
    assert "Today 120 2 requests" in utc.text
    mei.client.cookies.set("tokenwell_zone", "Asia/Shanghai")
    shanghai = mei.page("/o/acme")
    assert "days in Asia/Shanghai (UTC+8)" in shanghai.text
    assert "Today 20 1 request" in shanghai.text
    assert "Last 7 days 120 2 requests" in shanghai.text
    assert "1 Feb, 01:00:00" in shanghai.text
    mei.client.cookies.set("tokenwell_zone", "../../etc/passwd")
    assert "days in UTC" in mei.page("/o/acme").text


def test_people_of_several_organizations_can_switch(open_browser: OpenBrowser) -> None:
    vic = open_browser("vic@example.com").page("/o/acme")
    assert vic.all("a", href="/o/beta")
    assert "Beta & Sons" in vic.text
    assert not vic.all("a", href="/admin")
    assert not open_browser("mei@example.com").page("/o/acme").all("summary", class_="ws")


def test_a_former_member_sees_nothing_from_the_next_view_on(mei: Browser, people: People) -> None:
    person = people.find("mei@example.com")
    assert person is not None
    people.remove_member("acme", person.id)
    assert mei.get("/o/acme").status_code == 404


def test_a_platform_administrator_sees_every_organization_a_page_at_a_time(open_browser: OpenBrowser, meter: Meter) -> None:
    for number in range(30):
        meter.create_organization(f"org-{number:02}", name=f"Organization {number}")
    meter.grant("beta", 7_000)
    ada = open_browser("ada@example.com")
    first = ada.page("/admin")
    older = older_of(first, "organizations-h")
    assert older is not None
    second = ada.page(older)
    assert "Beta & Sons beta Normal 7,000" in second.text
    listed = [name for page in (first, second) for name in page.having("data-organization")]
    assert listed == ["acme", *(f"org-{number:02}" for number in range(30)), "beta"]
    assert ada.page("/o/beta").all("a", href="/admin")


def test_a_single_organization_is_where_its_platform_administrator_begins(
    open_browser: OpenBrowser, meter: Meter, people: People
) -> None:
    with meter.engine.begin() as connection:
        for table in ("membership", "account", "organization"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE organization_id = 'beta'")
    assert open_browser("ada@example.com").get("/").headers["location"] == "/o/acme"


def test_status_words_cover_every_status() -> None:
    assert {status.value for status in PackStatus} == {"active", "depleted", "expired", "revoked"}
