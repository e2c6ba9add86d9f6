"""Forms that change something: previewed and checked by the server, once however often sent, nothing typed is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.console.browsing import Browser, Page
from tests.doubles import FrozenClock
from tokenwell.console.security import FORM_FIELD
from tokenwell.core.health import Thresholds
from tokenwell.core.packs import PackStatus
from tokenwell.service.meter import Meter
from tokenwell.service.policies import Policies

OpenBrowser = Callable[..., Browser]


@pytest.fixture
def ada(open_browser: OpenBrowser) -> Browser:
    """A browser in which a platform administrator is signed in."""
    return open_browser("ada@example.com")


def fields_of(page: Page) -> dict[str, str]:
    """Return what the form of a page would send."""
    form = page.html[page.html.index('<form class="act"') :]
    found = {
        each["name"]: each.get("value", "") for each in Page(form).all("input") if each.get("type") not in ("radio", "checkbox")
    }
    marked = [*Page(form).all("input", type="radio"), *Page(form).all("input", type="checkbox")]
    chosen = {each["name"]: each["value"] for each in marked if "checked" in each}
    selected = re.findall(r'<select[^>]* name="(\w+)".*?<option value="([^"]*)" selected', form, re.DOTALL)
    return {name: value for name, value in (found | chosen | dict(selected)).items() if name != "next"}


def send(browser: Browser, path: str, **typed: str) -> tuple[int, Page, dict[str, str]]:
    """Open a form, fill it in and send it; returns status, page and what was sent."""
    fields = fields_of(browser.page(path)) | typed
    answer = browser.post(path, fields)
    return answer.status_code, Page(answer.text), fields


def test_a_grant_is_previewed_then_given_once(ada: Browser, meter: Meter, clock: FrozenClock) -> None:
    status, page, fields = send(ada, "/o/acme/grant", amount="5M", expires="30", preview="1")
    assert status == 200
    assert "Balance 0 → 5,000,000 State AI stopped → Normal" in page.text
    assert "Grant 5,000,000" in page.text
    assert meter.balance("acme").balance_tokens == 0
    del fields["preview"]
    answers = [ada.post("/o/acme/grant", fields) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    (line,) = meter.packs("acme").items
    assert line.pack.total_tokens == 5_000_000
    expires = (clock.now + timedelta(days=30)).replace(hour=23, minute=59, second=0, microsecond=0)
    assert line.pack.expires_at == expires
    told = ada.page(answers[0].headers["location"])
    assert "AI is running again. 5,000,000 tokens granted." in told.text
    assert "granted." not in ada.page("/o/acme").text


@pytest.mark.parametrize(("typed", "tokens"), [("500万", 5_000_000), ("750k", 750_000), ("1,234,567", 1_234_567)])
def test_amounts_are_written_as_people_write_them(ada: Browser, meter: Meter, typed: str, tokens: int) -> None:
    assert send(ada, "/o/acme/grant", amount=typed, expires="never", note="Trial")[0] == 303
    (line,) = meter.packs("acme").items
    assert (line.pack.total_tokens, line.pack.expires_at, line.pack.note) == (tokens, None, "Trial")


def test_what_is_wrong_is_told_at_its_field_and_what_was_typed_stays(ada: Browser, meter: Meter) -> None:
    status, page, _ = send(ada, "/o/acme/grant", amount="5 apples", note="For <Mei>", expires="date", date="2001-01-01")
    assert status == 422
    assert "This is not a whole number of tokens." in page.text
    assert "This date is in the past." in page.text
    assert page.all("input", id="amount", value="5 apples", aria_invalid="true")
    assert page.all("input", id="note", value="For <Mei>")
    assert page.all("input", id="date", value="2001-01-01")
    assert meter.packs("acme").items == ()


def test_a_form_sent_again_with_other_words_changes_nothing_more(ada: Browser, meter: Meter) -> None:
    _, _, fields = send(ada, "/o/acme/grant", amount="1,000")
    answer = ada.post("/o/acme/grant", fields | {"amount": "2,000"})
    assert answer.status_code == 422
    assert "already sent with something else" in answer.text
    assert [line.pack.total_tokens for line in meter.packs("acme").items] == [1_000]


def test_an_expiry_is_the_end_of_a_day_of_the_zone_on_show(ada: Browser, meter: Meter) -> None:
    ada.client.cookies.set("tokenwell_zone", "Asia/Kathmandu")
    _status, page, _ = send(ada, "/o/acme/grant", amount="1000", expires="date", date="2027-06-30", preview="1")
    assert "30 Jun, 23:59 Asia/Kathmandu · 18:14 UTC" in page.text.replace("2027", "").replace("  ,", ",").replace(" ,", ",")
    assert send(ada, "/o/acme/grant", amount="1000", expires="date", date="2027-06-30")[0] == 303
    assert meter.packs("acme").items[0].pack.expires_at == datetime(2027, 6, 30, 18, 14, tzinfo=UTC)


def test_revoking_shows_what_leaves_and_asks_for_the_name_where_ai_would_stop(ada: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    meter.grant("acme", 8_000)
    status, page, _ = send(ada, "/o/acme/packs/PK-1/revoke", note="")
    assert status == 422
    assert "Balance 17,000 → 8,000" in page.text
    assert "Say why" in page.text
    assert send(ada, "/o/acme/packs/PK-1/revoke", note="Granted by mistake")[0] == 303
    status, page, fields = send(ada, "/o/acme/packs/PK-2/revoke", note="Also by mistake")
    assert status == 422
    assert "State Normal → AI stopped" in page.text
    assert "Type Acme Parts to go on." in page.text
    assert meter.balance("acme").balance_tokens == 8_000
    for _ in range(2):
        assert ada.post("/o/acme/packs/PK-2/revoke", fields | {"confirm": "Acme Parts"}).status_code == 303
    assert meter.balance("acme").balance_tokens == 0
    assert "PK-2 was revoked." in ada.page("/o/acme/packs/PK-2").text
    status, page, _ = send(ada, "/o/acme/packs/PK-2/revoke", note="Again")
    assert (status, "already revoked" in page.text) == (422, True)


def test_a_pack_is_extended_and_its_life_tells_it(ada: Browser, meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 9_000, expires_at=clock.now + timedelta(days=40), note="Q4")
    status, page, _ = send(ada, "/o/acme/packs/PK-1/extend", expires="30")
    assert (status, "earlier than now" in page.text) == (422, True)
    assert send(ada, "/o/acme/packs/PK-1/extend", expires="90", note="As agreed")[0] == 303
    page = ada.page("/o/acme/packs/PK-1")
    assert page.having("data-life") == ["grant", "extend"]
    assert "As agreed" in page.text


def test_a_pack_s_note_is_changed_and_the_act_tells_from_what(ada: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000, note="Q4 <plan>")
    path = "/o/acme/packs/PK-1/note"
    assert fields_of(ada.page(path))["note"] == "Q4 <plan>"
    status, page, _ = send(ada, path, note="Q1", preview="1")
    assert (status, "Note Q4 <plan> → Q1" in page.text) == (200, True)
    status, page, _ = send(ada, path, note="x" * 501)
    assert (status, "at most 500 characters" in page.text) == (422, True)
    assert page.all("input", id="note", value="x" * 501)
    assert send(ada, path, note="Q1")[0] == 303
    assert "The note of PK-1 was changed." in ada.page("/o/acme/packs/PK-1").text
    (line,) = meter.packs("acme").items
    assert line.pack.note == "Q1"
    with meter.engine.connect() as connection:
        (act,) = connection.exec_driver_sql('SELECT actor_name, "before", "after" FROM act WHERE action = \'pack.note\'').all()
    assert tuple(act) == ("Ada Root", '{"note":"Q4 <plan>"}', '{"note":"Q1"}')


def test_a_refund_gives_back_all_that_is_left_unless_less_is_asked_for(ada: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    meter.debit("acme", 3_000, key="req/1")
    path = "/o/acme/refund?request=req%2F1"
    status, page, _ = send(ada, path, amount="4000", note="Wrong language")
    assert (status, "was charged less than that" in page.text) == (422, True)
    assert send(ada, path, amount="1000", note="Wrong language")[0] == 303
    assert meter.balance("acme").balance_tokens == 7_000
    assert send(ada, path, note="The rest too")[0] == 303
    assert meter.balance("acme").balance_tokens == 9_000
    assert send(ada, path, note="Once more")[0] == 422


def test_thresholds_are_set_previewed_and_given_back(ada: Browser, meter: Meter) -> None:
    meter.grant("acme", 4_000)
    status, page, _ = send(ada, "/o/acme/thresholds", warning="3,000", reserve="2,000", preview="1")
    assert "State Running low → Normal" in page.text
    assert send(ada, "/o/acme/thresholds", warning="3,000", reserve="5,000")[0] == 422
    status, page, _ = send(ada, "/o/acme/thresholds", warning="9,000", reserve="5,000")
    assert (status, "Type Acme Parts to go on." in page.text) == (422, True)
    assert send(ada, "/o/acme/thresholds", warning="3,000", reserve="2,000")[0] == 303
    balance = meter.balance("acme")
    assert (balance.warning_tokens, balance.reserve_tokens) == (3_000, 2_000)
    assert send(ada, "/o/acme/thresholds", default="1")[0] == 303
    balance = meter.balance("acme")
    assert Thresholds(balance.warning_tokens, balance.reserve_tokens) == meter.thresholds


def test_the_policy_is_set_and_serving_without_the_database_needs_bounds(ada: Browser, meter: Meter) -> None:
    meter.grant("acme", 4_000)
    shown = ada.page("/o/acme/policy").all("input", name="when_away", checked="")
    assert [each["value"] for each in shown] == ["refuse"]
    serve = {"when_short": "clamp", "when_away": "serve", "away_seconds": "900"}
    status, page, _ = send(ada, "/o/acme/policy", **serve, away_tokens="")
    assert (status, "needs a time and an amount" in page.text) == (422, True)
    assert send(ada, "/o/acme/policy", **(serve | {"away_seconds": "1000000"}), away_tokens="5k")[0] == 422
    assert send(ada, "/o/acme/policy", **serve, away_tokens="200k")[0] == 303
    found = Policies(meter.engine, meter.clock).of("acme")
    assert (found.when_short, found.when_away, found.away_seconds, found.away_tokens) == ("clamp", "serve", 900, 200_000)
    assert ada.page("/o/acme/policy").all("input", name="away_tokens")[0]["value"] == "200,000"


def test_only_the_platform_changes_packs(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", 9_000)
    token = mei.page("/o/acme").csrf_token
    for path in ("grant", "packs/PK-1/revoke", "packs/PK-1/extend", "packs/PK-1/note", "thresholds", "policy", "refund?request=x"):
        assert mei.get(f"/o/acme/{path}").status_code == 403
        fields = {FORM_FIELD: token, "amount": "5", "note": "x", "expires": "never", "warning": "1", "reserve": "0"}
        assert mei.post(f"/o/acme/{path}", fields).status_code == 403
        assert mei.get(f"/o/beta/{path}").status_code == 404
    assert [line.status for line in meter.packs("acme").items] == [PackStatus.ACTIVE]
    assert not [href for href in mei.page("/o/acme").having("href") if re.search("/grant|/revoke|/note|/thresholds", href)]


def test_a_form_without_its_token_changes_nothing(ada: Browser, meter: Meter) -> None:
    assert ada.post("/o/acme/grant", {"amount": "5", "expires": "never"}).status_code == 403
    assert meter.packs("acme").items == ()


def test_acts_are_written_with_who_did_it(ada: Browser, meter: Meter) -> None:
    send(ada, "/o/acme/grant", amount="1000", expires="never")
    with meter.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT action, actor_name FROM act WHERE action LIKE 'pack.%'").all()
    assert [tuple(row) for row in rows] == [("pack.grant", "Ada Root")]
