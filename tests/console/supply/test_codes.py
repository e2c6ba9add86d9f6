"""Redemption codes in the console: made with a look before, told once, followed to who redeemed them, revoked."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.console.browsing import Browser, Page
from tests.console.test_acting import send
from tests.doubles import FrozenClock
from tokenwell.console.security import FORM_FIELD
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.meter import Meter
from tokenwell.service.supply.codes import Codes

OpenBrowser = Callable[..., Browser]
NEW = "/admin/codes/new"


@pytest.fixture
def ada(open_browser: OpenBrowser) -> Browser:
    """A browser in which a platform administrator is signed in."""
    return open_browser("ada@example.com")


@pytest.fixture
def codes(meter: Meter) -> Codes:
    """The codes of the meter."""
    return Codes(meter)


def file_of(page: Page) -> list[str]:
    """Return the lines of the file that a page holds."""
    (link,) = page.all("a", id="codes-file")
    return base64.b64decode(link["href"].partition("base64,")[2]).decode().splitlines()


def acts(meter: Meter) -> list[tuple[str, str]]:
    """Return what the audit log says was done with codes, and by whom."""
    with meter.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT action, actor_name FROM act WHERE action LIKE 'code%' ORDER BY act_id").all()
    return [(row[0], row[1]) for row in rows]


def test_codes_are_previewed_made_once_and_told_once(
    ada: Browser, mei: Browser, meter: Meter, codes: Codes, clock: FrozenClock
) -> None:
    typed = {"amount": "5M", "count": "3", "valid_days": "31", "expires": "30", "note": "Spring <fair>"}
    status, page, fields = send(ada, NEW, **typed, preview="1")
    assert (status, codes.list().items) == (200, ())
    assert "Each grants 5,000,000 valid 31 days from then In all 15,000,000" in page.text
    assert "Make 3 codes" in page.text
    del fields["preview"]
    answer = ada.post(NEW, fields)
    assert answer.status_code == 200
    page = Page(answer.text)
    assert "3 codes were made" in page.text
    (batch,) = codes.list().items
    until = (clock.now + timedelta(days=30)).replace(hour=23, minute=59, second=0, microsecond=0)
    assert (batch.codes, batch.amount_tokens, batch.valid_days, batch.expires_at) == (3, 5_000_000, 31, until)
    header, *lines = file_of(page)
    assert header == "code,tokens,valid_days,redeem_until"
    told = [line.split(",")[0] for line in lines]
    assert len(set(told)) == 3
    assert all(code in page.html for code in told)
    assert lines[0].endswith(f",5000000,31,{until:%Y-%m-%dT%H:%M:%SZ}")
    again = ada.post(NEW, fields)
    assert again.headers["location"] == f"/admin/codes/{batch.id}"
    page = ada.page(again.headers["location"])
    assert "made before, and shown then" in page.text
    assert not any(code in page.html for code in told)
    assert ada.post(NEW, fields | {"count": "4"}).status_code == 422
    assert send(mei, "/o/acme/redeem", code=told[1])[0] == 303
    page = ada.page(f"/admin/codes/{batch.id}")
    assert "1 of 3 codes" in page.text
    assert "Acme Parts acme Mei Lin" in page.text
    pack = meter.packs("acme").items[0].pack
    assert page.all("a", href=f"/o/acme/packs/{pack.id}")
    assert ada.page(f"/o/acme/packs/{pack.id}").all("h1")
    assert acts(meter) == [("codes.create", "Ada Root"), ("code.redeem", "Mei Lin")]


def test_what_is_wrong_is_told_at_its_field_and_nothing_is_made(ada: Browser, codes: Codes) -> None:
    typed = {"amount": "much", "count": "10001", "valid_days": "-1", "expires": "date", "date": "2001-01-01", "note": "<x>"}
    status, page, _ = send(ada, NEW, **typed)
    assert status == 422
    wrong = sorted(each["id"] for _, each in page.elements if each.get("aria-invalid"))
    assert wrong == ["amount", "count", "date", "valid_days"]
    assert page.all("input", id="count", value="10001")
    assert page.all("input", id="note", value="<x>")
    assert send(ada, NEW, count="")[0] == 422
    assert codes.list().items == ()


def test_what_nobody_redeemed_is_revoked(ada: Browser, mei: Browser, meter: Meter, codes: Codes) -> None:
    made = codes.create("1M", 5, by=SYSTEM)
    codes.redeem("acme", made.codes[0], by=SYSTEM)
    path = f"/admin/codes/{made.batch.id}/revoke"
    assert "Can be redeemed 4 → 0" in ada.page(path).text
    for _ in range(2):
        assert send(ada, path)[0] == 303
    page = ada.page(f"/admin/codes/{made.batch.id}")
    assert "The codes were revoked." in page.text
    assert page.all("a", href=path) == []
    assert send(mei, "/o/acme/redeem", code=made.codes[1])[0] == 422
    assert meter.balance("acme").balance_tokens == 1_000_000
    assert [act for act, _ in acts(meter)].count("codes.revoke") == 1


def test_batches_stand_newest_first_with_what_became_of_them(ada: Browser, codes: Codes, clock: FrozenClock) -> None:
    used = codes.create("1M", 1, by=SYSTEM)
    codes.redeem("acme", used.codes[0], by=SYSTEM)
    codes.create("2M", 1, expires_at=clock.now + timedelta(hours=1), by=SYSTEM)
    clock.advance(timedelta(hours=1))
    made = [batch.id for batch in codes.list().items[::-1]]
    made += [codes.create("3M", 2, by=SYSTEM).batch.id for _ in range(30)]
    first = ada.page("/admin/codes")
    older = ada.page(first.all("a", rel="next")[0]["href"])
    assert first.having("data-batch") + older.having("data-batch") == made[::-1]
    assert "Can be redeemed 3,000,000 never expires 0 / 2" in first.text
    assert "Expired 2,000,000" in older.text
    assert "All redeemed 1,000,000 never expires 1 / 1" in older.text


def test_codes_are_the_platforms(mei: Browser, open_browser: OpenBrowser, codes: Codes) -> None:
    made = codes.create("1M", 1, by=SYSTEM)
    token = mei.page("/o/acme").csrf_token
    for path in ("", "/new", f"/{made.batch.id}", f"/{made.batch.id}/revoke"):
        for browser in (mei, open_browser("vic@example.com")):
            assert browser.get(f"/admin/codes{path}").status_code == 404, path
    for path in ("/new", f"/{made.batch.id}/revoke"):
        assert mei.post(f"/admin/codes{path}", {FORM_FIELD: token, "amount": "5", "count": "1"}).status_code == 404
    assert open_browser("ada@example.com").get("/admin/codes/bat_nothing").status_code == 404
    assert codes.list().items == (made.batch,)
