"""Second factors: a code of the right moment, once; recovery codes, once each; and guessing is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pyotp
import pytest
import sqlalchemy

from tests.doubles import FrozenClock
from tests.service.suites import ADA, PASSWORD, actions_in, suite_on
from tokenwell.errors import CredentialsInvalid, LinkInvalid, RequestInvalid, SecondFactorNeeded, SignInThrottled
from tokenwell.service.identity.people import STEP_LIFETIME, Person
from tokenwell.service.identity.second_factors import FAILURES_PER_PERSON, RECOVERY_CODES, SecondFactors
from tokenwell.service.suite import Suite

SOURCE = "192.0.2.9"


@pytest.fixture
def suite(database_url: str, clock: FrozenClock) -> Iterator[Suite]:
    """Two organizations."""
    with suite_on(database_url, clock) as opened:
        yield opened


@pytest.fixture
def mei(suite: Suite) -> Person:
    """Somebody who can sign in."""
    return suite.people.create_person(email="mei@example.com", password=PASSWORD)


class Phone:
    """An authenticator app that scanned a secret."""

    def __init__(self, secret: str, clock: FrozenClock) -> None:
        self._totp = pyotp.TOTP(secret)
        self._clock = clock

    def code(self, later: timedelta = timedelta()) -> str:
        """Return the code it shows."""
        return self._totp.at(self._clock() + later)


@pytest.fixture
def phone(suite: Suite, mei: Person, clock: FrozenClock) -> Phone:
    """Mei's phone, enrolled a while ago."""
    offer = suite.second_factors.begin(mei)
    phone = Phone(offer.secret, clock)
    suite.second_factors.confirm(mei, offer.sealed, phone.code(), by=ADA)
    clock.advance(timedelta(minutes=2))
    return phone


def first_step(suite: Suite) -> str:
    with pytest.raises(SecondFactorNeeded) as needed:
        suite.people.sign_in("mei@example.com", PASSWORD, source=SOURCE)
    return str(needed.value.details["step"])


def second_step(factors: SecondFactors, step: str, code: str) -> object:
    return factors.sign_in(step, code, source=SOURCE)


def test_an_offer_is_a_secret_a_picture_of_it_and_the_same_when_shown_again(suite: Suite, mei: Person) -> None:
    offer = suite.second_factors.begin(mei)
    assert offer.qr_svg.startswith("<svg")
    assert "style=" not in offer.qr_svg
    assert suite.second_factors.begin(mei, offer.sealed) == offer
    assert suite.second_factors.begin(mei).secret != offer.secret
    assert suite.second_factors.codes_left(mei.id) is None


def test_a_wrong_code_enrols_nothing(suite: Suite, mei: Person, clock: FrozenClock) -> None:
    offer = suite.second_factors.begin(mei)
    code = Phone(offer.secret, clock).code()
    other = suite.people.create_person(email="vic@example.com", password=PASSWORD)
    wrong = "000000" if code != "000000" else "111111"
    for person, sealed, typed in (
        (mei, offer.sealed, wrong),
        (other, offer.sealed, code),
        (mei, "nonsense", code),
        (mei, "", code),
    ):
        with pytest.raises(RequestInvalid):
            suite.second_factors.confirm(person, sealed, typed, by=ADA)
    suite.people.sign_in("mei@example.com", PASSWORD, source=SOURCE)


def test_neither_secret_nor_codes_are_in_the_database(suite: Suite, mei: Person, clock: FrozenClock) -> None:
    offer = suite.second_factors.begin(mei)
    codes = suite.second_factors.confirm(mei, offer.sealed, Phone(offer.secret, clock).code(), by=ADA)
    assert len(set(codes)) == RECOVERY_CODES
    with suite.meter.engine.connect() as connection:
        for table in ("second_factor", "recovery_code", "act"):
            rows = str(connection.execute(sqlalchemy.text(f"SELECT * FROM {table}")).all())
            assert not any(secret in rows for secret in (offer.secret, *codes))
    assert "person.second_factor" in actions_in(suite)


def test_signing_in_takes_both_steps(suite: Suite, mei: Person, phone: Phone) -> None:
    step = first_step(suite)
    assert suite.people.sessions_of(mei.id) == ()
    signed_in = suite.second_factors.sign_in(step, phone.code(), source=SOURCE, agent="Firefox")
    session = suite.people.session(signed_in.token)
    assert session is not None
    assert session.person == mei
    assert [each.agent for each in suite.people.sessions_of(mei.id)] == ["Firefox"]


@pytest.mark.parametrize("apart", [-30, 0, 30])
def test_a_phone_may_be_half_a_minute_off(suite: Suite, phone: Phone, apart: int) -> None:
    assert second_step(suite.second_factors, first_step(suite), phone.code(timedelta(seconds=apart)))


@pytest.mark.parametrize("apart", [-61, 61])
def test_and_not_more(suite: Suite, phone: Phone, apart: int) -> None:
    with pytest.raises(CredentialsInvalid):
        second_step(suite.second_factors, first_step(suite), phone.code(timedelta(seconds=apart)))


def test_a_code_is_taken_once_and_none_before_it(suite: Suite, phone: Phone) -> None:
    second_step(suite.second_factors, first_step(suite), phone.code())
    for used in (phone.code(), phone.code(timedelta(seconds=-30))):
        with pytest.raises(CredentialsInvalid):
            second_step(suite.second_factors, first_step(suite), used)
    assert second_step(suite.second_factors, first_step(suite), phone.code(timedelta(seconds=30)))


def test_the_code_that_enrolled_does_not_sign_in(suite: Suite, mei: Person, clock: FrozenClock) -> None:
    offer = suite.second_factors.begin(mei)
    code = Phone(offer.secret, clock).code()
    suite.second_factors.confirm(mei, offer.sealed, code, by=ADA)
    with pytest.raises(CredentialsInvalid):
        second_step(suite.second_factors, first_step(suite), code)


def test_a_recovery_code_is_good_for_one_sign_in_however_it_is_typed(suite: Suite, mei: Person, clock: FrozenClock) -> None:
    offer = suite.second_factors.begin(mei)
    codes = suite.second_factors.confirm(mei, offer.sealed, Phone(offer.secret, clock).code(), by=ADA)
    typed = codes[3].replace("-", " ").upper()
    assert second_step(suite.second_factors, first_step(suite), typed)
    assert suite.second_factors.codes_left(mei.id) == RECOVERY_CODES - 1
    with pytest.raises(CredentialsInvalid):
        second_step(suite.second_factors, first_step(suite), codes[3])


def test_guessing_is_bounded_across_first_steps(suite: Suite, phone: Phone, clock: FrozenClock) -> None:
    wrong = "000000" if phone.code() != "000000" else "111111"
    for _ in range(FAILURES_PER_PERSON):
        with pytest.raises(CredentialsInvalid):
            second_step(suite.second_factors, first_step(suite), wrong)
    with pytest.raises(SignInThrottled):
        second_step(suite.second_factors, first_step(suite), phone.code())


def test_the_first_step_is_good_for_one_session_and_for_a_few_minutes(suite: Suite, phone: Phone, clock: FrozenClock) -> None:
    step = first_step(suite)
    second_step(suite.second_factors, step, phone.code())
    clock.advance(timedelta(minutes=1))
    with pytest.raises(LinkInvalid):
        second_step(suite.second_factors, step, phone.code())
    late = first_step(suite)
    clock.advance(STEP_LIFETIME)
    with pytest.raises(LinkInvalid):
        second_step(suite.second_factors, late, phone.code())
    with pytest.raises(LinkInvalid):
        second_step(suite.second_factors, "nonsense", phone.code())


def test_a_new_password_ends_first_steps(suite: Suite, mei: Person, phone: Phone) -> None:
    step = first_step(suite)
    suite.people.set_password(mei.id, "another good password")
    with pytest.raises(LinkInvalid):
        second_step(suite.second_factors, step, phone.code())


def test_it_is_removed_with_the_password_alone(suite: Suite, mei: Person, phone: Phone) -> None:
    with pytest.raises(CredentialsInvalid):
        suite.second_factors.remove(mei, "wrong", source=SOURCE, by=ADA)
    suite.second_factors.remove(mei, PASSWORD, source=SOURCE, by=ADA)
    assert suite.people.sign_in("mei@example.com", PASSWORD, source=SOURCE)
