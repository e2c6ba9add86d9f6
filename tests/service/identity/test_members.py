"""Members and administrators: roles are changed and ended at once, and the last administrator stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.doubles import FrozenClock
from tests.service.suites import ADA, PASSWORD, actions_in, suite_on
from tokenwell.errors import LastAdministrator, OrganizationNotFound, PersonNotFound, RequestInvalid
from tokenwell.service.identity.people import Person, Role
from tokenwell.service.suite import Suite


@pytest.fixture
def suite(database_url: str, clock: FrozenClock) -> Iterator[Suite]:
    """Two organizations."""
    with suite_on(database_url, clock) as opened:
        yield opened


def person(suite: Suite, name: str, role: str | None = None, organization: str = "acme") -> Person:
    made = suite.people.create_person(email=f"{name}@example.com", password=PASSWORD, name=name.title())
    if role is not None:
        suite.people.add_member(organization, made.id, role)
    return made


def test_members_are_listed_with_their_roles_page_by_page(suite: Suite) -> None:
    made = [person(suite, f"member{number}", "viewer").id for number in range(3)]
    person(suite, "elsewhere", "viewer", "beta")
    first = suite.members.list("acme", limit=2)
    second = suite.members.list("acme", cursor=first.next_cursor, limit=2)
    assert sorted(each.person.id for each in first.items + second.items) == sorted(made)
    assert second.next_cursor is None
    with pytest.raises(OrganizationNotFound):
        suite.members.list("nowhere")


def test_a_role_is_changed_at_once_and_told(suite: Suite) -> None:
    person(suite, "mei", "organization_admin")
    vic = person(suite, "vic", "viewer")
    assert suite.members.set_role("acme", vic.id, "organization_admin", by=ADA).role is Role.ORGANIZATION_ADMIN
    suite.members.set_role("acme", vic.id, "organization_admin", by=ADA)
    assert actions_in(suite, "acme") == ["member.add", "member.add", "member.role"]
    line = suite.audit.list("acme").items[0]
    assert (line.act.actor.name, line.act.subject, line.act.before, line.act.after) == (
        "Ada Root", vic.id, '{"role":"viewer"}', '{"role":"organization_admin"}',
    )  # fmt: skip
    with pytest.raises(RequestInvalid):
        suite.members.set_role("acme", vic.id, "owner")


def test_a_member_is_removed_at_once(suite: Suite) -> None:
    vic = person(suite, "vic", "viewer")
    suite.members.remove("acme", vic.id, by=ADA)
    assert suite.people.organizations_of(vic) == ()
    for act in (suite.members.remove, suite.members.get):
        with pytest.raises(PersonNotFound):
            act("acme", vic.id)


def test_the_last_administrator_of_an_organization_stays(suite: Suite) -> None:
    mei = person(suite, "mei", "organization_admin")
    person(suite, "vic", "viewer")
    with pytest.raises(LastAdministrator):
        suite.members.remove("acme", mei.id)
    with pytest.raises(LastAdministrator):
        suite.members.set_role("acme", mei.id, "viewer")
    person(suite, "lee", "organization_admin")
    suite.members.remove("acme", mei.id)


def test_two_administrators_who_remove_each_other_at_once_leave_one(suite: Suite) -> None:
    pair = [person(suite, name, "organization_admin") for name in ("mei", "lee")]
    start, outcomes = threading.Barrier(2), []

    def remove(whom: Person) -> None:
        start.wait()
        try:
            suite.members.remove("acme", whom.id)
        except LastAdministrator:
            outcomes.append("refused")
        else:
            outcomes.append("removed")

    threads = [threading.Thread(target=remove, args=(each,)) for each in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "removed"]
    assert len(suite.members.list("acme").items) == 1


def test_another_organizations_member_is_not_there(suite: Suite) -> None:
    vic = person(suite, "vic", "viewer", "beta")
    for act in (suite.members.get, suite.members.remove):
        with pytest.raises(PersonNotFound):
            act("acme", vic.id)
    with pytest.raises(PersonNotFound):
        suite.members.set_role("acme", vic.id, "viewer")


def test_the_last_administrator_of_the_platform_stays(suite: Suite) -> None:
    ada = suite.people.create_admin(email="ada@example.com", password=PASSWORD)
    vic = person(suite, "vic")
    with pytest.raises(LastAdministrator):
        suite.members.set_platform_admin(ada.id, is_admin=False)
    with pytest.raises(LastAdministrator):
        suite.members.set_enabled(ada.id, is_enabled=False)
    assert suite.members.set_platform_admin(vic.id, is_admin=True, by=ADA).is_platform_admin
    assert not suite.members.set_platform_admin(ada.id, is_admin=False, by=ADA).is_platform_admin
    with pytest.raises(PersonNotFound):
        suite.members.set_platform_admin("per_nobody", is_admin=True)


def test_who_is_barred_loses_every_session_and_may_be_let_in_again(suite: Suite) -> None:
    vic = person(suite, "vic")
    session = suite.people.sign_in("vic@example.com", PASSWORD, source="192.0.2.9")
    assert suite.members.set_enabled(vic.id, is_enabled=False, by=ADA).disabled_at is not None
    assert suite.people.session(session.token) is None
    suite.members.set_enabled(vic.id, is_enabled=True, by=ADA)
    assert suite.people.sign_in("vic@example.com", PASSWORD, source="192.0.2.9")
    assert actions_in(suite)[-2:] == ["person.disable", "person.enable"]


def test_everybody_is_found_by_name_or_address(suite: Suite) -> None:
    mei = person(suite, "mei", "organization_admin")
    suite.people.add_member("beta", mei.id, "viewer")
    person(suite, "vic_1")
    found = suite.members.accounts(search="MEI").items
    assert [(each.person.id, each.organizations, each.has_second_factor) for each in found] == [(mei.id, 2, False)]
    assert len(suite.members.accounts(search="example.com").items) == 2
    assert [each.person.name for each in suite.members.accounts(search="c_1").items] == ["Vic_1"]
    assert suite.members.accounts(search="%").items == ()
