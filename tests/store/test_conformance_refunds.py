"""Both databases: a refund gives tokens back where they came from, the last spent first."""

from __future__ import annotations

import pytest

from tests.store.tenants import Tenant, at, drawn_of, parts_of, refused
from tokenwell import State
from tokenwell.errors import AmountInvalid, RequestNotFound


@pytest.fixture
def spread(tenant: Tenant) -> Tenant:
    """Three packs of 10, of which the request "spread" took 10, 10 and 5."""
    for expiry in (60, 70, 80):
        tenant.grant(10, expires_at=at(expiry))
    tenant.debit(prompt_tokens=15, completion_tokens=10, model="m", session="s", reason="r", key="spread")
    return tenant


def test_a_refund_goes_back_in_reverse_order_of_spending(spread: Tenant) -> None:
    receipt = spread.refund("spread", 12, note="sorry", key="refund")
    assert (receipt.request_id, receipt.amount_tokens, receipt.balance_tokens, receipt.overage_tokens) == ("refund", 12, 17, 0)
    assert drawn_of(spread, receipt) == [("PK-3", 5), ("PK-2", 7)]
    assert spread.left() == ["depleted 0", "active 7", "active 10"]
    assert spread.lines(6) == ["refund 5 PK-3 10 | 10", "refund 7 PK-2 7 | 17"]
    assert parts_of(spread.request("refund")) == [("refund", 3, 5, "1/2"), ("refund", 2, 7, "2/2")]
    first = spread.entries(6)[0]
    assert (first.ref_seq, first.model, first.session, first.reason, first.note) == (6, "m", "s", "r", "sorry")
    assert (first.prompt_tokens, first.completion_tokens) == (None, None)


def test_refunds_take_up_where_the_last_one_stopped_until_nothing_is_left(spread: Tenant) -> None:
    assert drawn_of(spread, spread.refund("spread", 3)) == [("PK-3", 3)]
    assert drawn_of(spread, spread.refund("spread", 9)) == [("PK-3", 2), ("PK-2", 7)]
    with refused(AmountInvalid, field="amount", refundable_tokens=13):
        spread.refund("spread", 14)
    assert drawn_of(spread, spread.refund("spread")) == [("PK-2", 3), ("PK-1", 10)]
    assert spread.totals() == (30, 0, 0, State.NORMAL)
    for amount in (None, 1):
        with refused(AmountInvalid, field="amount", refundable_tokens=0):
            spread.refund("spread", amount)


def test_the_tokens_given_back_can_be_spent_again(spread: Tenant) -> None:
    spread.refund("spread")
    assert drawn_of(spread, spread.debit(30)) == [("PK-1", 10), ("PK-2", 10), ("PK-3", 10)]


def test_what_goes_back_to_a_revoked_or_expired_pack_is_forfeited_again_after_all_lines(spread: Tenant) -> None:
    spread.revoke("PK-3")
    spread.go_to(60)
    receipt = spread.refund("spread", key="refund")
    assert (receipt.amount_tokens, receipt.forfeited_tokens, receipt.balance_tokens) == (25, 15, 10)
    assert spread.lines(6) == [
        "revoke 5 PK-3 5 | 0",
        "refund 5 PK-3 10 | 5",
        "refund 10 PK-2 10 | 15",
        "refund 10 PK-1 10 | 25",
        "revoke 5 PK-3 10 | 20",
        "expire 10 PK-1 10 | 10",
    ]
    assert [(kind, part) for kind, _, _, part in parts_of(spread.request("refund"))] == [
        ("refund", "1/5"), ("refund", "2/5"), ("refund", "3/5"), ("revoke", "4/5"), ("expire", "5/5"),
    ]  # fmt: skip
    assert spread.left() == ["expired 10", "active 10", "revoked 10"]


def test_a_depleted_pack_becomes_active_again_and_later_expires(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    tenant.debit(10, key="k")
    tenant.go_to(59)
    tenant.refund("k", 4)
    assert tenant.left() == ["active 4"]
    tenant.go_to(60)
    assert (tenant.totals(), tenant.left()) == ((0, 0, 0, State.AI_STOPPED), ["expired 4"])
    tenant.grant(1)
    assert tenant.lines(3) == ["expire 4 PK-1 4 | 0", "grant 1 PK-2 1 | 1"]


def test_a_refund_of_overage_lowers_what_is_outstanding_then_returns_what_was_repaid_newest_first(tenant: Tenant) -> None:
    tenant.grant(10)
    tenant.debit(30, already_used=True, key="k")
    tenant.grant(8)
    tenant.grant(7)
    assert tenant.totals() == (0, 0, 5, State.AI_STOPPED)
    receipt = tenant.refund("k", key="r")
    assert (receipt.amount_tokens, receipt.overage_tokens, receipt.forfeited_tokens) == (30, 5, 0)
    assert tenant.lines(7) == [
        "overage -5 - - | 0",
        "refund 7 PK-3 7 | 7",
        "refund 8 PK-2 8 | 15",
        "refund 10 PK-1 10 | 25",
    ]
    assert tenant.totals() == (25, 0, 0, State.NORMAL)
    assert [tenant.pack(number).pack.returned_tokens for number in (1, 2, 3)] == [0, 8, 7]


def test_a_part_of_overage_is_refunded_once_only(tenant: Tenant) -> None:
    tenant.debit(10, already_used=True, key="k")
    tenant.grant(6)
    assert tenant.refund("k", 3).overage_tokens == 3
    assert tenant.refund("k", 3).overage_tokens == 1
    assert tenant.refund("k", 4).overage_tokens == 0
    assert tenant.lines(3) == [
        "overage -3 - - | 0", "overage -1 - - | 0", "refund 2 PK-1 2 | 2", "refund 4 PK-1 6 | 6",
    ]  # fmt: skip
    with refused(AmountInvalid, refundable_tokens=0):
        tenant.refund("k")
    assert tenant.totals() == (6, 0, 0, State.NORMAL)


def test_overage_that_was_repaid_by_an_expired_pack_is_forfeited(tenant: Tenant) -> None:
    tenant.debit(5, already_used=True, key="k")
    tenant.grant(8, expires_at=at(60))
    tenant.go_to(60)
    receipt = tenant.refund("k")
    assert (receipt.amount_tokens, receipt.forfeited_tokens, receipt.balance_tokens) == (5, 5, 0)
    assert tenant.lines(3) == ["expire 3 PK-1 3 | 0", "refund 5 PK-1 8 | 5", "expire 5 PK-1 8 | 0"]


def test_a_held_request_is_refunded_by_its_key_or_its_hold(tenant: Tenant) -> None:
    tenant.grant(100)
    named, unnamed = tenant.open_hold(10, key="named").hold, tenant.open_hold(10).hold
    tenant.settle(named.id, 10)
    tenant.settle(unnamed.id, 10)
    assert tenant.refund("named", 4).balance_tokens == 84
    assert tenant.refund(named.id, 6).balance_tokens == 90
    assert tenant.refund(unnamed.id).balance_tokens == 100
    with refused(AmountInvalid, refundable_tokens=0):
        tenant.refund("named")


def test_a_held_request_is_refunded_even_if_a_debit_has_the_holds_id_for_its_key(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(10).hold
    tenant.debit(1, key=hold.id)
    assert tenant.settle(hold.id, 10).balance_tokens == 89
    assert tenant.refund(hold.id).amount_tokens == 10


def test_only_charged_requests_can_be_refunded(tenant: Tenant) -> None:
    tenant.grant(100, key="grant")
    tenant.debit(10, key="debit")
    tenant.refund("debit", 5, key="refund")
    tenant.debit(200, already_used=True, key="over")
    tenant.refund("over", 5, key="refund of overage")
    before = tenant.snapshot()
    for request_id in ("grant", "refund", "refund of overage", "nonsense"):
        with refused(RequestNotFound, request_id=request_id):
            tenant.refund(request_id)
    assert tenant.snapshot() == before


def test_a_hold_without_usage_has_nothing_to_refund(tenant: Tenant) -> None:
    tenant.grant(10)
    unused, open_still = tenant.open_hold(1, key="unused").hold, tenant.open_hold(1, key="open").hold
    tenant.settle(unused.id, 0)
    for request_id in ("unused", unused.id, "open", open_still.id):
        with refused(RequestNotFound, request_id=request_id):
            tenant.refund(request_id)
