"""What the console shows is what the REST API says: packs, ledger, usage, sessions, proof, number by number, on both databases."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import argon2
import pytest
from starlette.testclient import TestClient

from tests.console.browsing import Browser, Page
from tests.doubles import FrozenClock
from tokenwell.api.app import create_api
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.health import Thresholds
from tokenwell.service.access.scopes import Scope
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

API = "/v1/organizations/acme"


class Both:
    """The console and the REST API of one organization with something of everything."""

    def __init__(self, url: str, clock: FrozenClock) -> None:
        self.meter = Meter(url, thresholds=Thresholds(5_000_000, 1_000_000), clock=clock)
        people = People(self.meter.engine, clock, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        self.suite = Suite(self.meter, people=people)
        self._fill(clock)
        people.create_admin(email="ada@example.com", password=Browser.PASSWORD, name="Ada Root")
        self.ada = Browser(TestClient(create_console(self.suite, Settings()), follow_redirects=False))
        assert self.ada.sign_in("ada@example.com").status_code == 303
        secret = self.suite.platform_keys.create(name="Backend", scopes=list(Scope)).secret
        self._api = TestClient(create_api(self.suite, Settings()), headers={"authorization": f"Bearer {secret}"})

    def _fill(self, clock: FrozenClock) -> None:
        meter, end = self.meter, clock.now
        meter.create_organization("acme", name="Acme")
        clock.now = end - timedelta(days=4)
        meter.grant("acme", 40_000, expires_at=end - timedelta(days=1))
        meter.revoke("acme", meter.grant("acme", 70_001).pack.id)
        meter.grant("acme", 9_000_001, expires_at=end + timedelta(days=9))
        meter.grant("acme", 3_000, priority=-1)
        for number in range(30):
            clock.now = end - timedelta(hours=90 - 3 * number)
            meter.debit(
                "acme", prompt_tokens=1_000 + 37 * number, completion_tokens=211, model=f"model-{number % 3}",
                session=f"talk-{number % 4}", reason="AI reply", key=f"ask-{number}",
            )  # fmt: skip
        clock.now = end
        meter.refund("acme", "ask-29", 500)
        meter.open_hold("acme", 12_345)

    def close(self) -> None:
        """Close everything."""
        self.suite.close()
        self.meter.close()

    def told(self, path: str) -> Any:
        """Return what the API answers."""
        answer = self._api.get(f"{API}{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def both(database_url: str, clock: FrozenClock) -> Iterator[Both]:
    """Both of them."""
    both = Both(database_url, clock)
    yield both
    both.close()


def rows_of(page: Page, attribute: str) -> dict[str, list[list[int]]]:
    """Return the numbers in each cell of the rows that have an attribute, by its value."""
    rows = re.findall(rf'<tr[^>]*\b{attribute}="([^"]*)"[^>]*>(.*?)</tr>', page.html, re.DOTALL)
    return {html.unescape(value): [numbers(cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)] for value, row in rows}


def numbers(text: str) -> list[int]:
    """Return the whole numbers that a piece of a page shows."""
    shown = re.sub(r"<[^>]*>|PK-\d+|model-\d|talk-\d", " ", text)
    return [int(number.replace(",", "")) for number in re.findall(r"(?<![\w.:%])\d[\d,]*(?![\w.:%])", shown)]


def kept(page: Page, element: str) -> int:
    """Return the number that an element of the page shows, by its id."""
    found = re.search(rf'id="{element}"[^>]*>([^<]*)<', page.html)
    assert found is not None, element
    return numbers(found[1])[0]


def test_balance_packs_and_ledger(both: Both) -> None:
    page, balance = both.ada.page("/o/acme"), both.told("/balance")
    assert kept(page, "balance") == balance["balance_tokens"] == both.meter.balance("acme").balance_tokens
    for name in ("held_tokens", "available_tokens"):
        assert f"{balance[name]:,}" in page.text
    packs = rows_of(page, "data-pack")
    told = both.told("/packs")["items"]
    assert len(told) == 4
    assert set(packs) == {f"PK-{pack['number']}" for pack in told}
    for pack in told:
        assert [pack["remaining_tokens"], pack["total_tokens"]] in [cell[:2] for cell in packs[f"PK-{pack['number']}"]], pack
    for path in ("/o/acme", "/o/acme/ledger"):
        lines = rows_of(both.ada.page(path), "data-seq")
        ledger = both.told("/ledger?limit=50")["items"]
        assert list(lines) == [str(line["seq"]) for line in ledger]
        for line in ledger:
            cells = lines[str(line["seq"])]
            assert any(line["amount_tokens"] in cell for cell in cells), line
            if line["kind"] == "debit":
                assert [line["prompt_tokens"], line["completion_tokens"]] in [cell[:2] for cell in cells], line


def test_usage_and_sessions(both: Both) -> None:
    page = both.ada.page("/o/acme/usage?range=7d&by=model")
    until = (both.meter.clock() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    usage = both.told(f"/usage?since={until - timedelta(days=7):%Y-%m-%dT00:00:00Z}&until={until:%Y-%m-%dT00:00:00Z}&by=model")
    assert kept(page, "usage-total") == usage["total"]["debited_tokens"] > 0
    series = rows_of(page, "data-series")
    assert len(usage["series"]) == len(series) == 3
    for each in usage["series"]:
        total = each["total"]
        names = ("debited_tokens", "prompt_tokens", "completion_tokens", "refunded_tokens", "requests")
        assert [number for cell in series[each["value"]] for number in cell] == [total[name] for name in names]
    shown = rows_of(both.ada.page("/o/acme/sessions"), "data-session")
    sessions = both.told("/sessions")["items"]
    assert list(shown) == [session["session"] for session in sessions]
    for session in sessions:
        used, *others = [cell for cell in shown[session["session"]] if cell][:3]
        assert used == [session["debited_tokens"], *([session["refunded_tokens"]] if session["refunded_tokens"] else [])]
        assert others == [[session["prompt_tokens"], session["completion_tokens"]], [session["requests"]]]


def test_the_proof(both: Both) -> None:
    page, balance = both.ada.page("/o/acme/proof"), both.told("/balance")
    journal = both.told("/journal?limit=1000")["items"]
    sums = numbers(re.sub(r'class="of">[^<]*<', ">", page.html[page.html.index('class="sums"') : page.html.index('class="hash"')]))
    for kind in ("grant", "refund", "expire", "revoke"):
        assert sum(line["amount_tokens"] for line in journal if line["kind"] == kind) in sums, kind
    assert sum(line["amount_tokens"] for line in journal if line["kind"] == "debit") in sums
    assert {balance["balance_tokens"], balance["held_tokens"], balance["available_tokens"]} <= set(sums)
    assert page.html.count(journal[-1]["hash"]) == 1
    assert "Journal, packs and balance agree" in page.text
