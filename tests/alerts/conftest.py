"""Fixtures of the alerts' tests: receivers, a mail server, and a house."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.alerts.house import House, open_house
from tests.alerts.receivers import MailSink, Receiver, mail_sink, receiving
from tests.doubles import FrozenClock


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def sink() -> Iterator[MailSink]:
    """A mail server."""
    with mail_sink() as sink:
        yield sink


@pytest.fixture
def house(database_url: str, clock: FrozenClock, sink: MailSink) -> Iterator[House]:
    """A house whose clock the test moves, with a mail server."""
    with open_house(database_url, clock, smtp_host="127.0.0.1", smtp_port=sink.port, smtp_security="none") as house:
        yield house
