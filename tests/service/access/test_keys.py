"""Gateway keys: shown once, found quickly, and gone when they are revoked or expired."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy

from tests.builders import after
from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.errors import (
    Conflict,
    CredentialsInvalid,
    KeyRevoked,
    NotFound,
    OrganizationNotFound,
    RequestInvalid,
    TimestampNaive,
)
from tokenwell.service.access import remembering
from tokenwell.service.access.keys import Keys
from tokenwell.service.access.remembering import CACHE_LIFETIME, TOUCH_INTERVAL
from tokenwell.service.meter import Meter
from tokenwell.store.access import keys as store


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with two organizations."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        opened.create_organization("acme")
        opened.create_organization("other")
        yield opened


@pytest.fixture
def keys(meter: Meter) -> Iterator[Keys]:
    """The keys, as one process sees them."""
    with Opened(meter) as opened:
        yield opened


class Opened:
    """The keys as one more process would have them."""

    def __init__(self, meter: Meter) -> None:
        self._keys = Keys(meter.engine, meter.clock)

    def __enter__(self) -> Keys:
        return self._keys

    def __exit__(self, *_: object) -> None:
        self._keys.close()


class Statements:
    """Counts the statements about keys that reach the database."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.count = 0
        sqlalchemy.event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.count += "gateway_key" in statement


def test_a_secret_is_long_random_and_not_in_the_database(meter: Meter, keys: Keys) -> None:
    created = [keys.create("acme", name="Support agent") for _ in range(20)]
    secrets = {each.secret for each in created}
    assert len(secrets) == 20
    assert all(re.fullmatch(r"tw_live_[A-Za-z0-9]{40}", secret) for secret in secrets)
    assert all(each.secret.startswith(each.key.prefix) and len(each.key.prefix) == 14 for each in created)
    with meter.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM gateway_key").all()
    assert not any(secret[14:] in str(row) for secret in secrets for row in rows)


def test_a_secret_finds_its_own_key(keys: Keys) -> None:
    first, second = keys.create("acme", name="one"), keys.create("other", name="two")
    assert keys.authenticate(first.secret).id == first.key.id
    assert keys.authenticate(second.secret).organization_id == "other"


@pytest.mark.parametrize(
    "secret", ["", "x", "tw_live_", "tw_live_" + "a" * 39, "tw_live_" + "a" * 41, "tw_live_" + "é" * 40, "\ud800"]
)
def test_what_does_not_look_like_a_key_is_refused_without_the_database(meter: Meter, keys: Keys, secret: str) -> None:
    statements = Statements(meter.engine)
    with pytest.raises(CredentialsInvalid):
        keys.authenticate(secret)
    assert statements.count == 0


def test_a_key_of_the_right_form_that_is_not_known_is_refused(keys: Keys) -> None:
    created = keys.create("acme", name="one")
    with pytest.raises(CredentialsInvalid):
        keys.authenticate(created.secret[:-1] + ("a" if created.secret[-1] != "a" else "b"))


def test_a_key_ends_at_its_expiry_even_while_it_is_remembered(keys: Keys, clock: FrozenClock) -> None:
    created = keys.create("acme", name="one", expires_at=clock() + timedelta(seconds=1))
    assert keys.authenticate(created.secret).expires_at == clock() + timedelta(seconds=1)
    clock.advance(timedelta(seconds=1) - timedelta(microseconds=1))
    assert keys.authenticate(created.secret)
    clock.advance(timedelta(microseconds=1))
    with pytest.raises(CredentialsInvalid):
        keys.authenticate(created.secret)
    clock.advance(CACHE_LIFETIME)
    with pytest.raises(CredentialsInvalid):
        keys.authenticate(created.secret)


def test_a_revoked_key_stops_at_once_here_and_soon_elsewhere(meter: Meter, keys: Keys, clock: FrozenClock) -> None:
    created = keys.create("acme", name="one")
    with Opened(meter) as elsewhere:
        for each in (keys, elsewhere):
            each.authenticate(created.secret)
        revoked = keys.revoke("acme", created.key.id)
        assert revoked.revoked_at == clock()
        with pytest.raises(KeyRevoked):
            keys.authenticate(created.secret)
        assert elsewhere.authenticate(created.secret)
        clock.advance(CACHE_LIFETIME)
        with pytest.raises(KeyRevoked):
            elsewhere.authenticate(created.secret)


def test_a_key_that_is_revoked_while_it_is_looked_up_is_not_remembered(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    created = keys.create("acme", name="one")
    find = store.find_key_by_secret

    def find_then_revoke(connection: Any, secret_hash: bytes) -> Any:
        found = find(connection, secret_hash)
        keys.revoke("acme", created.key.id)
        return found

    monkeypatch.setattr(keys._remembered, "_find", find_then_revoke)
    keys.authenticate(created.secret)
    assert keys.recall(created.secret) is None


def test_revoking_again_changes_nothing(keys: Keys, clock: FrozenClock) -> None:
    created = keys.create("acme", name="one")
    first = keys.revoke("acme", created.key.id)
    clock.advance(timedelta(hours=1))
    assert keys.revoke("acme", created.key.id) == first


def test_another_organizations_key_cannot_be_revoked_or_listed(keys: Keys) -> None:
    created = keys.create("acme", name="one")
    with pytest.raises(NotFound):
        keys.revoke("other", created.key.id)
    with pytest.raises(NotFound):
        keys.revoke("acme", "key_nonsense")
    assert keys.list("other").items == ()
    assert keys.authenticate(created.secret)


def test_a_key_in_use_is_not_looked_up_each_time(meter: Meter, keys: Keys, clock: FrozenClock) -> None:
    created = keys.create("acme", name="one")
    keys.authenticate(created.secret)
    keys.close()
    statements = Statements(meter.engine)
    clock.advance(CACHE_LIFETIME - timedelta(microseconds=1))
    for _ in range(10):
        keys.authenticate(created.secret)
    assert statements.count == 0
    clock.advance(timedelta(microseconds=1))
    keys.authenticate(created.secret)
    assert statements.count == 1


def test_memory_is_bounded(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "CACHE_LIMIT", 3)
    created = [keys.create("acme", name="one") for _ in range(5)]
    for each in created:
        keys.authenticate(each.secret)
    assert [keys.recall(each.secret) is not None for each in created] == [False, False, True, True, True]


def _last_used_at(meter: Meter) -> Any:
    with Opened(meter) as reader:
        return reader.list("acme").items[0].last_used_at


def test_the_last_use_is_noted_at_most_once_a_minute(meter: Meter, clock: FrozenClock) -> None:
    with Opened(meter) as first:
        created = first.create("acme", name="one")
        assert created.key.last_used_at is None
        first.authenticate(created.secret)
    used_at = clock()
    assert _last_used_at(meter) == used_at
    statements = Statements(meter.engine)
    with Opened(meter) as second:
        clock.advance(TOUCH_INTERVAL - timedelta(microseconds=1))
        for _ in range(5):
            second.authenticate(created.secret)
        assert statements.count == 1
        clock.advance(timedelta(microseconds=1))
        for _ in range(5):
            second.authenticate(created.secret)
    assert _last_used_at(meter) == clock()


def test_noting_the_last_use_never_fails_a_request(meter: Meter, keys: Keys) -> None:
    created = keys.create("acme", name="one")
    keys.close()
    assert keys.authenticate(created.secret).id == created.key.id


def test_keys_are_listed_newest_first_page_by_page(keys: Keys) -> None:
    made = [keys.create("acme", name=f"key {number}").key.id for number in range(5)]
    keys.create("other", name="theirs")
    listed: list[str] = []
    cursor = None
    while True:
        page = keys.list("acme", cursor, 2)
        listed += [key.id for key in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(listed) == sorted(made)
    assert listed == sorted(listed, reverse=True)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": ""}, RequestInvalid),
        ({"name": "   "}, RequestInvalid),
        ({"name": "a\nb"}, RequestInvalid),
        ({"name": "x" * 101}, RequestInvalid),
        ({"name": "one", "expires_at": after(0)}, RequestInvalid),
        ({"name": "one", "expires_at": after(60).replace(tzinfo=None)}, TimestampNaive),
        ({"name": "one", "organization_id": "nobody"}, OrganizationNotFound),
        ({"name": "one", "organization_id": "Not An Id"}, RequestInvalid),
    ],
)
def test_a_key_that_cannot_be_made_is_refused(keys: Keys, fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        keys.create(**({"organization_id": "acme"} | fields))
    assert keys.list("acme").items == ()


@pytest.mark.parametrize("limit", [0, -1, 1_001])
def test_a_page_of_an_odd_size_is_refused(keys: Keys, limit: int) -> None:
    with pytest.raises(RequestInvalid):
        keys.list("acme", limit=limit)


def test_many_threads_may_ask_at_once(keys: Keys, clock: FrozenClock) -> None:
    created = [keys.create("acme", name="one") for _ in range(4)]
    wrong: list[Any] = []

    def ask() -> None:
        for number in range(100):
            each = created[number % 4]
            if keys.authenticate(each.secret).id != each.key.id:
                wrong.append(each)
            if number % 10 == 0:
                clock.advance(CACHE_LIFETIME)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_keys_expiry_is_moved_and_counts_at_once(meter: Meter, keys: Keys, clock: FrozenClock) -> None:
    created = keys.create("acme", name="one", expires_at=after(60))
    keys.authenticate(created.secret)
    moved = keys.update("acme", created.key.id, expires_at=after(120))
    assert moved.expires_at == after(120)
    clock.advance(timedelta(seconds=90))
    assert keys.authenticate(created.secret).id == created.key.id
    clock.advance(timedelta(seconds=60))
    with pytest.raises(CredentialsInvalid):
        keys.authenticate(created.secret)
    assert keys.update("acme", created.key.id, name="two").expires_at == after(120)  # what has passed may stay as it is
    assert keys.update("acme", created.key.id, expires_at=None).expires_at is None
    assert keys.authenticate(created.secret).name == "two"
    with pytest.raises(RequestInvalid):
        keys.update("acme", created.key.id, expires_at=after(0))
    keys.revoke("acme", created.key.id)
    with pytest.raises(Conflict):
        keys.update("acme", created.key.id, name="three")
