"""The ways in, in a browser and in both languages: sign-in, second factor, reset, invitation, and single sign-on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyotp
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.people import PASSWORD
from tests.doubles import FrozenClock
from tests.provider import provider_process, sign_on_with
from tests.service.suites import KeepingMailer
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

NEW = "another good password"
LOCALES = pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
WORDS = {
    "wrong": ("The e-mail address or the password is not right.", "邮箱地址或密码不正确。"),
    "forgot": ("Forgot your password?", "忘记密码？"),
    "asked": ("Look into your mailbox", "请查看邮箱"),
    "closed": ("This link does not open any more", "此链接已失效"),
    "changed": ("The password was changed. Sign in with it.", "密码已更改，请用新密码登录。"),
    "invited": ("You are invited", "您已获邀请"),
    "code": ("Second factor", "两步验证"),
    "wrong code": ("The code is not right, or it was used before.", "验证码不正确或已被使用。"),
    "refused": ("Single sign-on did not succeed. Try again, or ask an administrator.", "单点登录未成功。请重试，或联系管理员。"),
    "sso": ("Sign in with Example", "使用 Example 登录"),
}


def words(name: str, locale: str) -> str:
    """Return what a page says in a language."""
    return WORDS[name][locale == "zh-CN"]


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
    return Suite(meter, people=people, mailer=mailer)


def link_in(mailer: KeepingMailer, address: str) -> str:
    """Return where the link of the last letter leads."""
    return address + "/" + mailer.letters[-1].link.split("/", 3)[3]


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Fill in the form of the sign-in page, and send it."""
    page.locator("#email").fill(email)
    page.locator("#password").fill(password)
    page.keyboard.press("Enter")
