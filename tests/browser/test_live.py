"""Live pages in Chromium: numbers change in place, rows are offered, a lost connection says so and comes back."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tokenwell.service.meter import Meter

OpenPage = Callable[..., Page]


def test_balance_and_rows_arrive_without_moving_the_page(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 20_000_000)
    meter.debit("northwind", 1_000)
    page = open_page()
    expect(page.locator("#live-word")).to_have_text("Live")
    place = page.locator("#packs-h").bounding_box()
    for _ in range(2):
        meter.debit("northwind", 500)
    expect(page.locator("#balance")).to_have_text("19,998,000")
    expect(page.locator("#new-rows")).to_contain_text("2 new rows.")
    assert page.locator("tr[data-seq]").count() == 1
    assert page.locator("#packs-h").bounding_box() == place
    page.locator("#new-rows a").click()
    expect(page.locator("tr[data-seq]")).to_have_count(3)
    expect(page.locator("#new-rows")).to_be_hidden()
    meter.debit("northwind", 500)
    expect(page.locator("#new-rows")).to_contain_text("1 new row.")


SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => { for (const each of list.getEntries()) window.shifted += each.value; })
  .observe({ type: "layout-shift", buffered: true });
"""


def test_nothing_jumps_while_news_arrive(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 20_000_000)
    meter.debit("northwind", 1_000)
    page = open_page()
    page.add_init_script(SHIFTS)
    page.reload()
    expect(page.locator("#live-word")).to_have_text("Live")
    before = page.evaluate("window.shifted")
    for number in range(3):
        meter.debit("northwind", 500)
        expect(page.locator("#balance")).to_have_text(f"{19_998_500 - 500 * number:,}")
    expect(page.locator("#new-rows")).to_contain_text("3 new rows.")
    assert page.evaluate("window.shifted") == before


def test_a_new_state_is_shown_and_told_once(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 6_000_000)
    page = open_page()
    expect(page.locator(".hero .badge")).to_have_text("Normal")
    expect(page.locator("#live-word")).to_have_text("Live")
    meter.debit("northwind", 5_500_000, already_used=True)
    expect(page.get_by_role("heading", name="AI is stopped")).to_be_visible()
    expect(page.locator("#announce")).to_have_text("AI is stopped.")
    expect(page.locator(".hero .badge")).to_have_text("AI stopped")
    meter.grant("northwind", 9_000_000)
    expect(page.locator(".hero .badge")).to_have_text("Normal")
    expect(page.locator(".banner")).to_have_count(0)


def test_a_lost_connection_says_so_and_comes_back(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 20_000_000)
    page = open_page(expects="ERR_")
    expect(page.locator("#live-word")).to_have_text("Live")
    meter.debit("northwind", 1_000)
    expect(page.locator("#balance")).to_have_text("19,999,000")
    page.context.set_offline(True)
    expect(page.locator("#live-word")).to_have_text(re.compile(r"^Not live\. Last updated \d\d:\d\d\.$"))
    meter.debit("northwind", 1_000)
    page.context.set_offline(False)
    expect(page.locator("#live-word")).to_have_text("Live", timeout=20_000)
    expect(page.locator("#balance")).to_have_text("19,998,000")


def test_while_there_is_no_stream_it_asks_after_half_a_minute_and_then_every_quarter(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 20_000_000)
    # A clock that is wound forward lets a request time out that is under way.
    page = open_page(expects=("ERR_", "htmx:error: timeout"))
    page.clock.install()
    page.goto("/o/northwind")
    meter.debit("northwind", 1_000)
    expect(page.locator("#balance")).to_have_text("19,999,000")  # the stream is there
    page.route("**/live?*", lambda route: route.abort())
    page.context.set_offline(True)
    expect(page.locator("#live-word")).to_have_text(re.compile("^Not live"))
    with page.expect_request("**/top"):  # the network is back: it asks at once, and the stream stays away
        page.context.set_offline(False)
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if request.url.endswith("/top") else None)
    meter.debit("northwind", 1_000)
    page.clock.fast_forward(32_000)
    expect(page.locator("#balance")).to_have_text("19,998,000")
    meter.debit("northwind", 1_000)
    page.clock.fast_forward(16_000)
    expect(page.locator("#balance")).to_have_text("19,997,000")
    expect(page.locator("#live-word")).to_have_text(re.compile("^Not live"))
    assert len(polls) == 2
    page.unroute("**/live?*")
    page.clock.fast_forward(16_000)
    expect(page.locator("#live-word")).to_have_text("Live")


def test_the_ledger_offers_new_rows_too(open_page: OpenPage, meter: Meter) -> None:
    meter.grant("northwind", 20_000_000)
    meter.debit("northwind", 1_000)
    page = open_page()
    page.goto("/o/northwind/ledger")
    expect(page.locator("#live-word")).to_have_text("Live")
    meter.debit("northwind", 2_000)
    expect(page.locator("#new-rows")).to_contain_text("1 new row.")
    page.locator("#new-rows a").click()
    expect(page.locator("tr[data-seq]")).to_have_count(2)
    expect(page.locator("#sum")).to_contain_text("−3,000 tokens in 2 lines")
