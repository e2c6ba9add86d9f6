"""Password resets: for whom they were sent to, once, within an hour; and nothing learnt by asking."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.doubles import FrozenClock
from tests.service.suites import ADA, PASSWORD, KeepingMailer, actions_in, address_of, suite_on, token_in
from tokenwell.errors import CredentialsInvalid, LinkInvalid, PersonNotFound, RequestInvalid
from tokenwell.service.identity.people import FAILURE_WINDOW, Person
from tokenwell.service.identity.resets import LETTERS_PER_EMAIL, LIFETIME
from tokenwell.service.suite import Suite

SOURCE = "192.0.2.9"
NEW = "another good password"


@pytest.fixture
def mailer() -> KeepingMailer:
    """What would send the letters."""
    return KeepingMailer()


@pytest.fixture
def suite(database_url: str, clock: FrozenClock, mailer: KeepingMailer) -> Iterator[Suite]:
    """Two organizations."""
    with suite_on(database_url, clock, mailer) as opened:
        yield opened


@pytest.fixture
def mei(suite: Suite) -> Person:
    """Somebody who forgets."""
    return suite.people.create_person(email="mei@example.com", password=PASSWORD)


def ask(suite: Suite, email: str = "mei@example.com") -> None:
    suite.resets.ask(email, source=SOURCE, address_of=address_of)


def test_a_letter_gives_another_password_and_ends_every_session(suite: Suite, mailer: KeepingMailer, mei: Person) -> None:
    session = suite.people.sign_in("mei@example.com", PASSWORD, source=SOURCE)
    ask(suite, " MEI@example.com")
    token = token_in(mailer.letters[0].link)
    suite.resets.check(token)
    suite.resets.reset(token, NEW, source=SOURCE)
    assert suite.people.session(session.token) is None
    with pytest.raises(CredentialsInvalid):
        suite.people.sign_in("mei@example.com", PASSWORD, source=SOURCE)
    assert suite.people.sign_in("mei@example.com", NEW, source=SOURCE).person == mei
    assert actions_in(suite) == ["person.create", "person.reset_link", "person.password"]


def test_a_link_opens_once_and_closes_the_others(suite: Suite, mailer: KeepingMailer, mei: Person) -> None:
    ask(suite)
    ask(suite)
    first, second = (token_in(letter.link) for letter in mailer.letters)
    suite.resets.reset(second, NEW, source=SOURCE)
    for token in (first, second):
        with pytest.raises(LinkInvalid):
            suite.resets.reset(token, NEW, source=SOURCE)


def test_a_link_ends_after_an_hour(suite: Suite, mailer: KeepingMailer, mei: Person, clock: FrozenClock) -> None:
    ask(suite)
    token = token_in(mailer.letters[0].link)
    clock.advance(LIFETIME)
    with pytest.raises(LinkInvalid):
        suite.resets.check(token)
    with pytest.raises(LinkInvalid):
        suite.resets.reset(token, NEW, source=SOURCE)


def test_nobody_gets_a_letter_who_is_not_known_or_is_barred(suite: Suite, mailer: KeepingMailer, mei: Person) -> None:
    for email in ("who@example.com", "no address", ""):
        ask(suite, email)
    suite.people.disable(mei.id)
    ask(suite)
    assert mailer.letters == []


def test_an_address_gets_so_many_letters_and_then_none_for_a_while(
    suite: Suite, mailer: KeepingMailer, mei: Person, clock: FrozenClock
) -> None:
    for _ in range(LETTERS_PER_EMAIL + 3):
        ask(suite)
    assert len(mailer.letters) == LETTERS_PER_EMAIL
    clock.advance(FAILURE_WINDOW + timedelta(seconds=1))
    ask(suite)
    assert len(mailer.letters) == LETTERS_PER_EMAIL + 1
    suite.people.sign_in("mei@example.com", PASSWORD, source=SOURCE)


def test_a_password_that_cannot_be_leaves_the_link_as_it_was(suite: Suite, mailer: KeepingMailer, mei: Person) -> None:
    ask(suite)
    token = token_in(mailer.letters[0].link)
    with pytest.raises(RequestInvalid):
        suite.resets.reset(token, "short", source=SOURCE)
    suite.resets.reset(token, NEW, source=SOURCE)


def test_an_administrator_may_pass_a_link_on(suite: Suite, mei: Person) -> None:
    token = token_in(suite.resets.link_for(mei.id, address_of=address_of, by=ADA))
    suite.resets.reset(token, NEW, source=SOURCE)
    with pytest.raises(PersonNotFound):
        suite.resets.link_for("per_nobody", address_of=address_of, by=ADA)


def test_a_token_of_another_kind_opens_nothing(suite: Suite, mailer: KeepingMailer) -> None:
    suite.invitations.invite("acme", email="new@example.com", role="viewer", address_of=address_of)
    with pytest.raises(LinkInvalid):
        suite.resets.reset(token_in(mailer.letters[0].link), NEW, source=SOURCE)
