"""The pages on access in a browser: within reach in every theme and language, and their forms in front of their page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_reach import check
from tests.doubles import FrozenClock
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

OpenPage = Callable[..., Page]


@pytest.fixture
def suite(meter: Meter, people: People, clock: FrozenClock) -> Suite:
    """Northwind has tokens, services, keys, members and somebody invited."""
    meter.grant("northwind", "30M", expires_at=clock() + timedelta(days=30))
    suite = Suite(meter, people=people)
    agent = suite.services.create("northwind", name="Support agent").service
    tagging = suite.services.create("northwind", name="Auto-tagging", lane="background", reserve="500k").service
    suite.services.disable("northwind", tagging.id)
    suite.keys.create("northwind", name="Production", service_id=agent.id, models=["gpt-5*"], tokens_per_day="2M")
    old = suite.keys.create("northwind", name="Old").key
    suite.keys.revoke("northwind", old.id)
    suite.invitations.invite("northwind", email="new@example.com", role="viewer", address_of=str)
    suite.invitations.invite(None, email="grace@example.com", role="platform_admin", address_of=str)
    return suite


@pytest.mark.parametrize(("theme", "language"), [("light", "en-GB"), ("dark", "zh-CN")])
def test_every_page_on_access_is_within_reach(open_page: OpenPage, suite: Suite, theme: str, language: str) -> None:
    person = suite.people.find("mei@example.com")
    assert person is not None
    mei = open_page(color_scheme=theme, locale=language)
    ada = open_page("ada@example.com", color_scheme=theme, locale=language)
    stranger = open_page(None, color_scheme=theme, locale=language, expects="status of 404")
    base, wrong = "/o/northwind", []
    edit = f"/keys/{suite.keys.list('northwind').items[-1].id}/edit"
    visits = [
        (mei, base + path) for path in ("/services", "/services/new", "/keys/new", edit, "/members", "/members/invite", "/audit")
    ]
    visits += [(mei, path) for path in ("/profile", "/profile/password", "/profile/second-factor")]
    visits += [(ada, path) for path in ("/admin/members", "/admin/audit", f"/admin/members/{person.id}/reset")]
    visits += [(stranger, path) for path in ("/forgot", "/invitation?token=used")]
    for page, path in visits:
        page.goto(path)
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            wrong += check(page, f"{path} {width}")
    assert wrong == []


def test_a_service_and_a_key_are_made_in_front_of_their_page(open_page: OpenPage, suite: Suite) -> None:
    page = open_page(expects="status of 422")
    page.goto("/o/northwind/services")
    page.get_by_role("link", name="New service").click()
    page.get_by_label("Name").fill("Knowledge base")
    page.get_by_role("button", name="Create service").click()
    expect(page.get_by_text("The AI service Knowledge base was created.")).to_be_visible()
    page.get_by_role("link", name="New key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Issue key").click()
    expect(dialog.get_by_text("A name is needed")).to_be_visible()
    dialog.get_by_label("Name").fill("Staging")
    dialog.get_by_role("button", name="Issue key").click()
    secret = dialog.get_by_label("Secret").input_value()
    assert secret.startswith("tw_live_")
    assert check(page, "a key that was issued") == []
    dialog.get_by_role("link", name="Done").click()
    expect(page.get_by_text("Staging")).to_be_visible()
    assert secret not in page.content()
