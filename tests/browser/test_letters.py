"""From a letter to a pack: a real server sends the letter on a request for tokens, and its link approves it in a browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.alerts.receivers import MailSink, mail_sink, parts_of
from tests.browser.people import PASSWORD
from tests.wiring.processes import PATIENCE_SECONDS, running
from tokenwell import wiring
from tokenwell.config import Settings


@pytest.fixture
def sink() -> Iterator[MailSink]:
    """A mail server."""
    with mail_sink() as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path, sink: MailSink) -> Settings:
    """The settings of a server that sends letters through it, on a database in which Mei belongs to northwind and Ada is a
    platform administrator."""
    settings = Settings(
        database_url=f"sqlite:///{tmp_path / 'tokenwell.db'}", smtp_host="127.0.0.1", smtp_port=sink.port, smtp_security="none"
    )
    with ExitStack() as opened:
        meter = opened.enter_context(wiring.open_meter(settings, create=True))
        meter.create_organization("northwind", name="Northwind Support")
        people = wiring.open_people(meter, settings)
        mei = people.create_person(email="mei@example.com", password=PASSWORD, name="Mei Lin")
        people.add_member("northwind", mei.id, "organization_admin")
        people.create_admin(email="ada@example.com", password=PASSWORD, name="Ada Root")
    return settings


@pytest.fixture
def address(settings: Settings, tmp_path: Path) -> Iterator[str]:
    """Where that server answers."""
    variables = {name: text for name, text in settings.to_env().items() if not name.endswith(("_PORT", "_UPSTREAM_URL")) and text}
    variables["TOKENWELL_SMTP_PORT"] = str(settings.smtp_port)
    with running("serve", directory=tmp_path, **variables) as server:
        yield server.address
        code, _, err = server.stop()
        assert code == 0, err


def letter_with_a_link(sink: MailSink) -> str:
    """Return the link by which the letter to Ada approves, once it has arrived."""
    pause = threading.Event()
    for _ in range(PATIENCE_SECONDS * 10):
        for mail in list(sink.mails):
            found = re.search(r"https?://\S+/topup\?token=\S+", parts_of(mail)[0])
            if found and "ada@example.com" in str(mail["to"]):
                return found[0]
        pause.wait(0.1)
    raise AssertionError([(str(mail["to"]), str(mail["subject"])) for mail in sink.mails])


def test_the_link_of_a_letter_approves_a_request_once(
    open_page: Callable[..., Page], open_context: Callable[..., BrowserContext], sink: MailSink
) -> None:
    mei = open_page()
    mei.get_by_role("link", name="Request top-up").first.click()
    dialog = mei.get_by_role("dialog", name="Request top-up")
    dialog.get_by_label("Tokens").fill("5M")
    dialog.get_by_role("button", name="Request 5,000,000").click()
    expect(mei.get_by_text("Top-up requested by Mei Lin").first).to_be_visible()
    link = letter_with_a_link(sink)
    ada = open_context().new_page()  # nobody is signed in there
    ada.goto(link)
    expect(ada.get_by_text("Mei Lin asked for 5,000,000 tokens for Northwind Support.")).to_be_visible()
    mei.reload()
    expect(mei.locator("[data-pack]")).to_have_count(0)  # opening it does nothing
    ada.get_by_role("button", name="Grant 5,000,000").click()
    expect(ada.get_by_text("5,000,000 tokens were granted.")).to_be_visible()
    ada.goto(link)
    expect(ada.get_by_role("heading", name="This request was decided already")).to_be_visible()
    mei.reload()
    expect(mei.locator('[data-pack="PK-1"]')).to_contain_text("5,000,000")
