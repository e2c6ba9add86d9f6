"""Invitations: a link that opens once, within a week, for whom it was meant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy

from tests.doubles import FrozenClock
from tests.service.suites import ADA, PASSWORD, KeepingMailer, actions_in, address_of, suite_on, token_in
from tokenwell.core.letters import LetterKind
from tokenwell.errors import (
    CredentialsInvalid,
    LinkInvalid,
    NotFound,
    OrganizationNotFound,
    PersonExists,
    RequestInvalid,
)
from tokenwell.service.identity.invitations import LIFETIME
from tokenwell.service.suite import Suite

SOURCE = "192.0.2.9"


@pytest.fixture
def mailer() -> KeepingMailer:
    """What would send the letters."""
    return KeepingMailer()


@pytest.fixture
def suite(database_url: str, clock: FrozenClock, mailer: KeepingMailer) -> Iterator[Suite]:
    """Two organizations."""
    with suite_on(database_url, clock, mailer) as opened:
        yield opened


def invite(
    suite: Suite, mailer: KeepingMailer, email: str = "mei@example.com", role: str = "viewer", organization: str | None = "acme"
) -> str:
    invited = suite.invitations.invite(organization, email=email, role=role, address_of=address_of, by=ADA)
    assert (invited.address, invited.is_sent) == ("", True)
    return token_in(mailer.letters[-1].link)


def test_somebody_new_is_asked_in_by_letter_and_comes_with_a_password_of_their_own(suite: Suite, mailer: KeepingMailer) -> None:
    token = invite(suite, mailer, " Mei@Example.com ", "organization_admin")
    letter = mailer.letters[0]
    assert (letter.kind, letter.to) == (LetterKind.INVITATION, "mei@example.com")
    assert letter.facts == {"organization": "Acme Parts", "inviter": "Ada Root", "hours": "168"}
    invitation, is_known = suite.invitations.find(token)
    assert (invitation.organization_name, invitation.role, is_known) == ("Acme Parts", "organization_admin", False)
    mei = suite.invitations.accept(token, password=PASSWORD, name="Mei Lin", source=SOURCE)
    assert [each.role for each in suite.people.organizations_of(mei)] == ["organization_admin"]
    assert suite.people.sign_in("mei@example.com", PASSWORD, source=SOURCE).person == mei
    assert actions_in(suite, "acme") == ["member.invite", "member.add"]


def test_where_no_mail_can_be_sent_the_link_is_shown_to_who_invites_and_kept_nowhere(suite: Suite, mailer: KeepingMailer) -> None:
    mailer.is_ready = False
    invited = suite.invitations.invite("acme", email="mei@example.com", role="viewer", address_of=address_of)
    assert mailer.letters == []
    with suite.meter.engine.connect() as connection:
        for table in ("access_link", "act", "delivery", "creation"):
            assert token_in(invited.address) not in str(connection.execute(sqlalchemy.text(f"SELECT * FROM {table}")).all())
    suite.invitations.accept(token_in(invited.address), password=PASSWORD, source=SOURCE)


def test_an_invitation_sent_again_opens_by_its_new_link_only_and_for_as_long(
    suite: Suite, mailer: KeepingMailer, clock: FrozenClock
) -> None:
    old = invite(suite, mailer)
    (invitation,) = suite.invitations.list("acme").items
    clock.advance(LIFETIME - timedelta(seconds=1))
    first, again = [
        suite.invitations.resend("acme", invitation.id, address_of=address_of, language="zh", key="k", by=ADA) for _ in range(2)
    ]
    assert (first.is_sent, first.replayed, again.replayed, len(mailer.letters)) == (True, False, True, 2)
    assert (mailer.letters[1].language, mailer.letters[1].to, mailer.letters[1].facts) == (
        "zh",
        "mei@example.com",
        mailer.letters[0].facts,
    )
    clock.advance(LIFETIME - timedelta(seconds=1))
    with pytest.raises(LinkInvalid):
        suite.invitations.find(old)
    suite.invitations.accept(token_in(mailer.letters[1].link), password=PASSWORD, source=SOURCE)
    assert actions_in(suite, "acme") == ["member.invite", "member.invite_again", "member.add"]
    for organization_id in ("acme", "globex", None):
        with pytest.raises(NotFound):
            suite.invitations.resend(organization_id, invitation.id, address_of=address_of)


def test_a_link_opens_once(suite: Suite, mailer: KeepingMailer) -> None:
    token = invite(suite, mailer)
    suite.invitations.accept(token, password=PASSWORD, source=SOURCE)
    with pytest.raises(LinkInvalid):
        suite.invitations.accept(token, password=PASSWORD, source=SOURCE)
    with pytest.raises(LinkInvalid):
        suite.invitations.find(token)


def test_a_link_ends_after_a_week(suite: Suite, mailer: KeepingMailer, clock: FrozenClock) -> None:
    token = invite(suite, mailer)
    clock.advance(LIFETIME - timedelta(microseconds=1))
    suite.invitations.find(token)
    clock.advance(timedelta(microseconds=1))
    with pytest.raises(LinkInvalid):
        suite.invitations.accept(token, password=PASSWORD, source=SOURCE)
    assert suite.invitations.list("acme").items == ()


def test_an_invitation_never_opens_an_account_that_is_somebodys(suite: Suite, mailer: KeepingMailer) -> None:
    vic = suite.people.create_person(email="vic@example.com", password=PASSWORD)
    token = invite(suite, mailer, "vic@example.com")
    assert suite.invitations.find(token)[1]
    with pytest.raises(CredentialsInvalid):
        suite.invitations.accept(token, password="another password", source=SOURCE)
    assert suite.people.organizations_of(vic) == ()
    suite.invitations.accept(token, password=PASSWORD, name="Somebody else", source=SOURCE)
    assert [each.organization_id for each in suite.people.organizations_of(vic)] == ["acme"]
    assert suite.people.get(vic.id).name == ""


def test_a_password_that_cannot_be_leaves_the_link_as_it_was(suite: Suite, mailer: KeepingMailer) -> None:
    token = invite(suite, mailer)
    with pytest.raises(RequestInvalid):
        suite.invitations.accept(token, password="short", source=SOURCE)
    suite.invitations.accept(token, password=PASSWORD, source=SOURCE)


def test_a_platform_administrator_is_asked_in_apart_from_organizations(suite: Suite, mailer: KeepingMailer) -> None:
    token = invite(suite, mailer, "grace@example.com", "platform_admin", None)
    assert suite.invitations.accept(token, password=PASSWORD, source=SOURCE).is_platform_admin
    for organization, role in ((None, "viewer"), ("acme", "platform_admin"), ("acme", "owner")):
        with pytest.raises(RequestInvalid):
            suite.invitations.invite(organization, email="x@example.com", role=role, address_of=address_of)


def test_who_is_a_member_already_is_not_asked_again(suite: Suite) -> None:
    vic = suite.people.create_person(email="vic@example.com", password=PASSWORD)
    suite.people.add_member("acme", vic.id, "viewer")
    with pytest.raises(PersonExists):
        suite.invitations.invite("acme", email="vic@example.com", role="viewer", address_of=address_of)
    suite.invitations.invite("beta", email="vic@example.com", role="viewer", address_of=address_of)


def test_an_invitation_is_cancelled_by_its_own_organization_alone(suite: Suite, mailer: KeepingMailer) -> None:
    token = invite(suite, mailer)
    (invitation,) = suite.invitations.list("acme").items
    for organization in ("beta", None):
        with pytest.raises(NotFound):
            suite.invitations.cancel(organization, invitation.id)
        assert suite.invitations.list(organization).items == ()
    suite.invitations.cancel("acme", invitation.id)
    with pytest.raises(LinkInvalid):
        suite.invitations.find(token)
    with pytest.raises(NotFound):
        suite.invitations.cancel("acme", invitation.id)


def test_asking_twice_with_one_key_is_asking_once(suite: Suite, mailer: KeepingMailer) -> None:
    first = suite.invitations.invite("acme", email="mei@example.com", role="viewer", address_of=address_of, key="once")
    again = suite.invitations.invite("acme", email="mei@example.com", role="viewer", address_of=address_of, key="once")
    assert (again.replayed, again.invitation.id) == (True, first.invitation.id)
    assert len(mailer.letters) == len(suite.invitations.list("acme").items) == 1


def test_bad_input_asks_nobody(suite: Suite, mailer: KeepingMailer) -> None:
    with pytest.raises(RequestInvalid):
        suite.invitations.invite("acme", email="nobody", role="viewer", address_of=address_of)
    with pytest.raises(OrganizationNotFound):
        suite.invitations.invite("nowhere", email="mei@example.com", role="viewer", address_of=address_of)
    assert mailer.letters == []
