"""Members, people, profile and the audit log in the console."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

import argon2
import pyotp
import pytest
from starlette.testclient import TestClient

from tests.console.access.test_services_page import send
from tests.console.browsing import Browser, Page
from tests.doubles import FrozenClock
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

OpenBrowser = Callable[..., Browser]


@pytest.fixture
def ada(open_browser: OpenBrowser) -> Browser:
    """A browser in which a platform administrator is signed in."""
    return open_browser("ada@example.com")


@pytest.fixture
def quick_people(meter: Meter) -> People:
    """Nobody yet."""
    return People(meter.engine, meter.clock, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


def path_in(page: Page, field: str) -> str:
    """Return path and query of the link in a field."""
    return re.sub(r"^https?://[^/]+", "", page.all("input", id=field)[0]["value"])


def test_an_administrator_invites_and_the_link_is_shown_where_no_mail_is_sent(
    mei: Browser, open_browser: OpenBrowser, people: People
) -> None:
    status, page, _ = send(mei, "/o/acme/members/invite", email="new@example.com", role="viewer")
    assert status == 200
    link = path_in(page, "address")
    assert link.startswith("/invitation?token=")
    listed = mei.page("/o/acme/members")
    assert "new@example.com" in listed.text
    assert link.partition("=")[2] not in listed.html
    guest = open_browser()
    shown = guest.page(link)
    assert "new@example.com is invited to read the AI usage of Acme Parts." in shown.text
    token = shown.all("input", name="token")[0]["value"]
    short = guest.submit(link, "/invitation", {"token": token, "name": "New One", "password": "short"})
    assert (short.status_code, "12 characters" in short.text, "New One" in short.text) == (422, True, True)
    answer = guest.submit(link, "/invitation", {"token": token, "name": "New One", "password": Browser.PASSWORD})
    assert answer.status_code == 303
    assert guest.get("/o/acme").status_code == 200
    assert open_browser().page(link, status=404)
    found = people.find("new@example.com")
    assert found is not None
    assert found.name == "New One"


def test_roles_are_changed_and_members_removed_but_not_the_last_administrator(mei: Browser, meter: Meter, people: People) -> None:
    vic, own = people.find("vic@example.com"), people.find("mei@example.com")
    assert vic is not None
    assert own is not None
    assert send(mei, f"/o/acme/members/{own.id}/remove")[0] == 422
    status, page, _ = send(mei, f"/o/acme/members/{own.id}/role", role="viewer")
    assert (status, "last administrator" in page.text) == (422, True)
    assert send(mei, f"/o/acme/members/{vic.id}/role", role="organization_admin")[0] == 303
    assert send(mei, f"/o/acme/members/{vic.id}/remove")[0] == 303
    assert [member.person.id for member in Suite(meter).members.list("acme").items] == [own.id]


def test_invitations_are_cancelled(mei: Browser, meter: Meter) -> None:
    send(mei, "/o/acme/members/invite", email="new@example.com", role="viewer")
    (invitation,) = Suite(meter).invitations.list("acme").items
    assert send(mei, f"/o/acme/invitations/{invitation.id}/cancel")[0] == 303
    assert Suite(meter).invitations.list("acme").items == ()


@pytest.mark.parametrize("path", ["/members", "/members/invite", "/audit", "/audit/export"])
def test_viewers_and_strangers_see_neither_members_nor_the_audit_log(open_browser: OpenBrowser, path: str) -> None:
    assert open_browser("vic@example.com").get(f"/o/acme{path}").status_code == 403
    assert open_browser("nora@example.com").get(f"/o/acme{path}").status_code == 404
    assert open_browser("mei@example.com").get(f"/o/beta{path}").status_code == 404


@pytest.mark.parametrize(
    "path", ["/admin/members", "/admin/members/invite", "/admin/audit", "/admin/audit/export", "/admin/members/x/bar"]
)
def test_the_platforms_pages_are_the_platforms(mei: Browser, path: str) -> None:
    assert mei.get(path).status_code == 404


def test_a_platform_administrator_bars_lets_in_and_gives_a_way_back(
    ada: Browser, open_browser: OpenBrowser, people: People
) -> None:
    nora, own = people.find("nora@example.com"), people.find("ada@example.com")
    assert nora is not None
    assert own is not None
    base = f"/admin/members/{nora.id}"
    assert "Nora" in ada.page("/admin/members?find=NORA").text
    assert send(ada, f"{base}/bar")[0] == 303
    assert open_browser().sign_in("nora@example.com").status_code == 401
    assert send(ada, f"{base}/let_in")[0] == 303
    status, page, _ = send(ada, f"{base}/reset")
    assert status == 200
    link, guest = path_in(page, "address"), open_browser()
    token = guest.page(link).all("input", name="token")[0]["value"]
    assert guest.submit(link, "/reset", {"token": token, "password": "another good password"}).status_code == 303
    assert guest.page(link, status=404)
    assert open_browser().sign_in("nora@example.com", "another good password").status_code == 303
    assert send(ada, f"/admin/members/{own.id}/bar")[0] == 422
    assert ada.get(f"{base}/nothing").status_code == 404


def test_asking_for_a_reset_tells_nothing(open_browser: OpenBrowser) -> None:
    answers = [open_browser().submit("/forgot", "/forgot", {"email": email}) for email in ("mei@example.com", "who@example.com")]
    assert [answer.status_code for answer in answers] == [200, 200]
    told = {re.sub(r'value="[^"]{40,}"', "", answer.text) for answer in answers}
    assert len(told) == 1


def test_the_profile_keeps_name_language_and_zone(mei: Browser) -> None:
    answer = mei.submit("/profile", "/profile", {"name": "Mei L.", "language": "zh", "zone": "Asia/Kathmandu"})
    assert answer.status_code == 303
    page = mei.page("/profile")
    assert page.all("html")[0]["lang"] == "zh-CN"
    assert page.all("input", id="name")[0]["value"] == "Mei L."
    mei.client.cookies.set("tokenwell_zone", "Europe/Berlin")
    assert "Asia/Kathmandu (UTC+5:45)" in mei.page("/o/acme").text
    mei.client.cookies.set("tokenwell_zone", "UTC")
    assert "Asia/Kathmandu" not in mei.page("/o/acme").text
    for wrong in ({"language": "xx"}, {"language": "en", "zone": "Nowhere/At_All"}):
        assert mei.submit("/profile", "/profile", wrong).status_code == 400


def test_a_password_is_changed_with_the_old_one_and_signs_everybody_out(mei: Browser, open_browser: OpenBrowser) -> None:
    new = "another good password"
    status, page, _ = send(mei, "/profile/password", current="wrong wrong wrong", password=new)
    assert (status, "The password is not right." in page.text, new in page.html) == (422, True, False)
    assert send(mei, "/profile/password", current=Browser.PASSWORD, password="short")[0] == 422
    assert send(mei, "/profile/password", current=Browser.PASSWORD, password=new)[0] == 303
    assert mei.get("/profile").status_code == 303
    assert open_browser().sign_in("mei@example.com", new).status_code == 303


def test_a_second_factor_is_turned_on_asked_for_and_removed(mei: Browser, open_browser: OpenBrowser, clock: FrozenClock) -> None:
    page = mei.page("/profile/second-factor")
    secret = re.search(r"\b[A-Z2-7]{32}\b", page.text)
    assert secret is not None
    assert page.all("svg", class_="qr")
    sealed = page.all("input", name="sealed")[0]["value"]
    status, shown, _ = send(mei, "/profile/second-factor", sealed=sealed, code="000000")
    assert (status, secret[0] in shown.text) == (422, True)
    totp = pyotp.TOTP(secret[0])
    status, shown, _ = send(mei, "/profile/second-factor", sealed=sealed, code=totp.at(clock()))
    assert status == 200
    codes = re.findall(r"\b[a-z0-9]{5}-[a-z0-9]{5}-[a-z0-9]{5}\b", shown.text)
    assert len(codes) == 10
    assert "10 recovery codes left" in mei.page("/profile").text

    browser = open_browser()
    asked = browser.sign_in("mei@example.com", next_path="/o/acme/ledger")
    assert asked.headers["location"] == "/sign-in/code?next=%2Fo%2Facme%2Fledger"
    assert browser.get("/o/acme").status_code == 303
    path = asked.headers["location"]
    wrong = browser.submit(path, "/sign-in/code", {"code": "nonsense", "next": "/o/acme/ledger"})
    assert (wrong.status_code, "The code is not right" in wrong.text) == (401, True)
    right = browser.submit(path, "/sign-in/code", {"code": codes[0], "next": "/o/acme/ledger"})
    assert (right.status_code, right.headers["location"]) == (303, "/o/acme/ledger")
    assert browser.get("/o/acme").status_code == 200
    assert open_browser().get("/sign-in/code").headers["location"] == "/sign-in"

    assert send(mei, "/profile/second-factor/remove", current="wrong wrong wrong")[0] == 422
    assert send(mei, "/profile/second-factor/remove", current=Browser.PASSWORD)[0] == 303
    assert open_browser().sign_in("mei@example.com").headers["location"] == "/"


def test_the_profile_lists_where_one_is_signed_in(mei: Browser, open_browser: OpenBrowser) -> None:
    other = open_browser("mei@example.com")
    page = mei.page("/profile")
    assert page.text.count("testclient") >= 2
    assert page.text.count("this one") == 1
    assert mei.submit("/profile", "/sign-out", {"everywhere": "1"}).status_code == 303
    assert other.get("/profile").status_code == 303


def test_the_audit_log_is_shown_filtered_and_exported(mei: Browser, ada: Browser, meter: Meter) -> None:
    meter.grant("acme", "5M")
    send(mei, "/o/acme/services/new", name="Agent")
    send(mei, "/o/acme/keys/new", name="one")
    page = mei.page("/o/acme/audit")
    assert "service.create" in page.text
    assert "Mei Lin" in page.text
    assert "name Agent" in page.text
    only = mei.page("/o/acme/audit?action=key")
    assert "key.create" in only.text
    assert "service.create" not in only.text
    exported = mei.get("/o/acme/audit/export?format=csv&action=key")
    assert exported.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    assert [row["action"] for row in csv.DictReader(io.StringIO(exported.text))] == ["key.create"]
    assert "Mei Lin" in ada.page("/admin/audit?actor=Mei+Lin").text
    assert "person.create" in ada.get("/admin/audit/export?format=ndjson").text
    assert mei.get("/o/acme/audit?from=yesterday").status_code == 400
    assert mei.get("/o/acme/audit/export?format=xml").status_code == 400


def test_set_up_is_not_there_once_somebody_administers_the_platform(open_browser: OpenBrowser) -> None:
    assert open_browser().get("/set-up").status_code == 404


def test_a_server_that_nobody_administers_is_set_up_with_its_token(meter: Meter, quick_people: People) -> None:
    suite = Suite(meter, people=quick_people)
    token = suite.first_run.new_token()
    app = create_console(suite, Settings())
    browser = Browser(TestClient(app, raise_server_exceptions=False, follow_redirects=False))
    typed = {"name": "Ada", "email": "ada@example.com", "password": Browser.PASSWORD}
    wrong = browser.submit("/set-up", "/set-up", typed | {"token": "guess"})
    assert (wrong.status_code, "The token is not right." in wrong.text, "ada@example.com" in wrong.text) == (422, True, True)
    assert browser.submit("/set-up", "/set-up", typed | {"token": str(token)}).status_code == 303
    assert browser.get("/admin").status_code == 200
    assert browser.get("/set-up").status_code == 404


def test_every_sheet_is_whole_without_scripts_and_a_part_with_them(mei: Browser, meter: Meter) -> None:
    meter.grant("acme", "5M")
    for path in (
        "/o/acme/services/new",
        "/o/acme/keys/new",
        "/o/acme/members/invite",
        "/profile/password",
        "/profile/second-factor",
    ):
        assert mei.page(path).all("aside", class_="side")
        part = mei.page(path, headers={"hx-request": "true"})
        assert not part.all("aside")
        assert part.all("form", class_="act")
