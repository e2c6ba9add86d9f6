"""Both databases: amounts up to the largest are exact, and nothing ever leaves 64 bits."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.tenants import Tenant, at, refused
from tokenwell import Meter, State, Usage
from tokenwell.core import charges
from tokenwell.core.amounts import MAX_CHARGE_TOKENS, MAX_TOKENS
from tokenwell.errors import AmountInvalid


def test_a_balance_reaches_the_largest_amount_and_no_further(tenant: Tenant) -> None:
    tenant.grant(MAX_TOKENS - 5)
    with refused(AmountInvalid, field="amount", most=MAX_TOKENS):
        tenant.grant(6)
    assert tenant.grant(5).balance_tokens == MAX_TOKENS
    with refused(AmountInvalid, field="amount", most=MAX_TOKENS):
        tenant.grant(1)
    assert tenant.debit(1, key="k").balance_tokens == MAX_TOKENS - 1
    tenant.grant(1)
    with refused(AmountInvalid, field="amount", most=MAX_TOKENS):
        tenant.refund("k")
    tenant.debit(1)
    assert tenant.refund("k").balance_tokens == MAX_TOKENS


def test_one_charge_has_a_bound_of_its_own(tenant: Tenant) -> None:
    tenant.grant(MAX_TOKENS)
    hold = tenant.open_hold(MAX_CHARGE_TOKENS).hold
    for act in (
        lambda: tenant.debit(MAX_CHARGE_TOKENS + 1),
        lambda: tenant.debit(MAX_CHARGE_TOKENS + 1, already_used=True),
        lambda: tenant.debit("1.000000000001T"),
        lambda: tenant.open_hold(MAX_CHARGE_TOKENS + 1),
        lambda: tenant.settle(hold.id, MAX_CHARGE_TOKENS + 1),
    ):
        with refused(AmountInvalid, field="amount", most=MAX_CHARGE_TOKENS):
            act()
    assert tenant.settle(hold.id, MAX_CHARGE_TOKENS).amount_tokens == MAX_CHARGE_TOKENS
    assert tenant.debit("1T", key="k").balance_tokens == MAX_TOKENS - 2 * MAX_CHARGE_TOKENS
    assert tenant.refund("k").balance_tokens == MAX_TOKENS - MAX_CHARGE_TOKENS


def test_overage_reaches_the_largest_amount_and_no_further(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charges, "MAX_TOKENS", 3 * MAX_CHARGE_TOKENS)
    tenant.grant(5)
    hold = tenant.open_hold(5).hold
    for tokens in (MAX_CHARGE_TOKENS, MAX_CHARGE_TOKENS, MAX_CHARGE_TOKENS):
        tenant.debit(tokens, already_used=True)
    assert tenant.totals() == (0, 5, 3 * MAX_CHARGE_TOKENS - 5, State.AI_STOPPED)
    for act in (lambda: tenant.debit(6, already_used=True), lambda: tenant.settle(hold.id, 6)):
        with refused(AmountInvalid, field="amount"):
            act()
    assert tenant.settle(hold.id, 5).overage_tokens == 5
    assert tenant.grant(MAX_TOKENS).repaid_tokens == 3 * MAX_CHARGE_TOKENS
    assert tenant.totals() == (MAX_TOKENS - 3 * MAX_CHARGE_TOKENS, 0, 0, State.NORMAL)


def test_large_amounts_are_cut_over_packs_exactly(tenant: Tenant) -> None:
    third = MAX_CHARGE_TOKENS // 3
    for expiry in (10, 20, 30):
        tenant.grant(third, expires_at=at(expiry))
    receipt = tenant.debit(3 * third, prompt_tokens=MAX_CHARGE_TOKENS, completion_tokens=MAX_CHARGE_TOKENS - 1)
    assert sum(drawn.prompt_tokens or 0 for drawn in receipt.drawn) == MAX_CHARGE_TOKENS
    assert sum(drawn.completion_tokens or 0 for drawn in receipt.drawn) == MAX_CHARGE_TOKENS - 1
    assert [drawn.amount_tokens for drawn in receipt.drawn] == [third] * 3


async def test_sums_over_the_largest_usage_stay_exact(meter: Meter, tenant: Tenant) -> None:
    tenant.grant(1000)
    usage = Usage(
        input_tokens=MAX_CHARGE_TOKENS, cache_read_tokens=MAX_CHARGE_TOKENS - 1, cache_write_tokens=MAX_CHARGE_TOKENS - 2,
        output_tokens=MAX_CHARGE_TOKENS - 3, reasoning_tokens=MAX_CHARGE_TOKENS,
    )  # fmt: skip
    await asyncio.gather(*(meter.aio.debit(tenant.id, 1, usage=usage) for _ in range(320)))
    totals = tenant.usage_totals(since=at(0), until=at(900))
    assert (totals.debited_tokens, totals.requests) == (320, 320)
    assert totals.prompt_tokens == 320 * (3 * MAX_CHARGE_TOKENS - 3)
    assert totals.completion_tokens == 320 * (2 * MAX_CHARGE_TOKENS - 3)
