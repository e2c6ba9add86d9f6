"""Single sign-on against a real provider process: who comes in, as whom, with what; and what is not believed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import provider
from tests.doubles import FrozenClock
from tests.provider import provider_process, sign_on_with
from tests.service.suites import PASSWORD, actions_in, suite_on
from tokenwell.errors import CredentialsInvalid, RequestInvalid, SignOnFailed
from tokenwell.service.identity.provider import Provider, ProviderSettings, check_address, parse_roles
from tokenwell.service.identity.single_sign_on import LIFETIME, SingleSignOn
from tokenwell.service.suite import Suite

RETURN = "http://127.0.0.1:8080/sign-in/sso/return"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider in a process of its own."""
    with provider_process() as address:
        yield address


@pytest.fixture
def clock() -> FrozenClock:
    """The provider signs with the time of today, so this clock begins there."""
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def suite(sqlite_url: str, clock: FrozenClock) -> Iterator[Suite]:
    """Two organizations."""
    with suite_on(sqlite_url, clock) as opened:
        yield opened


@pytest.fixture
def sign_on(suite: Suite, issuer: str) -> SingleSignOn:
    """Single sign-on with the provider."""
    return sign_on_with(suite, issuer)


def at_provider(address: str, subject: str) -> dict[str, str]:
    """Sign in at the provider as a browser would; returns what comes back in the address."""
    location, back = provider.at_provider(address, subject)
    assert location.startswith(RETURN)
    return back


def come_in(suite: Suite, sign_on: SingleSignOn, subject: str) -> object:
    begun = sign_on.begin(redirect_uri=RETURN, next_path="/o/acme")
    back = at_provider(begun.address, subject)
    signed_in, next_path = sign_on.finish(
        begun.sealed, code=back["code"], state=back["state"], issuer=back.get("iss"), source="192.0.2.9", agent="Firefox"
    )
    assert next_path == "/o/acme"
    session = suite.people.session(signed_in.token)
    assert session is not None
    return session.person


def roles_of(suite: Suite, person: object) -> dict[str, str]:
    return {each.organization_id: each.role.value for each in suite.people.organizations_of(person)}  # type: ignore[arg-type]


def test_the_browser_is_sent_with_a_challenge_a_state_and_a_nonce(sign_on: SingleSignOn) -> None:
    query = parse_qs(urlsplit(sign_on.begin(redirect_uri=RETURN, next_path="/").address).query)
    assert query["code_challenge_method"] == ["S256"]
    assert {"code_challenge", "state", "nonce", "redirect_uri", "client_id"} <= set(query)
    assert re.fullmatch(r"[\w-]{43}", query["code_challenge"][0])
    assert "openid" in query["scope"][0]


def test_somebody_new_is_made_and_gets_what_their_groups_give(suite: Suite, sign_on: SingleSignOn) -> None:
    mei = come_in(suite, sign_on, "mei")
    assert (mei.email, mei.name, mei.is_platform_admin) == ("mei@example.com", "Mei Lin", False)  # type: ignore[attr-defined]
    assert roles_of(suite, mei) == {"acme": "organization_admin", "beta": "viewer"}
    assert come_in(suite, sign_on, "mei") == mei
    assert actions_in(suite).count("person.create") == 1
    for password in ("", "!"):
        with pytest.raises(CredentialsInvalid):
            suite.people.sign_in("mei@example.com", password, source="192.0.2.9")


def test_groups_are_followed_at_each_sign_in_and_other_organizations_left_alone(suite: Suite, sign_on: SingleSignOn) -> None:
    vic = come_in(suite, sign_on, "vic")
    suite.meter.create_organization("gamma")
    suite.people.add_member("gamma", vic.id, "viewer")  # type: ignore[attr-defined]
    suite.people.add_member("acme", vic.id, "organization_admin")  # type: ignore[attr-defined]
    come_in(suite, sign_on, "vic")
    assert roles_of(suite, vic) == {"acme": "viewer", "beta": "viewer", "gamma": "viewer"}


def test_an_account_is_linked_by_a_verified_address_alone(suite: Suite, sign_on: SingleSignOn) -> None:
    ada = suite.people.create_person(email="ada@example.com", password=PASSWORD, name="Ada")
    with pytest.raises(SignOnFailed):
        come_in(suite, sign_on, "eve")
    assert not suite.people.get(ada.id).is_platform_admin
    found = come_in(suite, sign_on, "ada")
    assert found.id == ada.id  # type: ignore[attr-defined]
    assert suite.people.get(ada.id).is_platform_admin
    assert "person.sign_on_linked" in actions_in(suite)
    with pytest.raises(SignOnFailed):
        come_in(suite, sign_on, "nobody")


def test_who_is_barred_does_not_come_in(suite: Suite, sign_on: SingleSignOn) -> None:
    vic = come_in(suite, sign_on, "vic")
    suite.people.disable(vic.id)  # type: ignore[attr-defined]
    with pytest.raises(SignOnFailed):
        come_in(suite, sign_on, "vic")


@pytest.mark.parametrize("forged", ["state", "code", "sealed", "iss", "empty"])
def test_an_answer_that_was_not_asked_for_is_refused(suite: Suite, sign_on: SingleSignOn, forged: str) -> None:
    begun = sign_on.begin(redirect_uri=RETURN, next_path="/")
    back = at_provider(begun.address, "mei")
    told = {"sealed": begun.sealed, "code": back["code"], "state": back["state"], "iss": None} | {
        "state": {"state": "x" * 43},
        "code": {"code": "forged"},
        "sealed": {"sealed": "x"},
        "iss": {"iss": "https://elsewhere.example"},
        "empty": {"code": ""},
    }[forged]
    with pytest.raises(SignOnFailed):
        sign_on.finish(
            str(told["sealed"]), code=str(told["code"]), state=str(told["state"]), issuer=told["iss"], source="", agent=""
        )
    assert suite.people.find("mei@example.com") is None


def test_an_answer_to_another_browser_is_refused(suite: Suite, sign_on: SingleSignOn) -> None:
    mine, theirs = (sign_on.begin(redirect_uri=RETURN, next_path="/") for _ in range(2))
    back = at_provider(theirs.address, "mei")
    with pytest.raises(SignOnFailed):
        sign_on.finish(mine.sealed, code=back["code"], state=back["state"], issuer=None, source="", agent="")


def test_a_code_is_good_once_and_for_a_while(suite: Suite, sign_on: SingleSignOn, clock: FrozenClock) -> None:
    begun = sign_on.begin(redirect_uri=RETURN, next_path="/")
    back = at_provider(begun.address, "mei")
    sign_on.finish(begun.sealed, code=back["code"], state=back["state"], issuer=None, source="", agent="")
    with pytest.raises(SignOnFailed):
        sign_on.finish(begun.sealed, code=back["code"], state=back["state"], issuer=None, source="", agent="")
    late = sign_on.begin(redirect_uri=RETURN, next_path="/")
    back = at_provider(late.address, "mei")
    clock.advance(LIFETIME)
    with pytest.raises(SignOnFailed):
        sign_on.finish(late.sealed, code=back["code"], state=back["state"], issuer=None, source="", agent="")


def test_an_identity_that_is_too_old_is_not_believed(suite: Suite, sign_on: SingleSignOn, clock: FrozenClock) -> None:
    clock.advance(timedelta(days=2))
    with pytest.raises(SignOnFailed):
        come_in(suite, sign_on, "mei")


@pytest.mark.parametrize(
    "address",
    [
        "http://id.example",
        "ftp://id.example",
        "file:" + "//host/etc/passwd",
        "https://user@id.example",
        "https://",
        "http://10.0.0.1",
        "//x",
    ],
)
def test_no_provider_is_asked_but_over_https(suite: Suite, address: str) -> None:
    for allows_loopback in (True, False):
        with pytest.raises(SignOnFailed):
            check_address(address, allows_loopback=allows_loopback)
    check_address("https://id.example", allows_loopback=False)
    with pytest.raises(SignOnFailed):
        Provider(ProviderSettings(issuer=address, client_id="x"), suite.meter.clock).discover()


def test_a_provider_on_this_machine_is_asked_only_where_that_is_said(suite: Suite, issuer: str) -> None:
    with pytest.raises(SignOnFailed):
        Provider(ProviderSettings(issuer=issuer, client_id="x"), suite.meter.clock).discover()
    with pytest.raises(SignOnFailed):
        Provider(
            ProviderSettings(issuer=issuer + "/", client_id="x", allows_loopback=True),
            suite.meter.clock,
        ).discover()


def test_a_mapping_that_makes_no_sense_is_refused() -> None:
    assert parse_roles("a=acme:viewer a=platform_admin") == {"a": (("acme", "viewer"), ("", "platform_admin"))}
    for text in ("a", "a=", "=acme:viewer", "a=acme:owner", "a=viewer", "a=acme:platform_admin"):
        with pytest.raises(RequestInvalid):
            parse_roles(text)
