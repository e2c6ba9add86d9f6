"""Top-ups in the console: asked for by an organization, approved or declined by the platform, on a page or by a letter's link."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from tests.console.browsing import Browser, Page, statements_of
from tests.console.test_acting import fields_of, send
from tests.doubles import FrozenClock
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.codes import code_of, written
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite
from tokenwell.service.supply.approval_links import LIFETIME, ApprovalLinks
from tokenwell.service.supply.codes import Codes
from tokenwell.service.supply.topups import Topup, Topups, TopupStatus

OpenBrowser = Callable[..., Browser]
MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin")
KEY = "a key that is long enough for a test"


@pytest.fixture
def ada(open_browser: OpenBrowser) -> Browser:
    """A browser in which a platform administrator is signed in."""
    return open_browser("ada@example.com")


@pytest.fixture
def topups(meter: Meter) -> Topups:
    """The requests."""
    return Topups(meter)


def asked(topups: Topups, amount: int = 5_000_000) -> Topup:
    """Return a request of Mei's for acme."""
    return topups.ask("acme", amount, note="Black Friday", by=MEI)


def test_an_administrator_asks_and_reads_that_it_is_asked(mei: Browser, topups: Topups, clock: FrozenClock) -> None:
    status, page, _ = send(mei, "/o/acme/topup", amount="5M", note="Black Friday", preview="1")
    assert (status, "Request 5,000,000" in page.text, topups.latest("acme")) == (200, True, None)
    assert send(mei, "/o/acme/topup", amount="5M", note="Black Friday")[0] == 303
    topup = topups.open_one("acme")
    assert topup is not None
    assert (topup.amount_tokens, topup.note, topup.asked_by.name) == (5_000_000, "Black Friday", "Mei Lin")
    clock.advance(timedelta(minutes=4))
    page = mei.page("/o/acme")
    assert "Top-up requested by Mei Lin, 4 minutes ago." in page.text
    assert page.all("a", href=f"/o/acme/requests/{topup.id}/cancel")
    assert page.all("a", href=f"/o/acme/requests/{topup.id}/approve") == []


def test_the_form_is_filled_with_what_30_days_take(mei: Browser, meter: Meter, clock: FrozenClock) -> None:
    assert fields_of(mei.page("/o/acme/topup"))["amount"] == ""
    meter.grant("acme", 1_000_000)
    for _ in range(26):
        meter.debit("acme", 1_000)
        clock.advance(timedelta(hours=1))
    mei.sign_in("mei@example.com")
    page = mei.page("/o/acme/topup")
    assert fields_of(page)["amount"] == "720,000"
    assert "30 days take about 720,000 tokens." in page.text


def test_what_is_wrong_is_told_and_nothing_is_asked(mei: Browser, topups: Topups) -> None:
    status, page, _ = send(mei, "/o/acme/topup", amount="much")
    assert (status, "This is not a whole number of tokens." in page.text) == (422, True)
    assert topups.latest("acme") is None


def test_a_request_is_taken_back(mei: Browser, topups: Topups) -> None:
    topup = asked(topups)
    assert send(mei, f"/o/acme/requests/{topup.id}/cancel")[0] == 303
    assert topups.get("acme", topup.id).status is TopupStatus.CANCELLED
    assert "Top-up requested" not in mei.page("/o/acme").text


def test_the_platform_sees_who_waits_and_grants_with_a_look_before(ada: Browser, meter: Meter, topups: Topups) -> None:
    topup = asked(topups)
    page = ada.page("/admin/requests")
    assert "Acme Parts" in page.text
    assert "5,000,000" in page.text
    path = f"/o/acme/requests/{topup.id}/approve"
    assert page.all("a", href=path)
    fields = fields_of(ada.page(path))
    assert (fields["amount"], fields["note"], fields["expires"]) == ("5,000,000", "Black Friday", "90")
    status, page, _ = send(ada, path, amount="6M", preview="1")
    assert (status, "Balance 0 → 6,000,000 State AI stopped → Normal" in page.text) == (200, True)
    assert meter.packs("acme").items == ()
    _, _, sent = send(ada, path, amount="6M", expires="never")
    assert ada.post(path, sent).status_code == 303
    (line,) = meter.packs("acme").items
    assert (line.pack.total_tokens, line.pack.note, line.pack.expires_at) == (6_000_000, "Black Friday", None)
    assert "No open requests" in ada.page("/admin/requests").text
    assert "Approved" in ada.page("/admin/requests?show=all").text


def test_the_list_takes_as_many_statements_for_many_as_for_one(ada: Browser, meter: Meter, topups: Topups) -> None:
    asked(topups)
    ada.page("/admin/requests")
    counts = []
    for number in range(2):
        with statements_of(meter.engine) as seen:
            ada.page("/admin/requests")
        counts.append(len(seen))
        meter.create_organization(f"another-{number}", name="Another")
        topups.ask(f"another-{number}", 1_000, note="", by=MEI)
    assert counts[0] == counts[1]
    assert ada.page("/admin/requests").text.count("Another") >= 2


def test_the_organization_reads_that_ai_is_running_again(mei: Browser, meter: Meter, topups: Topups, clock: FrozenClock) -> None:
    topup = asked(topups)
    clock.advance(timedelta(minutes=1))
    topups.approve("acme", topup.id, by=MEI)
    assert "AI is running again. 5,000,000 tokens granted." in mei.page("/o/acme").text
    clock.advance(timedelta(minutes=1))
    topups.approve("acme", asked(topups, 7).id, by=MEI)
    assert "Request approved. 7 tokens granted." in mei.page("/o/acme").text
    clock.advance(timedelta(days=4))
    mei.sign_in("mei@example.com")
    assert "tokens granted." not in mei.page("/o/acme").text


def test_a_declined_request_says_why(ada: Browser, mei: Browser, topups: Topups) -> None:
    topup = asked(topups)
    path = f"/o/acme/requests/{topup.id}/decline"
    status, page, _ = send(ada, path)
    assert (status, "Say why: the organization sees it." in page.text) == (422, True)
    assert send(ada, path, note="Ask <b>next</b> month")[0] == 303
    page = mei.page("/o/acme")
    assert "Request declined: Ask <b>next</b> month" in page.text
    assert send(ada, f"/o/acme/requests/{topup.id}/approve")[0] == 422
    assert "The request was decided already." in send(ada, f"/o/acme/requests/{topup.id}/approve")[1].text


def test_who_may_not_sees_no_form(mei: Browser, open_browser: OpenBrowser, topups: Topups) -> None:
    topup = asked(topups)
    vic = open_browser("vic@example.com")
    assert vic.get("/o/acme/topup").status_code == 403
    assert vic.page("/o/acme").all("a", href="/o/acme/topup") == []
    for act in ("approve", "decline"):
        assert mei.get(f"/o/acme/requests/{topup.id}/{act}").status_code == 403
        assert mei.get(f"/o/beta/requests/{topup.id}/{act}").status_code == 404
    assert mei.get("/admin/requests").status_code == 404
    ada = open_browser("ada@example.com")
    assert ada.get(f"/o/beta/requests/{topup.id}/approve").status_code == 404


def test_in_chinese(ada: Browser, topups: Topups) -> None:
    asked(topups)
    ada.submit("/admin/requests", "/language", {"language": "zh", "next": "/"})
    assert "充值申请" in ada.page("/admin/requests").text


@pytest.fixture
def links(meter: Meter, topups: Topups) -> ApprovalLinks:
    """Links signed with a key of the test's."""
    return ApprovalLinks(meter, topups, Sealer(lambda: [KEY]))


@pytest.fixture
def stranger(meter: Meter, people: People) -> Browser:
    """A browser in which nobody is signed in, on a console that signs with the same key."""
    app = create_console(Suite(meter, people=people, sealer=Sealer(lambda: [KEY])), Settings())
    return Browser(TestClient(app, base_url="http://testserver", raise_server_exceptions=False, follow_redirects=False))


def path_for(links: ApprovalLinks, people: People, topup: Topup, email: str = "ada@example.com") -> str:
    """Return the path of a letter's link."""
    person = people.find(email)
    assert person is not None
    return links.path_of(topup, person.id)


def follow(browser: Browser, path: str) -> tuple[int, Page]:
    """Open a link and press its button."""
    page = browser.page(path)
    fields = {each["name"]: each["value"] for each in page.all("input", type="hidden") if each["name"] != "next"}
    answer = browser.post("/topup", fields)
    return answer.status_code, Page(answer.text)


def test_a_letter_s_link_approves_once_and_only_when_the_button_is_pressed(
    stranger: Browser, links: ApprovalLinks, people: People, topups: Topups, meter: Meter
) -> None:
    topup = asked(topups)
    path = path_for(links, people, topup)
    page = stranger.page(path)
    assert "Mei Lin asked for 5,000,000 tokens for Acme Parts." in page.text
    assert "You approve as Ada Root." in page.text
    assert topups.get("acme", topup.id) == topup
    status, page = follow(stranger, path)
    assert (status, "5,000,000 tokens were granted." in page.text) == (200, True)
    decided = topups.get("acme", topup.id)
    assert decided.decided_by is not None
    assert (decided.status, decided.decided_by.name) == (TopupStatus.APPROVED, "Ada Root")
    page = stranger.page(path)
    assert "This request was decided already" in page.text
    assert page.all("input", name="token") == []
    assert len(meter.packs("acme").items) == 1


def test_a_form_without_our_page_approves_nothing(stranger: Browser, links: ApprovalLinks, people: People, topups: Topups) -> None:
    topup = asked(topups)
    token = path_for(links, people, topup).partition("=")[2]
    assert stranger.post("/topup", {"token": token}).status_code == 403
    assert topups.get("acme", topup.id) == topup


def test_a_link_that_was_changed_or_has_expired_or_whose_person_may_not_any_more_opens_nothing(
    stranger: Browser, links: ApprovalLinks, people: People, topups: Topups, clock: FrozenClock
) -> None:
    topup = asked(topups)
    path = path_for(links, people, topup)
    changed = [
        path[:-1] + ("A" if path[-1] != "A" else "B"),
        path.replace("token=", "token=A"),
        "/topup",
        "/topup?token=" + "x" * 3_000,
    ]
    other = ApprovalLinks(links._meter, topups, Sealer(lambda: ["another key that is long enough"]))
    changed += [path_for(other, people, topup), path_for(links, people, topup, "mei@example.com"), re.sub(r"\.(.+)$", ".", path)]
    for each in changed:
        assert stranger.get(each).status_code == 404, each
    clock.advance(LIFETIME)
    assert stranger.get(path).status_code == 404
    path = path_for(links, people, topup)
    assert stranger.get(path).status_code == 200
    ada = people.find("ada@example.com")
    assert ada is not None
    people.disable(ada.id)
    assert stranger.get(path).status_code == 404
    assert topups.get("acme", topup.id) == topup


def test_a_code_is_redeemed(mei: Browser, meter: Meter, open_browser: OpenBrowser) -> None:
    (code,) = Codes(meter).create("1M", 1, by=MEI).codes
    status, page, _ = send(mei, "/o/acme/redeem", code="ABC")
    assert (status, "This code cannot be redeemed." in page.text) == (422, True)
    assert page.all("input", id="code", value="ABC", aria_invalid="true")
    assert send(mei, "/o/acme/redeem", code=code.lower())[0] == 303
    assert "Code redeemed: 1,000,000 tokens." in mei.page("/o/acme").text
    assert meter.balance("acme").balance_tokens == 1_000_000
    for number in range(11):
        status, page, _ = send(mei, "/o/acme/redeem", code=written(code_of(number)))
    assert (status, "Too many wrong codes." in page.text) == (422, True)
    assert open_browser("vic@example.com").get("/o/acme/redeem").status_code == 403
