"""Both databases: an advance is granted at once, owed like overage and repaid first out of the next grant."""

from __future__ import annotations

import pytest

from tests.store.tellings import acts_of, event_rows
from tests.store.tenants import Tenant, at, parts_of, refused
from tokenwell import Granted, State
from tokenwell.core.happenings import SYSTEM
from tokenwell.errors import AmountInvalid, IdempotencyConflict


def test_an_advance_is_a_pack_that_never_expires_and_is_owed(tenant: Tenant) -> None:
    advanced = tenant.advance(10, limit=10, note="until Monday")
    assert isinstance(advanced, Granted)
    assert (advanced.balance_tokens, advanced.advanced_tokens, advanced.repaid_tokens) == (10, 10, 0)
    assert (advanced.pack.expires_at, advanced.pack.remaining_tokens, advanced.pack.note) == (None, 10, "until Monday")
    assert tenant.totals() == (10, 0, 10, State.NORMAL)
    assert tenant.lines() == ["grant 10 PK-1 10 | 10", "advance 10 - - | 10"]
    assert [(entry.part, entry.parts) for entry in tenant.entries()] == [(1, 2), (2, 2)]


def test_the_next_grant_repays_it_first(tenant: Tenant) -> None:
    tenant.advance(10, limit=10)
    tenant.debit(7)
    granted = tenant.grant(4)
    assert (granted.repaid_tokens, granted.balance_tokens) == (4, 3)
    assert tenant.grant(100).repaid_tokens == 6
    assert tenant.totals() == (97, 0, 0, State.NORMAL)
    assert tenant.left() == ["active 3", "depleted 0", "active 94"]


def test_no_more_is_advanced_than_the_limit_with_all_that_is_owed(tenant: Tenant) -> None:
    tenant.debit(3, already_used=True)
    with refused(AmountInvalid, field="amount", limit_tokens=10, overage_tokens=3):
        tenant.advance(8, limit=10)
    assert tenant.advance(7, limit=10).balance_tokens == 7
    with refused(AmountInvalid, overage_tokens=10):
        tenant.advance(1, limit=10)
    tenant.grant(10)
    assert tenant.advance(10, limit=10).balance_tokens == 17


@pytest.mark.parametrize(("amount", "limit"), [(0, 10), (-1, 10), (1.5, 10), (5, -1)])
def test_an_advance_that_is_no_amount_changes_nothing(tenant: Tenant, amount: object, limit: object) -> None:
    with refused(AmountInvalid):
        tenant.advance(amount, limit=limit)
    assert tenant.lines() == []


def test_a_repetition_is_advanced_once_whatever_the_limit_is_now(tenant: Tenant) -> None:
    first = tenant.advance(10, limit=10, key="k", by=SYSTEM)
    tenant.go_to(5)
    again = tenant.advance(10, limit=1, key="k")
    assert (again.replayed, again.at, again.pack, again.advanced_tokens) == (True, at(0), first.pack, 10)
    with refused(IdempotencyConflict, field="amount"):
        tenant.advance(11, limit=100, key="k")
    with refused(IdempotencyConflict, field="command"):
        tenant.grant(10, key="k")
    tenant.grant(10, key="g")
    with refused(IdempotencyConflict, field="command"):
        tenant.advance(10, limit=100, key="g")
    ((action, subject, before, after),) = acts_of(tenant)
    assert (action, subject, before) == ("pack.advance", first.pack.id, {"balance_tokens": 0, "overage_tokens": 0})
    assert after is not None
    assert (after["advanced_tokens"], after["limit_tokens"], after["overage_tokens"]) == (10, 10, 10)


def test_overage_on_top_of_an_advance_is_repaid_and_refunded_as_ever(tenant: Tenant) -> None:
    tenant.advance(10, limit=10)
    tenant.debit(15, already_used=True, key="k")
    assert tenant.totals() == (0, 0, 15, State.AI_STOPPED)
    tenant.refund("k", 7)
    assert tenant.totals()[:3] == (2, 0, 10)
    tenant.grant(50)
    assert tenant.totals()[:3] == (42, 0, 0)
    assert parts_of(tenant.request("k")) == [("debit", 1, 10, "1/2"), ("overage", None, 5, "2/2")]
    totals = tenant.usage_totals(since=at(-1800), until=at(1800))
    assert (totals.debited_tokens, totals.refunded_tokens, totals.overage_tokens, totals.requests) == (10, 2, 0, 1)


def test_an_advance_is_told_as_a_pack_and_its_repayment_as_that_of_overage(tenant: Tenant) -> None:
    tenant.set_thresholds(warning=1, reserve=1)
    tenant.advance(10, limit=10)
    tenant.grant(20)
    told = [(kind, detail.get("advanced_tokens"), detail.get("repaid_tokens")) for kind, _, detail in event_rows(tenant)]
    assert told == [
        ("pack.granted", 10, 0), ("pack.advanced", None, None), ("pack.granted", None, 10), ("overage.repaid", None, 10),
    ]  # fmt: skip
