"""Both databases: a lane with a line of its own stops before the others do."""

from __future__ import annotations

import pytest

from tests.store.tenants import Tenant, refused
from tokenwell.errors import AiStopped, AmountInvalid, BalanceHeld

BACKGROUND = {"reserve_tokens": 50, "lane": "background"}


def test_a_lane_leaves_its_reserve_to_the_others(tenant: Tenant) -> None:
    tenant.grant(100)
    tenant.debit(20, **BACKGROUND)
    hold = tenant.open_hold(20, **BACKGROUND).hold
    for act in (tenant.debit, tenant.open_hold):
        with refused(BalanceHeld, lane="background", reserve_tokens=50, available_tokens=60, estimate_tokens=11):
            act(11, **BACKGROUND)
    with refused(BalanceHeld, lane="background"):
        tenant.extend_hold(hold.id, 11, **BACKGROUND)
    tenant.extend_hold(hold.id, 10, **BACKGROUND)
    assert tenant.balance().available_tokens == 50
    tenant.debit(50)


def test_what_is_refused_to_all_is_not_put_down_to_the_lane(tenant: Tenant) -> None:
    tenant.grant(100)
    with refused(BalanceHeld, lane=None):
        tenant.debit(101, **BACKGROUND)
    tenant.set_thresholds(warning=101, reserve=101)
    with refused(AiStopped):
        tenant.debit(1, **BACKGROUND)


def test_a_lower_line_than_the_minimum_reserve_changes_nothing(tenant: Tenant) -> None:
    tenant.grant(100)
    tenant.set_thresholds(warning=60, reserve=60)
    tenant.debit(41, reserve_tokens=10)
    with refused(AiStopped):
        tenant.debit(1, reserve_tokens=10)


def test_tokens_used_already_are_charged_in_every_lane(tenant: Tenant) -> None:
    tenant.grant(100)
    assert tenant.debit(90, already_used=True, **BACKGROUND).balance_tokens == 10


def test_the_lane_is_no_part_of_the_input(tenant: Tenant) -> None:
    tenant.grant(100)
    tenant.debit(40, key="k", **BACKGROUND)
    assert tenant.debit(40, key="k", reserve_tokens=90).replayed


@pytest.mark.parametrize("line", [-1, 1.5, 10**16 + 1])
def test_a_line_is_a_whole_number(tenant: Tenant, line: object) -> None:
    with refused(AmountInvalid, field="reserve_tokens"):
        tenant.debit(1, reserve_tokens=line)
