"""Signing in and out: cookies, forged forms, throttling, and where one lands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest

from tests.console.browsing import Browser, Page
from tests.doubles import FrozenClock
from tokenwell.console.security import FORM_FIELD
from tokenwell.service.identity.people import FAILURES_PER_EMAIL, IDLE_LIMIT, People

OpenBrowser = Callable[..., Browser]


def cookies_set(answer: Any) -> dict[str, Any]:
    jar: SimpleCookie = SimpleCookie()
    for header in answer.headers.get_list("set-cookie"):
        jar.load(header)
    return dict(jar)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "/sign-in"),
        ("/o/acme", "/sign-in?next=%2Fo%2Facme"),
        ("/o/acme?packs=active", "/sign-in?next=%2Fo%2Facme%3Fpacks%3Dactive"),
        ("/o/acme/request?id=req_1", "/sign-in?next=%2Fo%2Facme%2Frequest%3Fid%3Dreq_1"),
        ("/admin", "/sign-in?next=%2Fadmin"),
    ],
)
def test_every_page_sends_strangers_to_sign_in(open_browser: OpenBrowser, path: str, location: str) -> None:
    answer = open_browser().get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, location)


def test_a_script_whose_session_ended_gets_a_401(open_browser: OpenBrowser) -> None:
    assert open_browser().get("/o/acme", headers={"hx-request": "1"}).status_code == 401


def test_after_signing_in_one_sees_the_page_one_asked_for(open_browser: OpenBrowser) -> None:
    browser = open_browser()
    asked = browser.page("/sign-in?next=%2Fo%2Facme%3Fpacks%3Drevoked")
    assert asked.all("input", name="next")[0]["value"] == "/o/acme?packs=revoked"
    answer = browser.sign_in("mei@example.com", next_path="/o/acme?packs=revoked")
    assert (answer.status_code, answer.headers["location"]) == (303, "/o/acme?packs=revoked")
    assert browser.get("/sign-in?next=%2Fadmin").headers["location"] == "/admin"


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(open_browser: OpenBrowser) -> None:
    answer = open_browser().sign_in("mei@example.com")
    cookie = cookies_set(answer)["tokenwell_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "lax", "/", "")
    assert cookie["max-age"] == str(12 * 3600)
    assert cookies_set(answer)["tokenwell_form"]["max-age"] == "0"


def test_over_https_the_cookies_belong_to_this_host_alone(open_browser: OpenBrowser) -> None:
    browser = open_browser(secure_cookies=True)
    shown = browser.get("/sign-in")
    form = cookies_set(shown)["__Host-tokenwell_form"]
    assert (form["secure"], form["httponly"], form["path"], form["domain"]) == (True, True, "/", "")
    answer = browser.sign_in("mei@example.com")
    session = cookies_set(answer)["__Host-tokenwell_session"]
    assert (session["secure"], session["httponly"], session["path"], session["domain"]) == (True, True, "/", "")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert browser.get("/o/acme").status_code == 200


@pytest.mark.parametrize(("email", "password"), [("mei@example.com", "not the password"), ("who@example.com", "not the password")])
def test_a_refusal_does_not_tell_whether_the_address_is_known(open_browser: OpenBrowser, email: str, password: str) -> None:
    browser = open_browser()
    answer = browser.sign_in(email, password)
    page = Page(answer.text)
    assert answer.status_code == 401
    assert "The e-mail address or the password is not right." in page.text
    assert page.all("input", name="email")[0]["value"] == email
    assert all(not field.get("value") for field in page.all("input", type="password"))
    assert "tokenwell_session" not in cookies_set(answer)
    assert browser.get("/o/acme").status_code == 303


def test_too_many_failures_are_told_with_the_time_to_wait(open_browser: OpenBrowser, clock: FrozenClock) -> None:
    browser = open_browser()
    for _ in range(FAILURES_PER_EMAIL):
        assert browser.sign_in("mei@example.com", "not the password").status_code == 401
    clock.advance(timedelta(seconds=30))
    answer = browser.sign_in("mei@example.com")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "870")
    assert "Try again in 15 minutes." in Page(answer.text).text


def forged(browser: Browser, how: str) -> Any:
    """Sign in as Mei with something wrong about the form."""
    fields = {"email": "mei@example.com", "password": Browser.PASSWORD, FORM_FIELD: browser.page("/sign-in").csrf_token}
    if how == "no token":
        del fields[FORM_FIELD]
    elif how == "made-up token":
        fields[FORM_FIELD] = "AAAA"
    elif how == "no cookie":
        browser.client.cookies.clear()
    elif how == "token of another visitor":
        browser.client.cookies.clear()
        browser.page("/sign-in")
    origin = {"other origin": "http://evil.example.com", "no origin": None, "opaque origin": "null"}.get(how, "own")
    return browser.post("/sign-in", fields, origin=origin)


@pytest.mark.parametrize(
    "how",
    [
        "no token",
        "made-up token",
        "no cookie",
        "token of another visitor",
        "other origin",
        "no origin",
        "opaque origin",
    ],
)
def test_a_forged_sign_in_is_refused(open_browser: OpenBrowser, how: str) -> None:
    browser = open_browser()
    answer = forged(browser, how)
    assert answer.status_code == 403
    assert "tokenwell_session" not in cookies_set(answer)


@pytest.mark.parametrize("path", ["/sign-out", "/language"])
def test_a_form_without_its_token_changes_nothing(mei: Browser, path: str) -> None:
    assert mei.post(path, {"language": "zh", "everywhere": "1"}).status_code == 403
    assert mei.page("/o/acme").all("html", lang="en")


def test_a_token_of_one_session_is_worth_nothing_in_another(open_browser: OpenBrowser, mei: Browser) -> None:
    token = mei.page("/o/acme").csrf_token
    vic = open_browser("vic@example.com")
    assert vic.post("/sign-out", {FORM_FIELD: token}).status_code == 403
    assert vic.get("/o/acme").status_code == 200


def test_signing_in_gives_a_fresh_session_and_ends_the_one_before(mei: Browser, people: People) -> None:
    before = mei.client.cookies["tokenwell_session"]
    page = mei.page("/o/acme")
    assert people.session(before) is not None
    again = Browser(mei.client)
    shown = again.get("/sign-in")
    assert shown.status_code == 303  # who is signed in need not sign in
    mei.client.cookies.delete("tokenwell_session")
    form = again.page("/sign-in")
    mei.client.cookies.set("tokenwell_session", before)
    fields = {"email": "mei@example.com", "password": Browser.PASSWORD, FORM_FIELD: form.csrf_token}
    answer = again.post("/sign-in", fields)
    fresh = cookies_set(answer)["tokenwell_session"].value
    assert answer.status_code == 303
    assert fresh != before
    assert people.session(before) is None
    assert people.session(fresh) is not None
    assert page.csrf_token


def test_signing_out_ends_the_session_on_the_server_too(mei: Browser, people: People) -> None:
    token = mei.client.cookies["tokenwell_session"]
    answer = mei.submit("/o/acme", "/sign-out", {})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert people.session(token) is None
    assert mei.get("/o/acme").status_code == 303


def test_another_sites_form_cannot_sign_anybody_out(mei: Browser) -> None:
    answer = mei.client.post("/sign-out", headers={"origin": "http://evil.example.com", "sec-fetch-site": "cross-site"})
    assert answer.status_code == 403  # with the cookie, as no browser would send it
    assert mei.get("/o/acme").status_code == 200
    kept = mei.client.cookies["tokenwell_session"]
    mei.client.cookies.clear()
    answer = mei.post("/sign-out", {}, origin="http://evil.example.com")  # without it, as one would
    assert answer.status_code == 303
    assert "set-cookie" not in answer.headers
    mei.client.cookies.set("tokenwell_session", kept)
    assert mei.get("/o/acme").status_code == 200


def test_signing_out_everywhere_ends_the_others_too(open_browser: OpenBrowser, mei: Browser) -> None:
    elsewhere = open_browser("mei@example.com")
    assert mei.submit("/o/acme", "/sign-out", {"everywhere": "1"}).status_code == 303
    assert elsewhere.get("/o/acme").status_code == 303


def test_an_idle_session_ends(mei: Browser, clock: FrozenClock) -> None:
    clock.advance(IDLE_LIMIT + timedelta(seconds=1))
    assert mei.get("/o/acme").status_code == 303


def test_the_first_page_is_the_one_a_person_needs(open_browser: OpenBrowser) -> None:
    assert open_browser("mei@example.com").get("/").headers["location"] == "/o/acme"
    assert open_browser("ada@example.com").get("/").headers["location"] == "/admin"
    lonely = open_browser("nora@example.com").page("/")
    assert "You do not belong to an organization yet" in lonely.text
    assert lonely.all("form", action="/sign-out")


def test_a_language_is_chosen_for_a_year_and_for_every_page(mei: Browser) -> None:
    assert mei.page("/o/acme", headers={"accept-language": "zh-CN,zh;q=0.9"}).all("html", lang="zh-CN")
    answer = mei.submit("/o/acme", "/language", {"language": "zh", "next": "/o/acme?packs=all"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/o/acme?packs=all")
    assert cookies_set(answer)["tokenwell_language"]["max-age"] == str(365 * 24 * 3600)
    assert "用量明细" in mei.page("/o/acme", headers={"accept-language": "en"}).text
    assert mei.submit("/o/acme", "/language", {"language": "xx"}).status_code == 400


def test_a_stranger_can_choose_a_language_too(open_browser: OpenBrowser) -> None:
    browser = open_browser()
    answer = browser.submit("/sign-in", "/language", {"language": "zh", "next": "/sign-in?next=%2Fo%2Facme"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fo%2Facme")
    assert "登录" in browser.page("/sign-in").text
