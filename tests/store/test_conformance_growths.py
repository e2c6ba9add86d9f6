"""Both databases: a hold grows while its request runs, as far as the balance admits it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.store.tenants import Tenant, at, refused
from tests.store.workers import Workers, call, race
from tokenwell import Held, Meter, State
from tokenwell.core.holds import HoldStatus
from tokenwell.errors import (
    AiStopped,
    AmountInvalid,
    BalanceHeld,
    HoldAlreadyReleased,
    HoldAlreadySettled,
    HoldNotFound,
    IdempotencyConflict,
    RequestInvalid,
)

TEN_SECONDS = timedelta(seconds=10)


def test_a_hold_grows_in_tokens_and_in_time(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(10, ttl=TEN_SECONDS).hold
    tenant.go_to(5)
    held = tenant.extend_hold(hold.id, 20, ttl=TEN_SECONDS)
    assert isinstance(held, Held)
    assert (held.at, held.balance_tokens, held.state, held.replayed) == (at(5), 100, State.NORMAL, False)
    assert (held.hold.tokens, held.hold.lapses_at, held.hold.growths) == (30, at(15), 1)
    assert tenant.totals() == (100, 30, 0, State.NORMAL)
    assert tenant.extend_hold(hold.id, 5).hold.lapses_at == at(15)
    assert tenant.extend_hold(hold.id, 0, ttl=timedelta(seconds=1)).hold.lapses_at == at(15)
    tenant.go_to(14)
    assert not tenant.settle(hold.id, 33).late
    assert tenant.totals() == (67, 0, 0, State.NORMAL)


def test_a_growth_is_admitted_as_a_hold_of_its_size(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(60).hold
    with refused(BalanceHeld, available_tokens=40, held_tokens=60, estimate_tokens=41):
        tenant.extend_hold(hold.id, 41)
    tenant.set_thresholds(warning=50, reserve=50)
    with refused(BalanceHeld):
        tenant.extend_hold(hold.id, 1)
    assert tenant.extend_hold(hold.id, 0, ttl=timedelta(hours=1)).hold.lapses_at == at(3600)
    tenant.set_thresholds(warning=101, reserve=101)
    with refused(AiStopped):
        tenant.extend_hold(hold.id, 1)
    assert tenant.totals()[1] == 60


def test_a_closed_hold_and_one_that_does_not_exist_do_not_grow(tenant: Tenant) -> None:
    tenant.grant(100)
    settled, released = (tenant.open_hold(10).hold.id for _ in range(2))
    tenant.settle(settled, 0)
    tenant.release(released)
    with refused(HoldAlreadySettled, hold_id=settled):
        tenant.extend_hold(settled, 1)
    with refused(HoldAlreadyReleased, hold_id=released):
        tenant.extend_hold(released, 1)
    for hold_id in ("hold_00000000000000000000000000", "nonsense"):
        with refused(HoldNotFound, hold_id=hold_id):
            tenant.extend_hold(hold_id, 1)


@pytest.mark.parametrize("more", [0, -1, True, 1.5, "many", 10**12 + 1])
def test_a_growth_that_is_no_amount_changes_nothing(tenant: Tenant, more: object) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(10).hold
    with refused(AmountInvalid):
        tenant.extend_hold(hold.id, more)
    for ttl in (timedelta(0), timedelta(days=2)):
        with refused(RequestInvalid, field="ttl"):
            tenant.extend_hold(hold.id, 1, ttl=ttl)
    assert tenant.totals()[1] == 10


def test_no_hold_grows_beyond_the_largest_charge(tenant: Tenant) -> None:
    tenant.grant(10**15)
    hold = tenant.open_hold(10**12).hold
    with refused(AmountInvalid, most=10**12):
        tenant.extend_hold(hold.id, 1)


def test_a_repeated_growth_gives_the_first_answer_even_when_it_would_be_refused_now(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(10, key="k").hold
    first = tenant.extend_hold(hold.id, 50, key="k")
    tenant.extend_hold(hold.id, 30, key="more")
    tenant.go_to(5)
    for _ in range(2):
        again = tenant.extend_hold(hold.id, 50, key="k")
        assert (again.replayed, again.at, again.hold) == (True, at(0), first.hold)
    with refused(IdempotencyConflict, field="more_tokens", hold_id=hold.id):
        tenant.extend_hold(hold.id, 51, key="k")
    with refused(IdempotencyConflict, field="ttl", hold_id=hold.id):
        tenant.extend_hold(hold.id, 50, ttl=TEN_SECONDS, key="k")
    opened = tenant.open_hold(10, key="k")
    assert (opened.replayed, opened.hold.tokens, opened.hold.growths) == (True, 10, 0)
    tenant.settle(hold.id, 70)
    assert tenant.extend_hold(hold.id, 50, key="k").replayed
    assert tenant.totals()[:2] == (30, 0)


def test_holds_have_growth_keys_of_their_own(tenant: Tenant) -> None:
    tenant.grant(100, key="k")
    holds = [tenant.open_hold(10).hold.id for _ in range(2)]
    assert [tenant.extend_hold(hold_id, 5, key="k").replayed for hold_id in holds] == [False, False]
    assert tenant.totals()[1] == 30


def test_a_lapsed_hold_is_admitted_anew_as_a_whole(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(60, ttl=TEN_SECONDS).hold
    tenant.go_to(20)
    other = tenant.open_hold(40).hold
    with refused(BalanceHeld, available_tokens=60, estimate_tokens=61):
        tenant.extend_hold(hold.id, 1)
    tenant.release(other.id)
    again = tenant.extend_hold(hold.id, 1).hold
    assert (again.tokens, again.status, again.lapses_at, again.closed_at) == (61, HoldStatus.OPEN, at(30), None)
    assert tenant.totals()[1] == 61
    assert [tenant.balance(as_of=at(seconds)).held_tokens for seconds in (0, 9, 10, 15, 20)] == [60, 60, 0, 0, 61]
    assert not tenant.settle(hold.id, 61).late


def test_a_hold_that_grew_may_spend_what_it_could_at_first(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(10).hold
    tenant.grant(50)
    tenant.extend_hold(hold.id, 20)
    tenant.revoke("PK-1")
    tenant.settle(hold.id, 30)
    assert tenant.left() == ["revoked 70", "active 50"]


def test_what_a_hold_reserved_in_the_past_is_what_it_had_grown_to_by_then(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(10).hold
    for seconds in (1, 2, 2, 3):
        tenant.go_to(seconds)
        tenant.extend_hold(hold.id, 10)
    tenant.go_to(4)
    tenant.settle(hold.id, 1)
    assert [tenant.balance(as_of=at(seconds)).held_tokens for seconds in (0, 0.5, 1, 2, 3, 4)] == [10, 10, 20, 40, 50, 0]


def test_as_many_growths_succeed_as_the_balance_allows(tenant: Tenant, shared_url: str, workers: Workers) -> None:
    tenant.grant(100)
    holds = [tenant.open_hold(1).hold.id for _ in range(20)]
    scripts = [[call("extend_hold", tenant.id, hold_id, 1) for _ in range(5)] for hold_id in holds]
    outcomes = workers.run(race, [{"url": shared_url, "scripts": scripts, "mode": "mixed"}] * 2)
    answers = [outcome for process in outcomes for script in process for outcome in script]
    assert {type(answer) for answer in answers} == {Held, BalanceHeld}
    assert sum(isinstance(answer, Held) for answer in answers) == 80
    assert tenant.totals()[:2] == (100, 100)


def test_one_growth_asked_for_by_many_happens_once(tenant: Tenant, shared_url: str, workers: Workers) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(1).hold
    scripts = [[call("extend_hold", tenant.id, hold.id, 7, key="same")] for _ in range(8)]
    outcomes = workers.run(race, [{"url": shared_url, "scripts": scripts, "mode": "mixed"}] * 2)
    answers = [outcome for process in outcomes for script in process for outcome in script]
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 15
    assert tenant.totals()[1] == 8


async def test_a_held_block_grows(meter: Meter, tenant: Tenant) -> None:
    tenant.grant(100)
    with meter.hold(tenant.id, 10) as held:
        assert held.extend(20).hold.tokens == held.hold.tokens == 30
        held.settle(25)
    async with meter.aio.hold(tenant.id, 10) as soon:
        assert (await soon.extend(20, ttl=TEN_SECONDS)).hold.tokens == 30
        await soon.settle(25)
    assert tenant.totals()[:2] == (50, 0)
