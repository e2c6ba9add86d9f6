"""Both databases: charges burn packs down in order, are cut exactly over them, and never take a balance below zero."""

from __future__ import annotations

import msgspec
import pytest

from tests.doubles import FrozenClock
from tests.store.tenants import Tenant, at, drawn_of, parts_of, refused
from tokenwell import Drawn, Meter, Rate, Receipt, State, Thresholds, ThresholdsSet, Usage
from tokenwell.errors import AiStopped, AmountInvalid, BalanceHeld, ThresholdsInvalid

# Burn-down


def test_packs_are_spent_by_priority_then_soonest_expiry_then_earliest_grant(tenant: Tenant) -> None:
    tenant.grant(10)
    tenant.go_to(1)
    tenant.grant(10)
    tenant.grant(10, expires_at=at(100))
    tenant.grant(10, expires_at=at(50))
    tenant.grant(10, priority=-1)
    tenant.grant(10, expires_at=at(10), priority=1)
    receipt = tenant.debit(55)
    assert drawn_of(tenant, receipt) == [("PK-5", 10), ("PK-4", 10), ("PK-3", 10), ("PK-1", 10), ("PK-2", 10), ("PK-6", 5)]
    assert tenant.left() == ["depleted 0"] * 5 + ["active 5"]


def test_packs_equal_in_all_else_are_spent_by_id(tenant: Tenant) -> None:
    ids = sorted(tenant.grant(1, expires_at=at(60)).pack.id for _ in range(12))
    assert [drawn.pack_id for drawn in tenant.debit(12).drawn] == ids


def test_a_charge_runs_through_as_many_packs_as_it_takes(tenant: Tenant) -> None:
    for expiry in range(50):
        tenant.grant(1, expires_at=at(1000 - expiry))
    receipt = tenant.debit(37)
    assert drawn_of(tenant, receipt) == [(f"PK-{number}", 1) for number in range(50, 13, -1)]
    assert (receipt.balance_tokens, tenant.balance().active_packs) == (13, 13)
    assert drawn_of(tenant, tenant.debit(20, already_used=True)) == [(f"PK-{number}", 1) for number in range(13, 0, -1)]
    assert tenant.totals() == (0, 0, 7, State.AI_STOPPED)


# Debits


def test_a_debit_answers_with_its_receipt_and_writes_one_line(tenant: Tenant) -> None:
    pack_id = tenant.grant(100).pack.id
    tenant.go_to(1)
    receipt = tenant.debit(
        prompt_tokens=20, completion_tokens=10, model="m", session="s", reason="r", service_id="v", key_id="k", note="n",
        raw_usage={"total": 30}, estimated=True, key="request-1",
    )  # fmt: skip
    assert receipt == Receipt(
        organization_id=tenant.id, at=at(1), balance_tokens=70, state=State.NORMAL, request_id="request-1", amount_tokens=30,
        prompt_tokens=20, completion_tokens=10, estimated=True,
        drawn=(
            Drawn(seq=2, pack_id=pack_id, amount_tokens=30, prompt_tokens=20, completion_tokens=10, pack_remaining_tokens=70),
        ),
    )  # fmt: skip
    (line,) = tenant.ledger().items
    entry = line.entry
    assert line.pack_number == 1
    assert (entry.model, entry.session, entry.reason, entry.service_id, entry.key_id, entry.note) == ("m", "s", "r", "v", "k", "n")
    assert (entry.request_id, entry.part, entry.parts, entry.at) == ("request-1", 1, 1, at(1))
    assert msgspec.json.decode(entry.detail or "") == {"raw": {"total": 30}}
    assert tenant.lines() == ["grant 100 PK-1 100 | 100", "debit 30 PK-1 70 | 70"]


def test_facts_are_kept_with_a_line_and_are_no_part_of_the_input(tenant: Tenant) -> None:
    tenant.grant(100)
    held = tenant.open_hold(10).hold.id
    first = tenant.settle(held, 5, raw_usage={"total": 5}, facts={"served_by": "a/b"})
    again = tenant.settle(held, 5, raw_usage={"total": 5}, facts={"served_by": "c/d"})
    assert (again.replayed, again.amount_tokens) == (True, first.amount_tokens)
    (line,) = tenant.ledger().items
    assert msgspec.json.decode(line.entry.detail or "") == {"raw": {"total": 5}, "facts": {"served_by": "a/b"}}


def test_a_debit_at_one_to_one_pays_the_prompt_first(tenant: Tenant) -> None:
    for expiry in (10, 20, 30):
        tenant.grant(10, expires_at=at(expiry))
    receipt = tenant.debit(prompt_tokens=14, completion_tokens=11, key="k")
    assert [(drawn.prompt_tokens, drawn.completion_tokens) for drawn in receipt.drawn] == [(10, 0), (4, 6), (0, 5)]
    assert (receipt.prompt_tokens, receipt.completion_tokens, receipt.amount_tokens) == (14, 11, 25)
    assert parts_of(tenant.request("k")) == [("debit", 1, 10, "1/3"), ("debit", 2, 10, "2/3"), ("debit", 3, 5, "3/3")]


def test_a_debit_at_another_rate_is_cut_proportionally_and_sums_exactly(tenant: Tenant) -> None:
    for expiry in (10, 20, 30, 40, 50):
        tenant.grant(10, expires_at=at(expiry))
    receipt = tenant.debit(45, prompt_tokens=20, completion_tokens=70)
    cuts = [(drawn.prompt_tokens, drawn.completion_tokens) for drawn in receipt.drawn]
    assert cuts == [(4, 15), (4, 16), (5, 15), (4, 16), (3, 8)]


def test_a_debit_of_an_amount_alone_has_no_split(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(10))
    tenant.grant(10)
    receipt = tenant.debit(15)
    assert (receipt.prompt_tokens, receipt.completion_tokens) == (None, None)
    assert [(drawn.prompt_tokens, drawn.completion_tokens) for drawn in receipt.drawn] == [(None, None), (None, None)]


def test_a_debit_is_charged_at_the_rate_in_force_rounded_up_once(tenant: Tenant) -> None:
    model = f"model of {tenant.id}"
    tenant.meter.set_rate(Rate(model=model, effective_at=at(0), input_millionths=333_333, output_millionths=2_000_000))
    tenant.meter.set_rate(Rate(model=model, effective_at=at(10), input_millionths=0, cache_read_millionths=1, output_millionths=1))
    tenant.grant(1000)
    usage = Usage(input_tokens=10, output_tokens=3)
    assert tenant.debit(usage=usage, model=model).amount_tokens == 10  # 3.33333 + 6
    assert tenant.debit(usage=usage, model="another").amount_tokens == 13
    assert tenant.debit(7, usage=usage, model=model).amount_tokens == 7
    tenant.go_to(10)
    receipt = tenant.debit(usage=Usage(input_tokens=10, cache_read_tokens=5, output_tokens=3), model=model)
    assert (receipt.amount_tokens, receipt.prompt_tokens, receipt.completion_tokens) == (1, 15, 3)
    with refused(AmountInvalid, field="amount"):
        tenant.debit(usage=Usage(input_tokens=10), model=model)


def test_a_debit_larger_than_what_is_available_is_refused_and_changes_nothing(tenant: Tenant) -> None:
    tenant.grant(10)
    before = tenant.snapshot()
    with refused(BalanceHeld, balance_tokens=10, available_tokens=10, held_tokens=0, estimate_tokens=11):
        tenant.debit(11, key="k")
    assert tenant.snapshot() == before
    assert not tenant.debit(10, key="k").replayed


# Overage


def test_what_no_pack_covers_becomes_overage_and_the_next_packs_repay_it_first(tenant: Tenant) -> None:
    tenant.grant(10)
    receipt = tenant.debit(prompt_tokens=14, completion_tokens=11, already_used=True, key="k")
    assert (receipt.amount_tokens, receipt.overage_tokens, receipt.balance_tokens) == (25, 15, 0)
    assert (receipt.prompt_tokens, receipt.completion_tokens, len(receipt.drawn)) == (14, 11, 1)
    assert tenant.totals() == (0, 0, 15, State.AI_STOPPED)
    assert parts_of(tenant.request("k")) == [("debit", 1, 10, "1/2"), ("overage", None, 15, "2/2")]
    granted = tenant.grant(10, key="g")
    assert (granted.repaid_tokens, granted.balance_tokens, granted.pack.remaining_tokens, granted.state) == (
        10, 0, 0, State.AI_STOPPED,
    )  # fmt: skip
    assert tenant.totals() == (0, 0, 5, State.AI_STOPPED)
    granted = tenant.grant(12)
    assert (granted.repaid_tokens, granted.balance_tokens, granted.pack.repaid_tokens) == (5, 7, 5)
    assert tenant.totals() == (7, 0, 0, State.NORMAL)
    assert tenant.left() == ["depleted 0", "depleted 0", "active 7"]
    assert tenant.lines() == [
        "grant 10 PK-1 10 | 10",
        "debit 10 PK-1 0 | 0",
        "overage 15 - - | 0",
        "grant 10 PK-2 10 | 10",
        "overage_repaid 10 PK-2 0 | 0",
        "grant 12 PK-3 12 | 12",
        "overage_repaid 5 PK-3 7 | 7",
    ]


def test_used_tokens_are_charged_in_whatever_state_even_without_any_pack(tenant: Tenant) -> None:
    receipt = tenant.debit(5, already_used=True, key="k")
    assert (receipt.amount_tokens, receipt.overage_tokens, receipt.drawn) == (5, 5, ())
    assert tenant.debit(5, already_used=True, key="k").replayed
    assert tenant.totals() == (0, 0, 5, State.AI_STOPPED)
    assert tenant.lines() == ["overage 5 - - | 0"]
    assert tenant.ledger().items == ()


# State and admission


@pytest.mark.parametrize(
    ("balance", "state"),
    [
        (21, State.NORMAL), (20, State.NORMAL), (19, State.RUNNING_LOW), (11, State.RUNNING_LOW), (10, State.RUNNING_LOW),
        (9, State.AI_STOPPED), (1, State.AI_STOPPED),
    ],
)  # fmt: skip
def test_an_equal_balance_is_never_the_worse_state(tenant: Tenant, balance: int, state: State) -> None:
    tenant.set_thresholds(warning=20, reserve=10)
    assert tenant.grant(balance).state is state
    assert tenant.balance().state is state


def test_without_a_reserve_only_an_empty_balance_stops(tenant: Tenant) -> None:
    assert tenant.balance().state is State.AI_STOPPED
    assert tenant.grant(1).state is State.NORMAL
    assert tenant.debit(1).state is State.AI_STOPPED


def test_admission_keeps_to_its_edges(tenant: Tenant) -> None:
    tenant.set_thresholds(warning=20, reserve=10)
    tenant.grant(25)
    with refused(BalanceHeld, balance_tokens=25, available_tokens=25, estimate_tokens=26):
        tenant.debit(26)
    tenant.open_hold(15)
    with refused(BalanceHeld, available_tokens=10, held_tokens=15, estimate_tokens=11):
        tenant.debit(11)
    tenant.open_hold(1)
    with refused(BalanceHeld, available_tokens=9, held_tokens=16, estimate_tokens=1):
        tenant.open_hold(1)
    assert tenant.debit(15, already_used=True).state is State.RUNNING_LOW
    assert tenant.totals() == (10, 16, 0, State.RUNNING_LOW)
    assert tenant.debit(1, already_used=True).state is State.AI_STOPPED
    for act in (lambda: tenant.debit(1), lambda: tenant.open_hold(1)):
        with refused(AiStopped, balance_tokens=9, reserve_tokens=10):
            act()


def test_a_balance_equal_to_the_reserve_may_be_spent_whole(tenant: Tenant) -> None:
    tenant.set_thresholds(warning=20, reserve=10)
    tenant.grant(10)
    assert tenant.debit(10).state is State.AI_STOPPED


def test_an_organizations_own_thresholds_stand_before_the_platforms(shared_url: str, clock: FrozenClock) -> None:
    with Meter(shared_url, thresholds=Thresholds(100, 50), clock=clock, migrate=False) as meter:
        tenant = Tenant(meter, clock)
        tenant.grant(60)
        assert tenant.balance().state is State.RUNNING_LOW
        assert tenant.set_thresholds(warning="60", reserve=0) == ThresholdsSet(
            organization_id=tenant.id, at=at(0), balance_tokens=60, state=State.NORMAL, warning_tokens=60, reserve_tokens=0
        )
        assert (tenant.balance().warning_tokens, tenant.balance().reserve_tokens) == (60, 0)
        assert tenant.debit(1).state is State.RUNNING_LOW
        with refused(ThresholdsInvalid, warning_tokens=9, reserve_tokens=10):
            tenant.set_thresholds(warning=9, reserve=10)
        assert tenant.clear_thresholds().state is State.RUNNING_LOW
        assert tenant.debit(10).state is State.AI_STOPPED
        assert (tenant.balance().warning_tokens, tenant.balance().reserve_tokens) == (100, 50)
        assert tenant.lines() == ["grant 60 PK-1 60 | 60", "debit 1 PK-1 59 | 59", "debit 10 PK-1 49 | 49"]
