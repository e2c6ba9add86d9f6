"""Single sign-on through the console, against a real provider process: there and back, and what is refused on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from tests.console.browsing import Browser
from tests.doubles import FrozenClock
from tests.provider import at_provider, provider_process, sign_on_with
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

HERE = "https://ai.example.com"
RETURN = f"{HERE}/sign-in/sso/return"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider in a process of its own."""
    with provider_process() as address:
        yield address


@pytest.fixture
def clock() -> FrozenClock:
    """The provider signs with the time of today, so this clock begins there."""
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def suite(meter: Meter, people: People, issuer: str) -> Suite:
    """A suite whose people may come in by the provider."""
    suite = Suite(meter, people=people)
    suite.sign_on = sign_on_with(suite, issuer)
    return suite


def browser_on(suite: Suite) -> Browser:
    app = create_console(suite, Settings(public_url=HERE, secure_cookies=True))
    return Browser(TestClient(app, base_url=HERE, raise_server_exceptions=False, follow_redirects=False))


def begin(browser: Browser, next_path: str = "/o/acme/ledger") -> str:
    """Follow the sign-in page's button to the provider; return the address there."""
    link = browser.page(f"/sign-in?next={next_path}").all("a", class_="btn btn-lg")[0]["href"]
    answer = browser.get(link.replace("&amp;", "&"))
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert re.match(r"__Host-tokenwell_step=[^;]+; HttpOnly; Max-Age=600; Path=/; SameSite=lax; Secure$", cookie), cookie
    return str(answer.headers["location"])


def refused(answer: object) -> bool:
    return (answer.status_code, "Single sign-on did not succeed" in answer.text) == (401, True)  # type: ignore[attr-defined]


def test_the_provider_is_asked_with_a_challenge_a_state_and_a_nonce(suite: Suite, issuer: str) -> None:
    address = begin(browser_on(suite))
    query = parse_qs(urlsplit(address).query)
    assert address.startswith(issuer)
    assert (query["response_type"], query["redirect_uri"], query["code_challenge_method"]) == (["code"], [RETURN], ["S256"])
    assert all(len(query[name][0]) >= 43 for name in ("code_challenge", "state", "nonce"))


def test_who_comes_back_is_in_and_where_they_wanted_to_be(suite: Suite, people: People) -> None:
    browser = browser_on(suite)
    location, _ = at_provider(begin(browser), "vic")
    assert location.startswith(RETURN)
    answer = browser.get(location.removeprefix(HERE))
    assert (answer.status_code, answer.headers["location"]) == (303, "/o/acme/ledger")
    assert browser.get("/o/acme/ledger").status_code == 200
    assert browser.get("/o/acme/members").status_code == 403
    assert "__Host-tokenwell_step" not in browser.client.cookies
    vic = people.find("vic@example.com")  # known before, and linked by the address that the provider verified
    assert vic is not None
    assert {each.organization_id: each.role.value for each in people.organizations_of(vic)} == {"acme": "viewer", "beta": "viewer"}


def test_groups_give_roles_and_a_membership_in_time(suite: Suite, people: People) -> None:
    mei = people.find("mei@example.com")
    assert mei is not None
    people.remove_member("acme", mei.id)
    browser = browser_on(suite)
    browser.get(at_provider(begin(browser), "mei")[0].removeprefix(HERE))
    assert browser.get("/o/acme/members").status_code == 200
    assert browser.get("/o/beta/members").status_code == 403
    assert browser.get("/admin").status_code == 404


@pytest.mark.parametrize("forged", ["state", "code", "iss"])
def test_an_answer_that_was_not_asked_for_lets_nobody_in(suite: Suite, forged: str) -> None:
    browser = browser_on(suite)
    _, back = at_provider(begin(browser), "vic")
    told = back | {forged: "https://elsewhere.example" if forged == "iss" else "x" * 43}
    answer = browser.client.get("/sign-in/sso/return", params=told)
    assert refused(answer)
    assert browser.get("/o/acme").status_code == 303


def test_an_answer_is_for_the_browser_that_asked(suite: Suite) -> None:
    """What somebody else's browser brought back signs nobody in here, with a sign-in under way or without."""
    theirs, mine = browser_on(suite), browser_on(suite)
    location, _ = at_provider(begin(theirs), "vic")
    assert refused(mine.get(location.removeprefix(HERE)))
    begin(mine)
    assert refused(mine.get(location.removeprefix(HERE)))
    assert mine.get("/o/acme").status_code == 303


def test_a_code_is_good_once(suite: Suite) -> None:
    browser = browser_on(suite)
    location, _ = at_provider(begin(browser), "vic")
    step = browser.client.cookies["__Host-tokenwell_step"]
    assert browser.get(location.removeprefix(HERE)).status_code == 303
    for cookie in (None, step):  # as the browser is left, and as who had copied its cookie would try
        again = browser_on(suite)
        if cookie is not None:
            again.client.cookies.set("__Host-tokenwell_step", cookie)
        assert refused(again.get(location.removeprefix(HERE)))
        assert again.get("/o/acme").status_code == 303


def test_an_unverified_address_links_nobody(suite: Suite, people: People) -> None:
    browser = browser_on(suite)
    assert refused(browser.get(at_provider(begin(browser), "eve")[0].removeprefix(HERE)))
    assert browser.get("/admin").status_code == 303


def test_the_session_there_was_ends_and_one_stays_on_this_server(suite: Suite, people: People) -> None:
    browser = browser_on(suite)
    browser.sign_in("nora@example.com")
    before = browser.client.cookies["__Host-tokenwell_session"]
    answer = browser.get("/sign-in/sso?next=//evil.example.com/")
    location, _ = at_provider(answer.headers["location"], "vic")
    assert browser.get(location.removeprefix(HERE)).headers["location"] == "/"
    assert browser.client.cookies["__Host-tokenwell_session"] != before
    assert people.session(before) is None


def test_where_there_is_no_provider_there_is_no_way(meter: Meter, people: People) -> None:
    browser = browser_on(Suite(meter, people=people))
    assert not [link for link in browser.page("/sign-in").having("href") if "sso" in link]
    assert browser.get("/sign-in/sso").status_code == 404
    assert browser.get("/sign-in/sso/return?code=x&state=y").status_code == 404
