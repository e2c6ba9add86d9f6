"""Admission: limits of keys, lanes of services, and what is done where the balance affords less than a request may come to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import openai
import pytest

from tests.gateway.conftest import House, asked, house_on
from tests.gateway.upstreams import plain, speaking
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.core.health import Thresholds
from tokenwell.core.rates import Rate
from tokenwell.errors import OrganizationNotFound, RequestInvalid
from tokenwell.service.access.services import Lane, Services
from tokenwell.service.policies import Policies, Policy, WhenAway, WhenShort
from tokenwell.service.records.audit import Audit, AuditFilter

USED = {"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32}


@pytest.fixture
async def poor(database_url: str) -> AsyncIterator[House]:
    """A gateway of an organization with 100 tokens left and no reserve."""
    async with house_on(database_url, granted=100, thresholds=Thresholds(0, 0)) as house:
        house.upstream.answer = plain(usage=USED)
        yield house
        house.verify()


def policies(house: House) -> Policies:
    """Return the policies of the house."""
    return Policies(house.meter.engine, house.meter.clock)


async def ask(house: House, **fields: Any) -> tuple[int, dict[str, Any]]:
    """Ask, and return the status and what the provider was sent."""
    async with house.ask(asked(**fields)) as response:
        await response.read()
    return response.status, json.loads(house.upstream.requests[-1].body) if house.upstream.requests else {}


async def test_what_the_balance_does_not_afford_is_refused_unless_the_policy_says_otherwise(poor: House) -> None:
    status, _ = await ask(poor, max_tokens=500)
    assert (status, poor.upstream.requests) == (429, [])
    assert policies(poor).of("acme") == Policy(when_short=WhenShort.REFUSE)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_clamped_a_request_may_say_what_the_balance_affords(poor: House, field: str) -> None:
    policies(poor).set("acme", when_short="clamp")
    status, sent = await ask(poor, **{field: 500}, temperature=0.50)
    assert status == 200
    assert 40 < sent[field] < 100
    assert {name: sent[name] for name in sent if name != field} == asked(temperature=0.5)
    await poor.settled()
    assert json.loads(poor.lines()[0].entry.detail or "")["facts"]["limited_to"] == sent[field]
    assert poor.balance().balance_tokens == 68


async def test_clamped_a_request_without_a_limit_is_given_one(poor: House) -> None:
    policies(poor).set("acme", when_short="clamp")
    _, sent = await ask(poor)
    assert 40 < sent["max_completion_tokens"] < 100


@pytest.mark.parametrize("streams", [False, True])
async def test_the_receipt_tells_what_the_answer_was_limited_to(poor: House, streams: bool) -> None:
    policies(poor).set("acme", when_short="clamp")
    poor.upstream.answer = speaking("Hello", usage=USED) if streams else plain(usage=USED)
    async with poor.ask(asked(max_tokens=500, stream=streams)) as response:
        told = (await response.read()).decode() if streams else str(response.headers)
    limit = json.loads(poor.upstream.requests[-1].body)["max_tokens"]
    assert (f'"limited-to":{limit}' if streams else f"'x-tokenwell-limited-to': '{limit}'") in told
    async with poor.ask(asked(max_tokens=20)) as response:
        assert "x-tokenwell-limited-to" not in response.headers
    await poor.settled()


async def test_clamped_each_choice_gets_its_share_at_the_models_rate(poor: House) -> None:
    policies(poor).set("acme", when_short="clamp")
    rate = Rate(model="fake-1", effective_at=poor.meter.clock(), output_millionths=1_500_000)
    poor.meter.set_rate(rate)
    _, sent = await ask(poor, n=2, max_tokens=500)
    assert 16 <= sent["max_tokens"] <= 100 * 2 // 3 // 2


async def test_too_little_for_an_answer_is_refused_though_clamped(poor: House) -> None:
    policies(poor).set("acme", when_short="clamp")
    poor.meter.debit("acme", 70)
    assert (await ask(poor, max_tokens=500))[0] == 429
    assert not poor.upstream.requests


async def test_what_cannot_be_limited_is_refused_though_clamped(poor: House) -> None:
    policies(poor).set("acme", when_short="clamp")
    with pytest.raises(openai.RateLimitError):
        await poor.openai(max_retries=0).embeddings.create(model="fake-1", input="word " * 500)
    assert not poor.upstream.requests


async def test_what_is_available_can_be_held_for_a_request_that_may_come_to_more(poor: House) -> None:
    policies(poor).set("acme", when_short="hold_available")
    status, sent = await ask(poor, max_tokens=500)
    assert (status, sent["max_tokens"]) == (200, 500)
    await poor.settled()
    assert poor.balance().balance_tokens == 68


async def test_a_policy_is_set_for_organizations_that_are_there_and_in_words_that_are_known(poor: House) -> None:
    with pytest.raises(OrganizationNotFound):
        policies(poor).of("nobody")
    with pytest.raises(OrganizationNotFound):
        policies(poor).set("nobody", when_short="clamp")
    with pytest.raises(RequestInvalid):
        policies(poor).set("acme", when_short="whatever")


async def test_a_background_service_stops_before_the_others(poor: House) -> None:
    services = Services(poor.meter)
    service = services.create("acme", name="Tagging", lane=Lane.BACKGROUND, reserve=80).service
    secret = poor.keys.create("acme", name="k", service_id=service.id).secret
    async with poor.ask(asked(max_tokens=20), secret=secret) as response:
        told = await response.json()
    assert (response.status, told["error"]["code"]) == (429, "balance_held")
    assert (await ask(poor, max_tokens=20))[0] == 200


async def test_a_keys_limits_hold_in_the_gateway(poor: House) -> None:
    secret = poor.keys.create("acme", name="k", requests_per_minute=1).secret
    statuses = []
    for _ in range(2):
        async with poor.ask(asked(max_tokens=5), secret=secret) as response:
            statuses.append((response.status, (await response.json()).get("error", {}).get("code")))
    assert statuses == [(200, None), (429, "limit_reached")]


async def test_parts_of_a_policy_are_set_by_themselves_and_serving_without_the_database_needs_bounds(poor: House) -> None:
    by = Actor(kind=ActorKind.COMMAND_LINE, name="op")
    for missing in ({"away_seconds": 60}, {"away_tokens": 500}):
        with pytest.raises(RequestInvalid):
            policies(poor).set("acme", when_away="serve", **missing)
    assert policies(poor).of("acme") == Policy()
    policies(poor).set("acme", when_short="clamp", by=by)
    policies(poor).set("acme", when_away="serve", away_seconds="60", away_tokens="2k", by=by)
    policies(poor).set("acme", away_seconds=90, by=by)
    whole = Policy(when_short=WhenShort.CLAMP, when_away=WhenAway.SERVE, away_seconds=90, away_tokens=2_000)
    assert policies(poor).set("acme", when_short="clamp", by=by) == policies(poor).of("acme") == whole
    assert policies(poor).serving() == {"acme": whole}
    acts = Audit(poor.meter.engine).list("acme", AuditFilter(action="policy.set")).items
    assert len(acts) == 3
    assert json.loads(acts[0].act.after or "") == msgspec.to_builtins(whole)
