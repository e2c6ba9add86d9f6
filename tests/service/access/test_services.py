"""AI services: active, disabled, restricted while AI is stopped; and what their keys may do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import (
    AiStopped,
    IdempotencyConflict,
    KeyNotFound,
    ModelNotAllowed,
    OrganizationNotFound,
    RequestInvalid,
    ScopeMissing,
    ServiceDisabled,
    ServiceExists,
    ServiceNotFound,
    TokenwellError,
)
from tokenwell.service.access.keys import KeyScope, check_use
from tokenwell.service.access.remembering import CACHE_LIFETIME
from tokenwell.service.access.services import Lane, ServiceStatus
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin", source="192.0.2.7")


@pytest.fixture
def suite(database_url: str, clock: FrozenClock) -> Iterator[Suite]:
    """Two organizations; acme has tokens for a day."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        meter.create_organization("acme")
        meter.create_organization("other")
        for organization_id in ("acme", "other"):
            meter.grant(organization_id, "5M", expires_at=clock() + timedelta(days=1))
        opened = Suite(meter)
        yield opened
        opened.close()


def acts_in(suite: Suite) -> list[tuple[str, str, str | None, str | None]]:
    with suite.meter.engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text('SELECT action, actor_name, "before", "after" FROM act ORDER BY act_id'))
        return [(row[0], row[1], row[2], row[3]) for row in rows]


def test_a_service_is_created_active_and_told_in_the_audit_log(suite: Suite, clock: FrozenClock) -> None:
    line = suite.services.create("acme", name=" Support agent ", default_reason="Reply", by=MEI)
    assert (line.service.name, line.status, line.service.created_at) == ("Support agent", ServiceStatus.ACTIVE, clock())
    assert suite.services.get("acme", line.service.id) == line
    assert suite.services.list("acme").items == (line,)
    ((action, who, before, after),) = acts_in(suite)
    assert (action, who, before) == ("service.create", "Mei Lin", None)
    assert msgspec.json.decode(after or "")["name"] == "Support agent"


def test_while_ai_is_stopped_services_are_restricted_none_is_created_and_they_come_back_by_themselves(
    suite: Suite, clock: FrozenClock
) -> None:
    first = suite.services.create("acme", name="Support agent", key="once")
    off = suite.services.create("acme", name="Auto-tagging")
    suite.services.disable("acme", off.service.id)
    clock.advance(timedelta(days=1))
    assert [line.status for line in suite.services.list("acme").items] == [ServiceStatus.RESTRICTED, ServiceStatus.DISABLED]
    with pytest.raises(AiStopped) as refusal:
        suite.services.create("acme", name="One more")
    assert refusal.value.details["balance_tokens"] == 0
    assert suite.services.create("acme", name="Support agent", key="once").replayed
    suite.meter.grant("acme", "5M")
    assert suite.services.get("acme", first.service.id).status is ServiceStatus.ACTIVE
    assert suite.services.create("acme", name="One more").status is ServiceStatus.ACTIVE


def test_the_same_key_creates_one_service_and_other_input_under_it_is_a_conflict(suite: Suite) -> None:
    made = suite.services.create("acme", name="Support agent", key="once")
    again = suite.services.create("acme", name="Support agent", key="once")
    assert (again.service, again.replayed) == (made.service, True)
    with pytest.raises(IdempotencyConflict) as conflict:
        suite.services.create("acme", name="Another", key="once")
    assert conflict.value.details == {"field": "name"}
    assert suite.services.create("other", name="Another", key="once").replayed is False
    assert len(suite.services.list("acme").items) == 1


def test_a_refused_creation_is_not_remembered(suite: Suite) -> None:
    suite.services.create("acme", name="Support agent")
    with pytest.raises(ServiceExists):
        suite.services.create("acme", name="Support agent", key="twice")
    assert not suite.services.create("acme", name="Auto-tagging", key="twice").replayed


def test_a_service_may_have_an_id_of_the_callers_own(suite: Suite) -> None:
    assert suite.services.create("acme", name="Support agent", service_id="support-agent").service.id == "support-agent"
    with pytest.raises(ServiceExists):
        suite.services.create("acme", name="Another", service_id="support-agent")
    with pytest.raises(RequestInvalid):
        suite.services.create("acme", name="Another", service_id="No Such Id")


def test_a_service_is_changed_disabled_and_enabled_and_each_is_told_once(suite: Suite, clock: FrozenClock) -> None:
    made = suite.services.create("acme", name="Support agent").service
    changed = suite.services.update("acme", made.id, name="Agent", lane="background", reserve="500k", by=MEI).service
    assert (changed.name, changed.lane, changed.reserve_tokens) == ("Agent", Lane.BACKGROUND, 500_000)
    suite.services.update("acme", made.id, name="Agent")
    assert suite.services.disable("acme", made.id).service.disabled_at == clock()
    clock.advance(timedelta(hours=1))
    assert suite.services.disable("acme", made.id).status is ServiceStatus.DISABLED
    assert suite.services.enable("acme", made.id).service == changed
    assert [act[0] for act in acts_in(suite)] == ["service.create", "service.update", "service.disable", "service.enable"]
    _, _, before, after = acts_in(suite)[1]
    assert msgspec.json.decode(before or "") == {"name": "Support agent", "lane": "customer_facing", "reserve_tokens": None}
    assert msgspec.json.decode(after or "") == {"name": "Agent", "lane": "background", "reserve_tokens": 500_000}


def test_another_organizations_service_is_not_there(suite: Suite) -> None:
    made = suite.services.create("acme", name="Support agent").service
    for act in (suite.services.get, suite.services.disable, suite.services.enable, suite.services.update):
        with pytest.raises(ServiceNotFound):
            act("other", made.id)
    with pytest.raises(ServiceNotFound):
        suite.keys.create("other", name="one", service_id=made.id)
    with pytest.raises(OrganizationNotFound):
        suite.services.list("nobody")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\nb"},
        {"lane": "express"},
        {"reserve": "500k"},
        {"lane": "background", "reserve": -1},
        {"default_reason": "x" * 201},
    ],
)
def test_a_service_that_cannot_be_is_refused_and_nothing_changes(suite: Suite, fields: dict[str, Any]) -> None:
    made = suite.services.create("acme", name="Support agent")
    with pytest.raises(RequestInvalid):
        suite.services.create("acme", **({"name": "New"} | fields))
    with pytest.raises(RequestInvalid):
        suite.services.update("acme", made.service.id, **fields)
    assert suite.services.list("acme").items == (made,)


def test_services_are_listed_page_by_page(suite: Suite) -> None:
    made = [suite.services.create("acme", name=f"Service {number}").service.id for number in range(5)]
    first = suite.services.list("acme", limit=3)
    second = suite.services.list("acme", cursor=first.next_cursor, limit=3)
    assert sorted(line.service.id for line in first.items + second.items) == sorted(made)
    assert second.next_cursor is None


def test_a_disabled_services_keys_stop_at_once_here_and_soon_elsewhere(suite: Suite, clock: FrozenClock) -> None:
    made = suite.services.create("acme", name="Support agent").service
    created = suite.keys.create("acme", name="one", service_id=made.id)
    elsewhere = Suite(suite.meter)
    try:
        for each in (suite, elsewhere):
            assert each.keys.authenticate(created.secret).service_id == made.id
        suite.services.disable("acme", made.id)
        with pytest.raises(ServiceDisabled):
            suite.keys.authenticate(created.secret)
        assert elsewhere.keys.recall(created.secret)
        clock.advance(CACHE_LIFETIME)
        with pytest.raises(ServiceDisabled):
            elsewhere.keys.authenticate(created.secret)
        suite.services.enable("acme", made.id)
        assert suite.keys.authenticate(created.secret)
    finally:
        elsewhere.close()


def test_a_key_allows_the_models_and_uses_it_was_given(suite: Suite) -> None:
    free = suite.keys.create("acme", name="free").key
    narrow = suite.keys.create("acme", name="narrow", scopes=["generate"], models=["gpt-5*", "claude-haiku-4-5"]).key
    for model in ("gpt-5-mini", "gpt-5", "claude-haiku-4-5"):
        check_use(narrow, KeyScope.GENERATE, model)
    check_use(free, KeyScope.EMBED, "anything")
    refused: list[tuple[KeyScope, str, type[TokenwellError]]] = [
        (KeyScope.EMBED, "gpt-5", ScopeMissing),
        (KeyScope.MODELS, "gpt-5", ScopeMissing),
        (KeyScope.GENERATE, "gpt-4", ModelNotAllowed),
        (KeyScope.GENERATE, "claude-haiku-4-5-20300101", ModelNotAllowed),
        (KeyScope.GENERATE, "GPT-5", ModelNotAllowed),
    ]
    for scope, model, error in refused:
        with pytest.raises(error):
            check_use(narrow, scope, model)


def test_a_keys_limits_are_kept_changed_and_told(suite: Suite, clock: FrozenClock) -> None:
    created = suite.keys.create(
        "acme", name="one", requests_per_minute=60, tokens_per_day="200k", tokens_per_month=5_000_000, by=MEI
    )
    found = suite.keys.authenticate(created.secret)
    assert (found.requests_per_minute, found.tokens_per_day, found.tokens_per_month) == (60, 200_000, 5_000_000)
    changed = suite.keys.update("acme", found.id, tokens_per_day=None, models=["gpt-5"], by=MEI)
    again = suite.keys.authenticate(created.secret)
    assert (again.models, again.tokens_per_day, again.requests_per_minute) == (("gpt-5",), None, 60)
    assert (changed.tokens_per_day, changed.models, changed.requests_per_minute) == (None, ("gpt-5",), 60)
    suite.keys.revoke("acme", found.id)
    suite.keys.revoke("acme", found.id)
    acts = acts_in(suite)
    assert [act[0] for act in acts] == ["key.create", "key.update", "key.revoke"]
    assert created.secret not in str(acts)
    assert msgspec.json.decode(acts[1][3] or "") == {"tokens_per_day": None, "models": ["gpt-5"]}


@pytest.mark.parametrize(
    "fields",
    [
        {"requests_per_minute": 0},
        {"requests_per_minute": 1_000_001},
        {"tokens_per_day": 0},
        {"tokens_per_month": "some"},
        {"scopes": ["fly"]},
        {"models": []},
        {"models": [""]},
    ],
)
def test_limits_that_cannot_be_are_refused(suite: Suite, fields: dict[str, Any]) -> None:
    key = suite.keys.create("acme", name="one").key
    with pytest.raises(RequestInvalid):
        suite.keys.create("acme", name="two", **fields)
    with pytest.raises(RequestInvalid):
        suite.keys.update("acme", key.id, **fields)
    assert suite.keys.list("acme").items == (key,)


def test_a_key_issued_again_under_its_idempotency_key_is_the_same_and_its_secret_is_not_told_again(suite: Suite) -> None:
    created = suite.keys.create("acme", name="one", key="once")
    again = suite.keys.create("acme", name="one", key="once")
    assert (again.key.id, again.secret, again.replayed) == (created.key.id, "", True)
    with pytest.raises(IdempotencyConflict):
        suite.keys.create("acme", name="one", key="once", tokens_per_day=5)


def test_keys_are_listed_by_service(suite: Suite) -> None:
    made = suite.services.create("acme", name="Support agent").service
    own = suite.keys.create("acme", name="one", service_id=made.id).key
    suite.keys.create("acme", name="two")
    assert suite.keys.list("acme", service_id=made.id).items == (own,)
    assert len(suite.keys.list("acme").items) == 2
    with pytest.raises(KeyNotFound):
        suite.keys.get("other", own.id)
