"""The ways in, in a browser and in both languages: sign-in, second factor, reset, invitation, and single sign-on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pyotp
import pytest
import uvicorn
from playwright.sync_api import Page, expect

from tests.browser.people import PASSWORD
from tests.doubles import FrozenClock
from tests.provider import provider_process, sign_on_with
from tests.service.suites import KeepingMailer
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.console.catalogue import translations
from tokenwell.core.letters import Letter
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

OpenPage = Callable[..., Page]
NEW = "another good password"
LOCALES = pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])


def words(english: str, locale: str) -> str:
    """Return what a page says in a language."""
    said = translations("zh" if locale == "zh-CN" else "en").gettext(english)
    assert (said == english) == (locale == "en-GB")
    return said


@pytest.fixture
def clock() -> FrozenClock:
    """The provider and the authenticator tell the time of today, so this clock begins there."""
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def mailer() -> KeepingMailer:
    """Letters are kept, for the test to read."""
    return KeepingMailer()


@pytest.fixture
def suite(meter: Meter, people: People, mailer: KeepingMailer) -> Suite:
    """The services behind the doors."""
    meter.create_organization("acme", name="Acme Parts")
    meter.create_organization("beta")
    return Suite(meter, people=people, mailer=mailer)


@pytest.fixture
def address(suite: Suite) -> Iterator[str]:
    """Where a server answers that knows its own address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = create_console(suite, Settings(public_url=here))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield here
        server.should_exit = True
        thread.join()


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Fill in the form of the sign-in page, and send it."""
    page.locator("#email").fill(email)
    page.locator("#password").fill(password)
    page.keyboard.press("Enter")


def is_inside(page: Page, path: str = "/o/northwind") -> None:
    """Wait until somebody who is in is on a page of the console."""
    page.wait_for_url(lambda url: urlsplit(url).path == path)
    expect(page.locator("#page")).to_be_visible()


@LOCALES
def test_who_signs_in_is_told_what_is_wrong_and_gets_where_they_wanted_to_be(open_page: OpenPage, locale: str) -> None:
    page = open_page(None, locale=locale, expects="status of 401")
    page.goto("/o/northwind/ledger?model=gpt-5")
    sign_in(page, "mei@example.com", "not the password")
    expect(page.get_by_role("alert")).to_have_text(words("The e-mail address or the password is not right.", locale))
    expect(page.locator("#email")).to_have_value("mei@example.com")
    expect(page.locator("#password")).to_be_focused()
    sign_in(page, "mei@example.com")
    is_inside(page, "/o/northwind/ledger")
    assert page.url.endswith("?model=gpt-5")


@LOCALES
def test_a_password_is_reset_by_the_link_of_a_letter(open_page: OpenPage, mailer: KeepingMailer, locale: str) -> None:
    page = open_page(None, locale=locale, expects="status of 404")
    page.goto("/sign-in")
    page.get_by_role("link", name=words("Forgot your password?", locale)).click()
    page.locator("#email").fill("mei@example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(words("Look into your mailbox", locale))
    (letter,) = wait_for_letter(page, mailer)
    assert letter.language == ("zh" if locale == "zh-CN" else "en")
    page.goto(letter.link)
    page.locator("#password").fill(NEW)
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-in")
    sign_in(page, "mei@example.com", NEW)
    is_inside(page)
    page.goto(letter.link)
    expect(page.get_by_role("heading", level=1)).to_have_text(words("This link does not open any more", locale))


def wait_for_letter(page: Page, mailer: KeepingMailer) -> list[Letter]:
    """Return the letters that were sent, once there is one: it is written while its page is on its way."""
    for _ in range(200):
        if mailer.letters:
            break
        page.wait_for_timeout(50)
    return mailer.letters


@LOCALES
def test_somebody_invited_becomes_a_member(open_page: OpenPage, mailer: KeepingMailer, suite: Suite, locale: str) -> None:
    mei = open_page(locale=locale)
    mei.goto("/o/northwind/members/invite")
    mei.locator("#email").fill("new@example.com")
    mei.keyboard.press("Enter")
    mei.wait_for_url("**/o/northwind/members")
    guest = open_page(None, locale=locale)
    guest.goto(wait_for_letter(mei, mailer)[-1].link)
    expect(guest.get_by_role("heading", level=1)).to_have_text(words("You are invited", locale))
    guest.locator("#name").fill("New One")
    guest.locator("#password").fill(NEW)
    guest.keyboard.press("Enter")
    is_inside(guest)
    assert "new@example.com" in [member.person.email for member in suite.members.list("northwind").items]


@LOCALES
def test_a_second_factor_is_turned_on_and_then_asked_for(open_page: OpenPage, clock: FrozenClock, locale: str) -> None:
    page = open_page(locale=locale, expects="status of 401")
    page.goto("/profile/second-factor")
    expect(page.locator(".qr-box svg")).to_be_visible()
    totp = pyotp.TOTP(page.locator("p.mono").inner_text())
    page.locator("#code").fill(totp.at(clock()))
    page.keyboard.press("Enter")
    expect(page.locator(".codes li")).to_have_count(10)
    recovery = page.locator(".codes li").first.inner_text()
    for right in (totp.at(clock.advance(timedelta(seconds=30))), recovery):
        again = open_page(None, locale=locale, expects="status of 401")
        again.goto("/sign-in")
        sign_in(again, "mei@example.com")
        expect(again.get_by_role("heading", level=1)).to_have_text(words("Second factor", locale))
        again.locator("#code").fill("000000")
        again.keyboard.press("Enter")
        expect(again.get_by_role("alert")).to_have_text(words("The code is not right, or it was used before.", locale))
        again.locator("#code").fill(right)
        again.keyboard.press("Enter")
        is_inside(again)


@LOCALES
def test_single_sign_on_goes_to_the_provider_and_back(open_page: OpenPage, suite: Suite, address: str, locale: str) -> None:
    with provider_process() as issuer:
        suite.sign_on = sign_on_with(suite, issuer)
        # The provider's own pages ask for a style sheet from elsewhere.
        page = open_page(None, locale=locale, expects="Failed to load resource")
        page.goto("/o/acme/members")
        page.get_by_role("link", name=words("Sign in with %(name)s", locale) % {"name": "Example"}).click()
        page.wait_for_url(f"{issuer}/**")
        page.get_by_role("button", name="mei", exact=True).click()
        is_inside(page, "/o/acme/members")  # her groups made her a member, and an administrator
        expect(page.get_by_role("cell").filter(has_text="mei@example.com")).to_be_visible()
        other = open_page(None, locale=locale, expects="Failed to load resource")
        other.goto("/sign-in")
        other.get_by_role("link", name=words("Sign in with %(name)s", locale) % {"name": "Example"}).click()
        other.get_by_role("button", name="Deny").click()
        other.wait_for_url(f"{address}/sign-in/sso/return**")
        told = words("Single sign-on did not succeed. Try again, or ask an administrator.", locale)
        expect(other.get_by_role("alert")).to_have_text(told)
