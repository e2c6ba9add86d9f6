"""Both databases: many debits in one call, each with its own answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.store.gates import gated
from tests.store.tenants import Tenant, refused
from tokenwell import Meter, Receipt, Thresholds
from tokenwell.errors import AmountInvalid, BalanceHeld, IdempotencyConflict, OrganizationNotFound, RequestInvalid


def told(outcomes: list[Any]) -> list[Any]:
    """Return what each came to: the amount charged, or the type of its error."""
    return [outcome.amount_tokens if isinstance(outcome, Receipt) else type(outcome) for outcome in outcomes]


def test_each_is_charged_or_refused_by_itself_in_order(tenant: Tenant) -> None:
    tenant.grant(100)
    tenant.debit(7, key="before")
    items: list[Any] = [
        {"amount": 10, "key": "a", "model": "m"},
        {"amount": 0},
        {"amount": 200},
        {"amount": 10, "key": "a", "model": "m"},
        {"amount": 11, "key": "a"},
        {"prompt_tokens": 3, "completion_tokens": 2},
        {"amount": 1, "colour": "red"},
        7,
        {"amount": 7, "key": "before"},
    ]
    outcomes = tenant.debit_many(items)
    assert told(outcomes) == [
        10, AmountInvalid, BalanceHeld, 10, IdempotencyConflict, 5, RequestInvalid, RequestInvalid, 7,
    ]  # fmt: skip
    assert [outcome.replayed for outcome in outcomes if isinstance(outcome, Receipt)] == [False, True, False, True]
    assert outcomes[6].details["field"] == "colour"
    assert tenant.totals()[0] == 78


async def test_a_thousand_go_into_a_few_transactions_on_both_faces(shared_url: str, meter: Meter, tenant: Tenant) -> None:
    tenant.grant(3_000)
    with gated(meter, shared_url) as gate:
        outcomes = await meter.aio.debit_many(tenant.id, [{"amount": 1, "key": f"k{number}"} for number in range(1_000)])
        assert told(outcomes) == [1] * 1_000
        assert [outcome.balance_tokens for outcome in outcomes if isinstance(outcome, Receipt)] == list(range(2_999, 1_999, -1))
        assert len(gate.batches) <= 5
        again = await meter.aio.debit_many(tenant.id, [{"amount": 1, "key": f"k{number}"} for number in range(1_000)])
        assert [outcome.replayed for outcome in again if isinstance(outcome, Receipt)] == [True] * 1_000
    assert tenant.totals()[0] == 2_000


@pytest.mark.parametrize("items", [[], [{"amount": 1}] * 1_001, {"amount": 1}, "ab"])
def test_a_call_has_between_one_and_a_thousand(tenant: Tenant, items: Any) -> None:
    with refused(RequestInvalid, field="items"):
        tenant.debit_many(items)


def test_no_organization_is_an_error_for_each(meter: Meter) -> None:
    assert told(meter.debit_many("nobody", [{"amount": 1}] * 2)) == [OrganizationNotFound] * 2


def test_more_than_the_queue_holds_goes_through_where_nobody_waits(shared_url: str, tenant: Tenant) -> None:
    tenant.grant(100)
    with Meter(shared_url, thresholds=Thresholds(0, 0), clock=tenant.clock, migrate=False, queue_limit=5, batch_limit=4) as small:
        assert told(small.debit_many(tenant.id, [{"amount": 1}] * 20)) == [1] * 20
