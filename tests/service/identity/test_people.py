"""People: persons, memberships, sessions, and the bound on guessing. On SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Any

import argon2
import pytest
import sqlalchemy

from tests.doubles import FrozenClock
from tokenwell.errors import (
    CredentialsInvalid,
    OrganizationNotFound,
    PersonExists,
    PersonNotFound,
    RequestInvalid,
    SignInThrottled,
    TokenwellError,
)
from tokenwell.service.identity import people as service
from tokenwell.service.identity.credentials import token_hash
from tokenwell.service.identity.people import FAILURE_WINDOW, FAILURES_PER_EMAIL, FAILURES_PER_SOURCE, People, Person, Role
from tokenwell.store import registry
from tokenwell.store.dialects import open_engine, parse_database
from tokenwell.store.identity.people import find_person, find_session
from tokenwell.store.migration import migrate
from tokenwell.store.reader import reading

PASSWORD = "correct horse battery"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@pytest.fixture
def engine(database_url: str) -> Iterator[sqlalchemy.Engine]:
    """A database with its tables."""
    engine = open_engine(parse_database(database_url))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def people(engine: sqlalchemy.Engine, clock: FrozenClock) -> People:
    """People with hashes that cost next to nothing."""
    return People(engine, clock, hasher=CHEAP)


@pytest.fixture
def mei(people: People) -> Person:
    """Somebody who can sign in."""
    return people.create_person(email="mei@example.com", password=PASSWORD, name="Mei Lin")


def rows_of(engine: sqlalchemy.Engine, table: str) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.exec_driver_sql(f"SELECT * FROM {table}"))


def fail(people: People, times: int, email: str = "mei@example.com", source: str = "192.0.2.1") -> None:
    for _ in range(times):
        with pytest.raises(CredentialsInvalid):
            people.sign_in(email, "a wrong password", source=source)


def test_a_person_signs_in_whatever_the_case_and_width_of_the_address(people: People, mei: Person) -> None:
    signed_in = people.sign_in("  ＭＥＩ@Example.COM ", PASSWORD, source="192.0.2.1")
    assert signed_in.person == mei
    session = people.session(signed_in.token)
    assert session is not None
    assert (session.person, session.csrf_token) == (mei, signed_in.csrf_token)


def test_a_password_is_the_same_however_its_accents_are_typed(people: People) -> None:
    people.create_person(email="ana@example.com", password="contrase\u00f1a larga")
    assert people.sign_in("ana@example.com", "contrasen\u0303a larga", source="192.0.2.1")


def test_an_address_is_taken_once(people: People, mei: Person) -> None:
    with pytest.raises(PersonExists) as caught:
        people.create_admin(email="MEI@example.com", password=PASSWORD)
    assert caught.value.details == {"email": "mei@example.com"}
    assert people.find("Mei@Example.com") == mei
    assert not mei.is_platform_admin
    assert people.find("nobody@example.com") is None


BAD_INPUT = [
    ("", PASSWORD, "", "email"),
    ("no-at", PASSWORD, "", "email"),
    ("two@at@example.com", PASSWORD, "", "email"),
    ("a b@example.com", PASSWORD, "", "email"),
    ("nul\x00@example.com", PASSWORD, "", "email"),
    ("a" * 250 + "@example.com", PASSWORD, "", "email"),
    ("a@example.com", "x" * 11, "", "password"),
    ("a@example.com", "x" * 1025, "", "password"),
    ("a@example.com", "界" * 342, "", "password"),
    ("a@example.com", "\ud800" * 12, "", "password"),
    ("a@example.com", PASSWORD, "x" * 101, "name"),
    ("a@example.com", PASSWORD, "line\nbreak", "name"),
]


def test_bad_input_is_refused_by_field_and_adds_nobody(
    people: People, engine: sqlalchemy.Engine, subtests: pytest.Subtests
) -> None:
    for email, password, name, field in BAD_INPUT:
        with subtests.test(email=email[:20], field=field):
            with pytest.raises(RequestInvalid) as caught:
                people.create_person(email=email, password=password, name=name)
            assert caught.value.details["field"] == field
    assert rows_of(engine, "person") == []


def test_passwords_at_the_limits_work(people: People) -> None:
    for number, password in enumerate(["x" * 12, "x" * 1024, "界" * 341 + "x"]):
        people.create_person(email=f"a{number}@example.com", password=password)
        assert people.sign_in(f"a{number}@example.com", password, source="192.0.2.1")


def test_nothing_in_the_database_opens_anything(people: People, engine: sqlalchemy.Engine, mei: Person) -> None:
    signed_in = people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")
    stored = repr([*rows_of(engine, "person"), *rows_of(engine, "session")])
    assert PASSWORD not in stored
    assert signed_in.token not in stored
    assert "$argon2id$" in stored


def test_the_hash_is_renewed_when_it_has_become_too_cheap(people: People, engine: sqlalchemy.Engine, mei: Person) -> None:
    dearer = argon2.PasswordHasher(time_cost=2, memory_cost=64, parallelism=1)
    again = People(engine, hasher=dearer)
    again.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")
    with reading(engine) as connection:
        found = find_person(connection, "mei@example.com")
    assert found is not None
    assert not dearer.check_needs_rehash(found[1])
    assert again.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")


class CountingHasher(argon2.PasswordHasher):
    """A hasher that remembers which hashes it was asked to compare with."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=64, parallelism=1)
        self.compared: list[str | bytes] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:
        self.compared.append(hash)
        return super().verify(hash, password)


REFUSED = [
    ("mei@example.com", "a wrong password"),
    ("nobody@example.com", PASSWORD),
    ("disabled@example.com", PASSWORD),
    ("not an address", PASSWORD),
    ("nul\x00@example.com", PASSWORD),
    ("mei@example.com", "x" * 5000),
    ("mei@example.com", ""),
]


def test_every_refusal_looks_the_same_and_costs_one_comparison(
    engine: sqlalchemy.Engine, clock: FrozenClock, subtests: pytest.Subtests
) -> None:
    hasher = CountingHasher()
    people = People(engine, clock, hasher=hasher)
    people.create_person(email="mei@example.com", password=PASSWORD)
    people.disable(people.create_person(email="disabled@example.com", password=PASSWORD).id)
    for email, password in REFUSED:
        with subtests.test(email=email, password=password[:20]):
            hasher.compared.clear()
            with pytest.raises(CredentialsInvalid) as caught:
                people.sign_in(email, password, source="192.0.2.1")
            assert (str(caught.value), caught.value.details) == ("The e-mail address or the password is not right.", {})
            assert len(hasher.compared) == 1


def test_failures_bar_an_address_until_they_are_old(people: People, clock: FrozenClock, mei: Person) -> None:
    fail(people, FAILURES_PER_EMAIL - 1)
    clock.advance(timedelta(minutes=5))
    fail(people, 1)
    with pytest.raises(SignInThrottled) as caught:
        people.sign_in("mei@example.com", PASSWORD, source="198.51.100.7")
    assert caught.value.details == {"retry_after_seconds": 10 * 60}
    clock.advance(timedelta(minutes=10))
    assert people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")


def test_an_unknown_address_is_barred_just_the_same(people: People) -> None:
    fail(people, FAILURES_PER_EMAIL, email="nobody@example.com")
    with pytest.raises(SignInThrottled):
        people.sign_in("Nobody@example.com", PASSWORD, source="198.51.100.7")


def test_failures_bar_a_source_whatever_addresses_it_tries(people: People, mei: Person) -> None:
    for number in range(FAILURES_PER_SOURCE):
        fail(people, 1, email=f"guess{number}@example.com")
    with pytest.raises(SignInThrottled):
        people.sign_in("mei@example.com", PASSWORD, source="::ffff:192.0.2.1")
    assert people.sign_in("mei@example.com", PASSWORD, source="192.0.2.2")


def test_one_customer_of_ipv6_is_one_source(people: People, mei: Person) -> None:
    for number in range(FAILURES_PER_SOURCE):
        fail(people, 1, email=f"guess{number}@example.com", source=f"2001:db8:1:2::{number:x}")
    with pytest.raises(SignInThrottled):
        people.sign_in("mei@example.com", PASSWORD, source="2001:db8:1:2:ffff::1")
    assert people.sign_in("mei@example.com", PASSWORD, source="2001:db8:1:3::1")


def test_signing_in_is_no_failure_and_being_barred_does_not_prolong_it(people: People, clock: FrozenClock, mei: Person) -> None:
    for _ in range(FAILURES_PER_EMAIL + 5):
        people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")
    fail(people, FAILURES_PER_EMAIL)
    for _ in range(FAILURES_PER_EMAIL):
        clock.advance(timedelta(minutes=1))
        with pytest.raises(SignInThrottled):
            people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")
    clock.advance(FAILURE_WINDOW - timedelta(minutes=10))
    assert people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")


def test_many_who_guess_at_once_are_bounded_too(engine: sqlalchemy.Engine, clock: FrozenClock, mei: Person) -> None:
    """Two processes' worth of services, sixteen threads: no more comparisons than the bound, whoever comes first."""
    hashers = [CountingHasher(), CountingHasher()]
    services = [People(engine, clock, hasher=hasher) for hasher in hashers]
    turn = count()

    def guess(_: int) -> type[TokenwellError]:
        try:
            services[next(turn) % 2].sign_in("mei@example.com", "a wrong password", source="192.0.2.1")
        except (CredentialsInvalid, SignInThrottled) as error:
            return type(error)
        raise AssertionError("a wrong password was taken")

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(guess, range(48)))
    assert outcomes.count(CredentialsInvalid) <= FAILURES_PER_EMAIL
    assert outcomes.count(SignInThrottled) >= 48 - FAILURES_PER_EMAIL
    assert sum(len(hasher.compared) for hasher in hashers) <= FAILURES_PER_EMAIL


def test_old_failures_and_ended_sessions_are_swept_when_somebody_signs_in(
    people: People, engine: sqlalchemy.Engine, clock: FrozenClock, mei: Person
) -> None:
    fail(people, 3, email="nobody@example.com")
    people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")
    clock.advance(service.SESSION_LIFETIME)
    people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")
    assert rows_of(engine, "sign_in_failure") == []
    assert len(rows_of(engine, "session")) == 1


def test_signing_in_again_replaces_the_token_that_the_browser_had(people: People, mei: Person) -> None:
    first = people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")
    second = people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1", replaces=first.token)
    assert first.token != second.token
    assert first.csrf_token != second.csrf_token
    assert people.session(first.token) is None
    assert people.session(second.token) is not None


def test_a_session_ends_at_its_lifetime_however_busy(people: People, clock: FrozenClock, mei: Person) -> None:
    token = people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1").token
    steps = service.SESSION_LIFETIME // timedelta(hours=1)
    for _ in range(steps - 1):
        clock.advance(timedelta(hours=1))
        assert people.session(token) is not None
    clock.advance(timedelta(hours=1))
    assert people.session(token) is None


def test_a_session_ends_when_it_lay_idle(people: People, clock: FrozenClock, mei: Person) -> None:
    token = people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1").token
    clock.advance(service.IDLE_LIMIT)
    assert people.session(token) is not None
    clock.advance(service.IDLE_LIMIT + timedelta(microseconds=1))
    assert people.session(token) is None


def test_a_page_view_writes_the_time_of_last_use_at_most_once_a_minute(
    people: People, engine: sqlalchemy.Engine, clock: FrozenClock, mei: Person
) -> None:
    token = people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1").token

    def seen_at() -> Any:
        with reading(engine) as connection:
            session = find_session(connection, token_hash(token))
        assert session is not None
        return session.seen_at

    signed_in_at = clock.now
    clock.advance(service.TOUCH_INTERVAL - timedelta(seconds=1))
    people.session(token)
    assert seen_at() == signed_in_at
    clock.advance(timedelta(seconds=1))
    people.session(token)
    assert seen_at() == clock.now


def test_signing_out_ends_this_session_or_all(people: People, mei: Person) -> None:
    tokens = [people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1").token for _ in range(3)]
    people.sign_out(tokens[0])
    assert [people.session(token) is None for token in tokens] == [True, False, False]
    people.sign_out(tokens[0])
    assert people.sign_out_everywhere(mei.id) == 2
    assert all(people.session(token) is None for token in tokens)


def test_a_token_that_is_none_opens_nothing(people: People, mei: Person) -> None:
    people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1")
    for token in ("", "nonsense", "\x00", "\ud800", "界" * 1000):
        assert people.session(token) is None


def test_disabling_a_person_ends_their_sessions(people: People, mei: Person) -> None:
    token = people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1").token
    people.disable(mei.id)
    assert people.session(token) is None
    with pytest.raises(PersonNotFound):
        people.disable("per_nobody")


def test_a_new_password_ends_every_session_and_the_old_password(people: People, mei: Person) -> None:
    token = people.sign_in("mei@example.com", PASSWORD, source="192.0.2.1").token
    people.set_password(mei.id, "another long password")
    assert people.session(token) is None
    fail(people, 1)
    assert people.sign_in("mei@example.com", "another long password", source="192.0.2.1")
    with pytest.raises(PersonNotFound):
        people.set_password("per_nobody", PASSWORD)


def test_members_see_their_organizations_and_platform_administrators_all(
    people: People, engine: sqlalchemy.Engine, clock: FrozenClock, mei: Person
) -> None:
    for organization_id, name in (("acme", "Zebra"), ("beta", "Ant"), ("gamma", "Gamma")):
        registry.create_organization(engine, organization_id, name=name, now=clock.now, by=None, act_id="")
    admin = people.create_admin(email="root@example.com", password=PASSWORD)
    people.add_member("acme", mei.id, Role.VIEWER)
    people.add_member("beta", mei.id, "organization_admin")
    people.add_member("acme", mei.id, Role.ORGANIZATION_ADMIN)
    found = [(each.organization_id, each.organization_name, each.role) for each in people.organizations_of(mei)]
    assert found == [("beta", "Ant", Role.ORGANIZATION_ADMIN), ("acme", "Zebra", Role.ORGANIZATION_ADMIN)]
    assert [people.may_read(mei, each) for each in ("acme", "beta", "gamma", "none")] == [True, True, False, False]
    assert people.may_read(admin, "gamma")
    assert people.organizations_of(admin) == ()
    assert people.remove_member("acme", mei.id)
    assert not people.remove_member("acme", mei.id)
    assert not people.may_read(mei, "acme")


def test_a_membership_needs_an_organization_a_person_and_a_role(
    people: People, engine: sqlalchemy.Engine, clock: FrozenClock, mei: Person
) -> None:
    registry.create_organization(engine, "acme", name="Acme", now=clock.now, by=None, act_id="")
    with pytest.raises(OrganizationNotFound):
        people.add_member("none", mei.id, Role.VIEWER)
    with pytest.raises(PersonNotFound):
        people.add_member("acme", "per_nobody", Role.VIEWER)
    with pytest.raises(RequestInvalid):
        people.add_member("acme", mei.id, "owner")
    assert people.organizations_of(mei) == ()


def test_the_hashes_of_production_are_argon2id_with_64_mebibytes(engine: sqlalchemy.Engine, clock: FrozenClock) -> None:
    people = People(engine, clock)
    people.create_person(email="mei@example.com", password=PASSWORD)
    with reading(engine) as connection:
        found = find_person(connection, "mei@example.com")
    assert found is not None
    assert found[1].startswith("$argon2id$v=19$m=65536,t=3,p=4$")
