"""First run: the door is open to whoever holds the printed token, until somebody administers the platform."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy

from tests.doubles import FrozenClock
from tests.service.suites import PASSWORD, actions_in, suite_on
from tokenwell.errors import LinkInvalid, RequestInvalid, SignInThrottled
from tokenwell.service.identity.first_run import LIFETIME, TRIES
from tokenwell.service.suite import Suite

SOURCE = "192.0.2.9"


@pytest.fixture
def suite(database_url: str, clock: FrozenClock) -> Iterator[Suite]:
    """A server that nobody administers."""
    with suite_on(database_url, clock) as opened:
        yield opened


def set_up(suite: Suite, token: str, password: str = PASSWORD) -> object:
    return suite.first_run.set_up(token, email="ada@example.com", password=password, name="Ada", source=SOURCE)


def test_the_token_makes_the_first_administrator_and_closes_the_door(suite: Suite) -> None:
    token = suite.first_run.new_token()
    assert token is not None
    assert suite.first_run.is_open()
    set_up(suite, f" {token} ")
    assert not suite.first_run.is_open()
    assert suite.first_run.new_token() is None
    with pytest.raises(LinkInvalid):
        set_up(suite, token)
    assert suite.people.sign_in("ada@example.com", PASSWORD, source=SOURCE).person.is_platform_admin
    assert actions_in(suite) == ["person.create"]


def test_a_new_token_closes_the_one_before_and_a_wrong_one_opens_nothing(suite: Suite) -> None:
    first, second = suite.first_run.new_token(), suite.first_run.new_token()
    for token in (first, "", "nonsense"):
        with pytest.raises(LinkInvalid):
            set_up(suite, token or "")
    with pytest.raises(RequestInvalid):
        set_up(suite, second or "", password="short")
    assert set_up(suite, second or "")


def test_the_database_holds_a_hash_of_it(suite: Suite) -> None:
    token = suite.first_run.new_token()
    with suite.meter.engine.connect() as connection:
        assert str(token) not in str(connection.execute(sqlalchemy.text("SELECT * FROM access_link")).all())


def test_it_ends_by_itself_and_guessing_is_bounded(suite: Suite, clock: FrozenClock) -> None:
    token = suite.first_run.new_token() or ""
    for _ in range(TRIES):
        with pytest.raises(LinkInvalid):
            set_up(suite, "guess")
    with pytest.raises(SignInThrottled):
        set_up(suite, token)
    clock.advance(LIFETIME)
    with pytest.raises(LinkInvalid):
        set_up(suite, token)


def test_an_administrator_made_on_the_command_line_closes_it(suite: Suite) -> None:
    token = suite.first_run.new_token() or ""
    suite.people.create_admin(email="grace@example.com", password=PASSWORD)
    with pytest.raises(LinkInvalid):
        set_up(suite, token)
