"""Both databases, several processes with many callers each: what two want at the same moment one gets, and all is accounted for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.store.tenants import Tenant
from tests.store.workers import Call, Outcome, Workers, call, race
from tokenwell import EntryKind, Granted, Held, Receipt, Released, Revoked, State
from tokenwell.errors import (
    AiStopped,
    AmountInvalid,
    BalanceHeld,
    HoldAlreadyReleased,
    HoldAlreadySettled,
    PackAlreadyRevoked,
)

Compete = Callable[..., list[Outcome]]


@pytest.fixture
def compete(shared_url: str, workers: Workers) -> Compete:
    """Run each list of scripts in a process of its own, all at once; returns all outcomes, each of the type one of `allowed`."""

    def run(*scripts: list[list[Call]], allowed: tuple[type, ...], mode: str = "threads", **options: Any) -> list[Outcome]:
        arguments = [{"url": shared_url, "scripts": each, "mode": mode} | options for each in scripts]
        outcomes = [outcome for process in workers.run(race, arguments) for script in process for outcome in script]
        assert {type(outcome) for outcome in outcomes} <= set(allowed), [o for o in outcomes if type(o) not in allowed][:3]
        return outcomes

    return run


def succeeded(outcomes: list[Outcome]) -> list[Any]:
    """Return the answers among the outcomes."""
    return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


# Spending


@pytest.mark.parametrize("mode", ["threads", "tasks", "mixed"])
def test_as_many_debits_succeed_as_the_balance_allows(tenant: Tenant, compete: Compete, mode: str) -> None:
    for _ in range(10):
        tenant.grant(10)
    scripts = [[[call("debit", tenant.id, 1) for _ in range(2)] for _ in range(64)] for _ in range(2)]
    outcomes = compete(*scripts, allowed=(Receipt, AiStopped), mode=mode)
    assert len(outcomes) == 256
    assert len(succeeded(outcomes)) == 100
    assert sorted(receipt.balance_tokens for receipt in succeeded(outcomes)) == list(range(100))
    assert tenant.totals() == (0, 0, 0, State.AI_STOPPED)
    assert [entry.seq for entry in tenant.entries()] == list(range(1, 111))


def test_debits_of_many_sizes_never_spend_more_than_there_is(tenant: Tenant, compete: Compete) -> None:
    chance = random.Random(7)
    for _ in range(5):
        tenant.grant(200)
    scripts = [[[call("debit", tenant.id, chance.randint(1, 40)) for _ in range(3)] for _ in range(32)] for _ in range(2)]
    outcomes = compete(*scripts, allowed=(Receipt, AiStopped, BalanceHeld))
    spent = sum(receipt.amount_tokens for receipt in succeeded(outcomes))
    assert tenant.totals()[0] == 1000 - spent
    assert all(refusal.details["estimate_tokens"] > 1000 - spent for refusal in outcomes if isinstance(refusal, BalanceHeld))


def test_as_many_holds_open_as_the_balance_allows(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(100)
    scripts = [[[call("open_hold", tenant.id, 1) for _ in range(2)] for _ in range(64)] for _ in range(2)]
    outcomes = compete(*scripts, allowed=(Held, BalanceHeld))
    assert len(succeeded(outcomes)) == 100
    assert tenant.totals()[1] == 100


def test_used_tokens_are_all_charged_whoever_comes_first(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(50)
    scripts = [
        [[call("debit", tenant.id, 1, already_used=True), call("grant", tenant.id, 1)] for _ in range(40)],
        [[call("debit", tenant.id, 2, already_used=True)] for _ in range(40)],
    ]
    compete(*scripts, allowed=(Receipt, Granted))
    balance, _, overage, _ = tenant.totals()
    assert balance - overage == 50 + 40 - 40 - 80


# The same thing twice


def opened(tenant: Tenant, compete: Compete, count: int) -> list[str]:
    """Open holds of one token, as the workers' clock has it, so that they are still open when they settle them."""
    outcomes = compete([[call("open_hold", tenant.id, 1) for _ in range(count)]], allowed=(Held,))
    return [held.hold.id for held in outcomes]


def test_a_hold_settled_by_two_at_once_is_charged_once(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(100)
    holds = opened(tenant, compete, 50)
    scripts = [[[call("settle", tenant.id, hold_id, 1)] for hold_id in holds] for _ in range(2)]
    outcomes = compete(*scripts, allowed=(Receipt,))
    assert Counter(receipt.replayed for receipt in outcomes) == {False: 50, True: 50}
    by_request: dict[str, set[Receipt]] = {}
    for receipt in outcomes:
        by_request.setdefault(receipt.request_id, set()).add(replace(receipt, replayed=False))
    assert {len(answers) for answers in by_request.values()} == {1}
    assert tenant.totals() == (50, 0, 0, State.NORMAL)


def test_a_hold_settled_differently_or_released_by_two_at_once_ends_one_way(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(1000)
    holds = opened(tenant, compete, 60)
    first = [[call("settle", tenant.id, hold_id, 1)] for hold_id in holds]
    other = [[call("settle", tenant.id, hold_id, 2)] for hold_id in holds[::2]]
    released = [[call("release", tenant.id, hold_id)] for hold_id in holds[1::2]]
    outcomes = compete(first, other + released, allowed=(Receipt, Released, HoldAlreadySettled, HoldAlreadyReleased))
    assert len(succeeded(outcomes)) == 60
    assert tenant.totals()[:2] == (1000 - sum(o.amount_tokens for o in outcomes if isinstance(o, Receipt)), 0)


def test_one_key_used_by_many_at_once_is_charged_once_and_answered_alike(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(1000)
    keys = [f"k{number}" for number in range(12)]
    scripts = [[[call("debit", tenant.id, 5, key=key) for key in keys] for _ in range(8)] for _ in range(2)]
    outcomes = compete(*scripts, allowed=(Receipt,), mode="mixed")
    for key in keys:
        answers = [receipt for receipt in outcomes if receipt.request_id == key]
        assert Counter(receipt.replayed for receipt in answers) == {False: 1, True: 15}
        assert len({replace(receipt, replayed=False) for receipt in answers}) == 1
    assert tenant.totals()[0] == 1000 - 12 * 5


def test_one_key_used_for_the_last_tokens_is_answered_alike_to_all(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(5)
    outcomes = compete(*[[[call("debit", tenant.id, 5, key="k")] for _ in range(16)]] * 2, allowed=(Receipt,))
    assert Counter(receipt.replayed for receipt in outcomes) == {False: 1, True: 31}


@pytest.mark.parametrize("method", ["grant", "open_hold"])
def test_one_key_grants_or_holds_once(tenant: Tenant, compete: Compete, method: str) -> None:
    tenant.grant(100)
    outcomes = compete(*[[[call(method, tenant.id, 7, key="k")] for _ in range(16)]] * 2, allowed=(Granted, Held))
    assert Counter(answer.replayed for answer in outcomes) == {False: 1, True: 31}
    assert tenant.totals()[:2] == ((107, 0) if method == "grant" else (100, 7))


def test_a_request_is_refunded_no_more_than_once_by_all_together(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(100)
    tenant.debit(10, key="whole")
    tenant.debit(10, key="parts")
    scripts = [[[call("refund", tenant.id, "whole"), call("refund", tenant.id, "parts", 3)] for _ in range(8)] for _ in range(2)]
    outcomes = compete(*scripts, allowed=(Receipt, AmountInvalid))
    assert sorted(receipt.amount_tokens for receipt in succeeded(outcomes)) == [3, 3, 3, 10]
    assert tenant.totals()[0] == 99


def test_a_pack_is_revoked_once(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(100)
    outcomes = compete(*[[[call("revoke", tenant.id, "PK-1")] for _ in range(8)]] * 2, allowed=(Revoked, PackAlreadyRevoked))
    assert len(succeeded(outcomes)) == 1


# One thing against another


def test_debits_against_a_revocation_account_for_every_token(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(300)
    debits = [[call("debit", tenant.id, 1) for _ in range(12)] for _ in range(16)]
    revocation = [[*(call("debit", tenant.id, 1) for _ in range(3)), call("revoke", tenant.id, "PK-1")]]
    outcomes = compete(debits, revocation, allowed=(Receipt, Revoked, AiStopped))
    (revoked,) = (outcome for outcome in outcomes if isinstance(outcome, Revoked))
    charged = sum(isinstance(outcome, Receipt) for outcome in outcomes)
    assert charged + revoked.forfeited_tokens == 300
    assert tenant.entries()[-1].kind is EntryKind.REVOKE
    assert tenant.totals() == (0, 0, 0, State.AI_STOPPED)


def test_grants_against_revocations_number_their_packs_without_a_gap(tenant: Tenant, compete: Compete) -> None:
    tenant.grant(1)
    grants = [[call("grant", tenant.id, 10) for _ in range(8)] for _ in range(8)]
    revocations = [[call("grant", tenant.id, 10) for _ in range(8)] + [call("revoke", tenant.id, "PK-1")] for _ in range(2)]
    outcomes = compete(grants, revocations, allowed=(Granted, Revoked, PackAlreadyRevoked))
    assert sorted(granted.pack.number for granted in outcomes if isinstance(granted, Granted)) == list(range(2, 82))
    assert tenant.totals()[0] == 800


def test_holds_against_a_revocation_that_cancels_them_are_open_before_it_or_refused_after_it(
    tenant: Tenant, compete: Compete
) -> None:
    tenant.grant(1000)
    holds = [[call("open_hold", tenant.id, 1) for _ in range(6)] for _ in range(16)]
    revocation = [[call("open_hold", tenant.id, 1), call("revoke", tenant.id, "PK-1", cancel_holds=True)]]
    outcomes = compete(holds, revocation, allowed=(Held, Revoked, AiStopped))
    held = [outcome.hold.id for outcome in outcomes if isinstance(outcome, Held)]
    (revoked,) = (outcome for outcome in outcomes if isinstance(outcome, Revoked))
    assert revoked.released_holds == len(held)
    assert tenant.totals() == (0, 0, 0, State.AI_STOPPED)
    for hold_id in held:
        with pytest.raises(HoldAlreadyReleased):
            tenant.settle(hold_id, 1)


# Many organizations


def test_many_organizations_at_once_get_in_nobodys_way(tenant: Tenant, compete: Compete) -> None:
    tenants = [Tenant(tenant.meter, tenant.clock) for _ in range(30)]
    for each in tenants:
        each.grant(1000)
    chance = random.Random(11)

    def script() -> list[Call]:
        return [call("debit", chance.choice(tenants).id, chance.randint(1, 9)) for _ in range(10)]

    outcomes = compete(*([script() for _ in range(16)] for _ in range(4)), allowed=(Receipt,), mode="mixed")
    spent = Counter[str]()
    for receipt in outcomes:
        spent[receipt.organization_id] += receipt.amount_tokens
    assert {each.id: each.totals()[0] for each in tenants} == {each.id: 1000 - spent[each.id] for each in tenants}
    assert [each.problems() for each in tenants] == [()] * 30
