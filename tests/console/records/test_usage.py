"""Ledger, usage and sessions: every page and the export tell the same sums, in whatever zone the days are cut."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tests.console.browsing import Browser, Page
from tests.doubles import FrozenClock
from tokenwell.service.meter import Meter

OpenBrowser = Callable[..., Browser]


def use_over(meter: Meter, clock: FrozenClock, *, begin: datetime, hours: int) -> int:
    """Use some tokens in most hours from `begin` on, over several models and sessions; returns how many."""
    clock.now = begin - timedelta(hours=1)
    meter.grant("acme", 10_000_000)
    used = 0
    for hour in range(hours):
        clock.now = begin + timedelta(hours=hour, minutes=(hour * 7) % 60)
        if hour % 5:
            tokens = 100 + hour
            meter.debit(
                "acme",
                tokens,
                model=f"model-{hour % 6}",
                session=f"Visitor {hour % 4}",
                reason="AI reply" if hour % 2 else "Summary",
                key=f"req-{hour}",
                already_used=True,
            )
            used += tokens
    return used


def numbers_in(text: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]


def csv_of(browser: Browser, path: str) -> list[dict[str, str]]:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text[:500]
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def every_row(browser: Browser, path: str) -> int:
    """Walk the ledger to its end and return the sum of all its rows."""
    total = 0
    address: str | None = path
    while address:
        page = browser.page(address)
        cells = re.findall(r'<span class="strong(?: back)?">([−+])([\d,]+)</span>', page.html)
        total += sum(int(digits.replace(",", "")) * (1 if sign == "−" else -1) for sign, digits in cells)
        older = [link["href"] for link in page.all("a", rel="next")]
        address = older[0] if older else None
    return total


@pytest.mark.parametrize(
    ("zone", "begin"),
    [
        ("UTC", datetime(2027, 1, 20, 3, tzinfo=UTC)),
        ("Asia/Kathmandu", datetime(2027, 1, 20, 3, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2027, 3, 26, 3, tzinfo=UTC)),
        ("America/New_York", datetime(2027, 11, 4, 3, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2027, 4, 2, 3, tzinfo=UTC)),
    ],
)
def test_days_range_rows_and_export_have_one_sum(
    open_browser: OpenBrowser, meter: Meter, clock: FrozenClock, zone: str, begin: datetime
) -> None:
    used = use_over(meter, clock, begin=begin, hours=100)
    mei = open_browser("mei@example.com")
    mei.client.cookies.set("tokenwell_zone", zone)
    for query in ("range=7d", "range=today", f"from={begin:%Y-%m-%d}&to={begin + timedelta(days=2):%Y-%m-%d}"):
        days, hours = (mei.page(f"/o/acme/usage?{query}&width={width}") for width in ("day", "hour"))
        (total,) = numbers_in(re.search(r'id="usage-total">([^<]*)', days.html)[1])  # type: ignore[index]
        for page in (days, hours):
            chart = page.having("data-chart")
            drawn = msgspec.json.decode(chart[0])["used"] if chart else []
            assert sum(int(value) for series in drawn for value in series) == total, (query, page.text[-200:])
        ledger = mei.page(f"/o/acme/ledger?{query}")
        foot = re.search(r'id="sum">.*?<b>−([\d,]+)</b>.*?<b>([\d,]+)</b>', ledger.html, re.DOTALL)
        assert foot
        rows = csv_of(mei, f"/o/acme/ledger.csv?{query}")
        assert total == int(foot[1].replace(",", "")) == -sum(int(row["change_tokens"]) for row in rows)
        assert int(foot[2].replace(",", "")) == len(rows)
        assert total == every_row(mei, f"/o/acme/ledger?{query}")
        assert 0 < total <= used


def test_each_filter_narrows_page_sum_and_export_alike(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    use_over(meter, clock, begin=clock.now - timedelta(hours=60), hours=60)
    meter.refund("acme", "req-6", 50, key="refund-1")
    for query in (
        "model=model-1",
        "session=Visitor+2",
        "reason=Summary",
        "pack=PK-1",
        "pack=pk-1&model=model-2&reason=AI+reply",
        "kind=refund",
        "find=Visitor+1",
        "find=req-7",
        "model=none",
        "range=today",
    ):
        rows = csv_of(mei, f"/o/acme/ledger.csv?{query}")
        page = mei.page(f"/o/acme/ledger?{query}")
        shown = page.having("data-seq")
        assert shown == [row["line"] for row in rows][:50], query
        if rows:
            change = sum(int(row["change_tokens"]) for row in rows)
            assert f"Sum of this filter: {'−' if change < 0 else '+'}{abs(change):,} tokens in {len(rows):,} line" in page.text, (
                query
            )
        else:
            assert "No deductions match these filters" in page.text


def test_usage_is_told_apart_and_folded_without_losing_a_token(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    used = use_over(meter, clock, begin=clock.now - timedelta(hours=80), hours=80)
    for by, count in (("model", 6), ("reason", 2), ("service", 1), ("key", 1)):
        page = mei.page(f"/o/acme/usage?by={by}")
        assert len(page.having("data-series")) == count
        drawn = msgspec.json.decode(page.having("data-chart")[0])["used"]
        assert len(drawn) <= 4
        assert sum(int(value) for series in drawn for value in series) == used
    only = mei.page("/o/acme/usage?model=model-1&by=reason")
    expected = sum(100 + hour for hour in range(80) if hour % 5 and hour % 6 == 1)
    assert f"{expected:,}" in only.text


def test_sessions_have_the_sums_of_their_lines(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    use_over(meter, clock, begin=clock.now - timedelta(hours=40), hours=40)
    meter.debit("acme", 77, session="a/b?c", already_used=True)
    page = mei.page("/o/acme/sessions")
    assert set(page.having("data-session")) == {"a/b?c", *(f"Visitor {number}" for number in range(4))}
    for link in page.all("a", class_="strong rowlink"):
        session = mei.page(link["href"])
        (used,) = numbers_in(re.search(r'id="session-used">([^<]*)', session.html)[1])  # type: ignore[index]
        rows = csv_of(mei, session.all("a", download="")[0]["href"])
        assert used == sum(int(row["amount_tokens"]) for row in rows) > 0
    assert mei.get("/o/acme/sessions/nobody").status_code == 404


def test_what_others_wrote_is_no_formula(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    meter.debit("acme", 5, model="=cmd|' /C calc'!A0", session="@x", reason="+1", note="-2", key="=key")
    (row,) = csv_of(mei, "/o/acme/ledger.csv")
    assert [row[name] for name in ("model", "session", "reason", "note", "request")] == [
        "'=cmd|' /C calc'!A0",
        "'@x",
        "'+1",
        "'-2",
        "'=key",
    ]
    assert row["change_tokens"] == "-5"


@pytest.mark.parametrize(
    "path",
    [
        "ledger?range=king",
        "ledger?from=31.1.2027",
        "ledger?from=2027-02-01&to=2027-01-01",
        "ledger?kind=grant",
        "ledger?before=x",
        "ledger?model=" + "a" * 201,
        "ledger?find=%00",
        "ledger.csv?kind=king",
        "ledger/values?of=pack",
        "usage?width=week",
        "usage?by=pack",
        "usage?from=1971-01-01&to=2027-01-01",
        "usage?from=9999-01-01",
        "sessions?before=-1",
        "proof?part=king",
        "proof?part=used&after=x",
    ],
)
def test_nonsense_in_an_address_is_refused(mei: Browser, path: str) -> None:
    assert mei.get(f"/o/acme/{path}").status_code == 400


@pytest.mark.parametrize(
    "path", ["ledger", "ledger.csv", "usage", "sessions", "sessions/x", "proof", "packs/PK-1", "ledger?pack=PK-9"]
)
def test_another_organizations_pages_do_not_exist(mei: Browser, path: str) -> None:
    assert mei.get(f"/o/beta/{path}").status_code == 404


def test_a_filter_offers_the_values_used_of_late(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    use_over(meter, clock, begin=clock.now - timedelta(hours=20), hours=20)
    part = Page(mei.get("/o/acme/ledger/values?of=reason&model=model-1", headers={"hx-request": "true"}).text)
    assert {link["href"] for link in part.all("a")} == {
        "/o/acme/ledger?model=model-1&reason=AI+reply",
        "/o/acme/ledger?model=model-1&reason=Summary",
    }


def test_the_explorer_splits_by_session_and_a_session_opens_its_page(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 90_000)
    for number in range(3):
        meter.debit("acme", 100 * (number + 1), session=f"Lina/{number}", model="m")
    meter.debit("acme", 50)
    page = mei.page("/o/acme/usage?by=session&range=7d")
    assert page.having("data-series") == ["Lina/2", "Lina/1", "Lina/0", ""]
    assert "650" in page.text
    assert page.all("a", href="/o/acme/sessions/Lina%2F2")
    assert page.all("a", href="/o/acme/usage?range=7d&width=day&by=session", aria_current="true")
    assert "Only the latest" not in page.text
    narrowed = mei.page("/o/acme/usage?by=session&range=7d&model=m")
    assert narrowed.having("data-series") == ["Lina/2", "Lina/1", "Lina/0"]
