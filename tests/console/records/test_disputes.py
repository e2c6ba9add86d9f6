"""Disputes in the console: opened from a receipt by an administrator, answered or refunded by the platform, seen by who reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.console.browsing import Browser, statements_of
from tests.console.test_acting import fields_of, send
from tests.doubles import FrozenClock
from tokenwell.console.security import FORM_FIELD
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.service.meter import Meter
from tokenwell.service.records.disputes import Dispute, Disputes, DisputeStatus

OpenBrowser = Callable[..., Browser]
MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin")
FORM = "/o/acme/dispute?request=req%2F1&part=1"


@pytest.fixture
def ada(open_browser: OpenBrowser) -> Browser:
    """A browser in which a platform administrator is signed in."""
    return open_browser("ada@example.com")


@pytest.fixture
def disputes(meter: Meter) -> Disputes:
    """Acme was charged 3,000 tokens by the request req/1."""
    meter.grant("acme", 90_000)
    meter.debit("acme", 3_000, key="req/1", model="m")
    return Disputes(meter)


def doubted(disputes: Disputes) -> Dispute:
    """Return a dispute of Mei's."""
    return disputes.open("acme", "req/1", note="Answered <twice>", by=MEI)


def acts(meter: Meter) -> list[tuple[str, str]]:
    """Return what the audit log says was done with disputes, and by whom."""
    with meter.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT action, actor_name FROM act WHERE action LIKE 'dispute.%' ORDER BY act_id")
        return [(row[0], row[1]) for row in rows]


def test_a_line_is_disputed_from_its_receipt_once(mei: Browser, meter: Meter, disputes: Disputes) -> None:
    receipt = mei.page("/o/acme/request?id=req%2F1")
    assert receipt.all("a", href=FORM)
    status, page, _ = send(mei, FORM)
    assert (status, "Say what is wrong with it." in page.text) == (422, True)
    assert "Amount −3,000" in page.text
    status, _, fields = send(mei, FORM, note="Answered twice")
    assert status == 303
    assert mei.post(FORM, fields).status_code == 303
    (dispute,) = disputes.list("acme").items
    assert (dispute.note, dispute.opened_by.name, dispute.amount_tokens) == ("Answered twice", "Mei Lin", 3_000)
    receipt = mei.page("/o/acme/request?id=req%2F1")
    assert receipt.having("data-dispute") == [dispute.id]
    assert "Dispute Open Answered twice" in receipt.text
    assert receipt.all("a", href=FORM) == []
    assert "Answered twice" in mei.page("/o/acme/disputes").text
    assert acts(meter) == [("dispute.open", "Mei Lin")]


def test_each_part_of_a_request_is_disputed_by_itself(mei: Browser, meter: Meter, disputes: Disputes) -> None:
    meter.grant("acme", 5_000)
    meter.debit("acme", 88_000, key="two")
    receipt = mei.page("/o/acme/request?id=two")
    assert [each["href"][-1] for each in receipt.all("a") if "/dispute?" in each.get("href", "")] == ["1", "2"]
    assert send(mei, "/o/acme/dispute?request=two&part=2", note="Not mine")[0] == 303
    receipt = mei.page("/o/acme/request?id=two")
    assert "Dispute of part 2 Open Not mine" in receipt.text
    assert "Dispute part 1" in receipt.text
    for query in ("request=two&part=3", "request=nothing", "request=two&part=x"):
        assert mei.get(f"/o/acme/dispute?{query}").status_code == 404, query


def test_the_platform_gives_back_with_a_look_before(ada: Browser, mei: Browser, meter: Meter, disputes: Disputes) -> None:
    dispute = doubted(disputes)
    page = ada.page("/admin/disputes")
    assert page.having("data-dispute") == [dispute.id]
    assert "Acme Parts" in page.text
    assert "Answered <twice>" in page.text
    path = f"/o/acme/disputes/{dispute.id}/refund"
    assert fields_of(ada.page(path))["amount"] == "3,000"
    status, page, _ = send(ada, path, amount="1k", preview="1")
    assert (status, "Balance 87,000 → 88,000" in page.text) == (200, True)
    status, page, _ = send(ada, path, amount="3,001", note="All of it")
    assert (status, "was charged less than that" in page.text) == (422, True)
    assert page.all("input", id="note", value="All of it")
    assert disputes.get("acme", dispute.id).status is DisputeStatus.OPEN
    status, _, fields = send(ada, path, amount="1k", note="Half is ours")
    assert (status, ada.post(path, fields).status_code) == (303, 303)
    assert meter.balance("acme").balance_tokens == 88_000
    told = "Refunded Answered <twice> 1,000 tokens given back. Half is ours"
    assert told in mei.page("/o/acme/request?id=req%2F1").text
    assert mei.page("/o/acme/disputes").having("data-dispute") == []
    assert "Half is ours" in mei.page("/o/acme/disputes?show=all").text
    assert acts(meter) == [("dispute.open", "Mei Lin"), ("dispute.refund", "Ada Root")]


def test_the_platform_answers_and_nothing_is_given_back(ada: Browser, mei: Browser, meter: Meter, disputes: Disputes) -> None:
    dispute = doubted(disputes)
    path = f"/o/acme/disputes/{dispute.id}/answer"
    status, page, _ = send(ada, path)
    assert (status, "Say why: the organization sees it." in page.text) == (422, True)
    status, _, fields = send(ada, path, note="It was two questions")
    assert (status, ada.post(path, fields).status_code) == (303, 303)
    assert ada.post(path, fields | {"note": "Or three"}).status_code == 422
    assert "Answered Answered <twice> It was two questions" in mei.page("/o/acme/request?id=req%2F1").text
    assert meter.balance("acme").balance_tokens == 87_000
    assert acts(meter)[-1] == ("dispute.answer", "Ada Root")
    assert send(ada, f"/o/acme/disputes/{dispute.id}/refund", amount="1k")[0] == 422
    assert meter.balance("acme").balance_tokens == 87_000


def test_who_may_not_sees_no_form(mei: Browser, open_browser: OpenBrowser, disputes: Disputes) -> None:
    vic = open_browser("vic@example.com")
    assert "/dispute" not in "".join(vic.page("/o/acme/request?id=req%2F1").having("href")).replace("/disputes", "")
    token = vic.page("/o/acme").csrf_token
    assert vic.get(FORM).status_code == 403
    assert vic.post(FORM, {FORM_FIELD: token, "note": "No"}).status_code == 403
    dispute = doubted(disputes)
    assert vic.page("/o/acme/disputes").having("data-dispute") == [dispute.id]
    for act in ("refund", "answer"):
        path = f"/o/acme/disputes/{dispute.id}/{act}"
        assert mei.post(path, {FORM_FIELD: mei.page("/o/acme").csrf_token, "note": "x", "amount": "1"}).status_code == 403
        assert mei.page("/o/acme/disputes").all("a", href=path) == []
        assert open_browser("ada@example.com").get(path.replace("acme", "beta")).status_code == 404
    assert mei.get("/admin/disputes").status_code == 404
    assert disputes.get("acme", dispute.id) == dispute


def test_many_are_listed_page_by_page_without_a_read_for_each(
    ada: Browser, mei: Browser, meter: Meter, disputes: Disputes, clock: FrozenClock
) -> None:
    made = [doubted(disputes).id]
    ada.page("/admin/disputes")
    with statements_of(meter.engine) as one:
        ada.page("/admin/disputes")
    for number in range(30):
        meter.debit("acme", 10, key=f"r{number}")
        clock.advance(timedelta(minutes=1))
        made.append(disputes.open("acme", f"r{number}", note="?", by=MEI).id)
    ada.page("/admin/disputes")  # which notes when the session was used
    with statements_of(meter.engine) as many:
        ada.page("/admin/disputes")
    assert len(many) == len(one)
    for browser, path in ((ada, "/admin/disputes?show=all"), (mei, "/o/acme/disputes?show=all")):
        first = browser.page(path)
        older = browser.page(first.all("a", rel="next")[0]["href"])
        assert first.having("data-dispute") + older.having("data-dispute") == made[::-1]
