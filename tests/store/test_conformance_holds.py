"""Both databases: holds reserve, lapse at their instant, and are settled with what was really used."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.store.tenants import MICROSECOND, Tenant, at, drawn_of, parts_of, refused
from tokenwell import Held, Meter, Receipt, Released, State
from tokenwell.core.holds import HoldStatus
from tokenwell.errors import BalanceHeld, HoldAlreadyReleased, HoldAlreadySettled, HoldNotFound, RequestNotFound

TEN_SECONDS = timedelta(seconds=10)


def test_a_hold_reserves_and_writes_no_line(tenant: Tenant) -> None:
    tenant.grant(10)
    held = tenant.open_hold(4, ttl=TEN_SECONDS, key="k")
    assert isinstance(held, Held)
    assert (held.at, held.balance_tokens, held.state, held.replayed) == (at(0), 10, State.NORMAL, False)
    assert (held.hold.tokens, held.hold.request_id, held.hold.lapses_at, held.hold.status) == (4, "k", at(10), HoldStatus.OPEN)
    assert tenant.totals() == (10, 4, 0, State.NORMAL)
    assert tenant.balance().available_tokens == 6
    assert len(tenant.lines()) == 1
    with refused(BalanceHeld, available_tokens=6, estimate_tokens=7):
        tenant.open_hold(7)
    assert tenant.open_hold(6).hold.request_id.startswith("hold_")


@pytest.mark.parametrize(("used", "left"), [(4, 6), (1, 9), (9, 1)])
def test_settling_charges_what_was_used_whatever_was_held(tenant: Tenant, used: int, left: int) -> None:
    pack_id = tenant.grant(10).pack.id
    hold = tenant.open_hold(4, key="k").hold
    tenant.go_to(1)
    receipt = tenant.settle(hold.id, used, model="m")
    assert isinstance(receipt, Receipt)
    assert (receipt.request_id, receipt.amount_tokens, receipt.balance_tokens, receipt.late) == ("k", used, left, False)
    assert [drawn.pack_id for drawn in receipt.drawn] == [pack_id]
    assert tenant.totals() == (left, 0, 0, State.NORMAL)
    assert tenant.lines(1) == [f"debit {used} PK-1 {left} | {left}"]
    assert tenant.request("k") == tenant.request(hold.id)
    assert parts_of(tenant.request("k")) == [("debit", 1, used, "1/1")]


def test_settling_more_than_there_is_becomes_overage(tenant: Tenant) -> None:
    tenant.grant(10)
    hold = tenant.open_hold(4).hold
    receipt = tenant.settle(hold.id, prompt_tokens=10, completion_tokens=5)
    assert (receipt.amount_tokens, receipt.overage_tokens, receipt.balance_tokens) == (15, 5, 0)
    assert tenant.totals() == (0, 0, 5, State.AI_STOPPED)
    assert tenant.lines(1) == ["debit 10 PK-1 0 | 0", "overage 5 - - | 0"]


def test_settling_nothing_closes_the_hold_and_writes_no_line(tenant: Tenant) -> None:
    tenant.grant(10)
    hold = tenant.open_hold(4).hold
    receipt = tenant.settle(hold.id, 0)
    assert (receipt.amount_tokens, receipt.drawn, receipt.balance_tokens, receipt.replayed) == (0, (), 10, False)
    tenant.go_to(5)
    tenant.debit(1)
    again = tenant.settle(hold.id, 0)
    assert (again.replayed, again.at, again.balance_tokens) == (True, at(0), 10)
    assert tenant.totals() == (9, 0, 0, State.NORMAL)
    assert tenant.lines() == ["grant 10 PK-1 10 | 10", "debit 1 PK-1 9 | 9"]
    with refused(HoldAlreadySettled, hold_id=hold.id, settled_tokens=0):
        tenant.settle(hold.id, 1)
    with pytest.raises(RequestNotFound):
        tenant.request(hold.id)


def test_settling_again_gives_the_first_answer_or_a_conflict(tenant: Tenant) -> None:
    tenant.grant(10)
    hold = tenant.open_hold(4).hold
    first = tenant.settle(hold.id, prompt_tokens=2, completion_tokens=1, model="m")
    tenant.go_to(5)
    tenant.debit(1)
    again = tenant.settle(hold.id, prompt_tokens=2, completion_tokens=1, model="m")
    assert (again.replayed, first.replayed) == (True, False)
    assert (again.at, again.balance_tokens, again.drawn, again.amount_tokens) == (at(0), 7, first.drawn, 3)
    for other in (
        {"prompt_tokens": 1, "completion_tokens": 2, "model": "m"},
        {"prompt_tokens": 2, "completion_tokens": 1, "model": "other"},
        {"prompt_tokens": 2, "completion_tokens": 1, "model": "m", "estimated": True},
        {"amount": 0},
    ):
        with refused(HoldAlreadySettled, hold_id=hold.id, settled_tokens=3):
            tenant.settle(hold.id, **other)
    with refused(HoldAlreadySettled, hold_id=hold.id):
        tenant.release(hold.id)
    assert tenant.totals() == (6, 0, 0, State.NORMAL)


def test_a_released_hold_is_free_again_and_stays_closed(tenant: Tenant) -> None:
    tenant.grant(10)
    hold = tenant.open_hold(10).hold
    released = tenant.release(hold.id)
    assert released == Released(organization_id=tenant.id, at=at(0), balance_tokens=10, state=State.NORMAL, hold_id=hold.id)
    tenant.go_to(5)
    tenant.debit(4)
    again = tenant.release(hold.id)
    assert (again.replayed, again.at, again.balance_tokens) == (True, at(0), 10)
    with refused(HoldAlreadyReleased, hold_id=hold.id):
        tenant.settle(hold.id, 1)
    assert tenant.totals() == (6, 0, 0, State.NORMAL)


def test_a_hold_that_does_not_exist_is_neither_settled_nor_released(tenant: Tenant) -> None:
    pack_id = tenant.grant(10).pack.id
    for hold_id in ("hold_00000000000000000000000000", pack_id, "nonsense", ""):
        with refused(HoldNotFound, hold_id=hold_id):
            tenant.settle(hold_id, 1)
        with refused(HoldNotFound, hold_id=hold_id):
            tenant.release(hold_id)


# Lapse


def test_a_hold_lapses_at_its_instant_without_any_job(tenant: Tenant) -> None:
    tenant.grant(10)
    tenant.open_hold(6, ttl=TEN_SECONDS)
    tenant.clock.now = at(10) - MICROSECOND
    assert tenant.balance().held_tokens == 6
    with refused(BalanceHeld, available_tokens=4):
        tenant.open_hold(5)
    tenant.go_to(10)
    assert (tenant.balance().held_tokens, tenant.balance().available_tokens) == (0, 10)
    tenant.open_hold(10)
    assert tenant.totals() == (10, 10, 0, State.NORMAL)


def test_settling_is_late_from_the_instant_of_the_lapse(tenant: Tenant) -> None:
    tenant.grant(10)
    in_time, late = (tenant.open_hold(2, ttl=TEN_SECONDS).hold for _ in range(2))
    tenant.clock.now = at(10) - MICROSECOND
    assert tenant.settle(in_time.id, 3).late is False
    tenant.go_to(10)
    receipt = tenant.settle(late.id, 3)
    assert (receipt.late, receipt.balance_tokens, receipt.replayed) == (True, 4, False)
    assert tenant.settle(late.id, 3).late is True
    assert tenant.totals() == (4, 0, 0, State.NORMAL)


def test_settling_nothing_late_is_flagged_too(tenant: Tenant) -> None:
    tenant.grant(10)
    hold = tenant.open_hold(2, ttl=TEN_SECONDS).hold
    tenant.go_to(10)
    assert tenant.settle(hold.id, 0).late is True
    assert tenant.settle(hold.id, 0).late is True


def test_a_lapsed_hold_can_be_released(tenant: Tenant) -> None:
    tenant.grant(10)
    hold = tenant.open_hold(2, ttl=TEN_SECONDS).hold
    tenant.go_to(10)
    assert tenant.release(hold.id).replayed is False
    assert tenant.release(hold.id).replayed is True
    assert tenant.totals() == (10, 0, 0, State.NORMAL)


# What a hold may spend


def test_a_late_settlement_spends_a_pack_that_expired_since(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    hold = tenant.open_hold(5, ttl=TEN_SECONDS).hold
    tenant.go_to(70)
    receipt = tenant.settle(hold.id, 4)
    assert (receipt.late, receipt.amount_tokens, receipt.overage_tokens, receipt.forfeited_tokens) == (True, 4, 0, 0)
    assert tenant.lines(1) == ["expire 10 PK-1 10 | 0", "expire -4 PK-1 10 | 4", "debit 4 PK-1 6 | 0"]
    assert [entry.at for entry in tenant.entries(1)] == [at(60), at(70), at(70)]
    assert (tenant.left(), tenant.totals()) == (["expired 6"], (0, 0, 0, State.AI_STOPPED))


def test_a_settlement_spends_a_pack_that_was_revoked_since(tenant: Tenant) -> None:
    tenant.grant(10)
    hold = tenant.open_hold(5).hold
    tenant.revoke("PK-1")
    receipt = tenant.settle(hold.id, 10)
    assert (receipt.late, receipt.amount_tokens, receipt.overage_tokens) == (False, 10, 0)
    assert tenant.lines(1) == ["revoke 10 PK-1 10 | 0", "revoke -10 PK-1 10 | 10", "debit 10 PK-1 0 | 0"]
    assert tenant.left() == ["revoked 0"]


def test_closed_and_active_packs_are_spent_in_one_burn_down_order(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60), priority=1)
    tenant.grant(10, expires_at=at(50), priority=1)
    tenant.grant(10)
    hold = tenant.open_hold(5).hold
    tenant.revoke("PK-3")
    tenant.go_to(50)
    tenant.grant(10, expires_at=at(55), priority=1)
    receipt = tenant.settle(hold.id, 38)
    assert drawn_of(tenant, receipt) == [("PK-3", 10), ("PK-2", 10), ("PK-4", 10), ("PK-1", 8)]
    assert tenant.lines(3) == [
        "revoke 10 PK-3 10 | 20",
        "expire 10 PK-2 10 | 10",
        "grant 10 PK-4 10 | 20",
        "revoke -10 PK-3 10 | 30",
        "expire -10 PK-2 10 | 40",
        "debit 10 PK-3 0 | 30",
        "debit 10 PK-2 0 | 20",
        "debit 10 PK-4 0 | 10",
        "debit 8 PK-1 2 | 2",
    ]


def test_a_hold_cannot_spend_a_pack_that_had_gone_before_it_or_came_and_went_after(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(10))
    tenant.grant(10)
    tenant.revoke("PK-2")
    tenant.grant(3)
    tenant.go_to(10)
    hold = tenant.open_hold(3).hold
    tenant.grant(10, expires_at=at(20))
    tenant.go_to(20)
    receipt = tenant.settle(hold.id, 5)
    assert (drawn_of(tenant, receipt), receipt.overage_tokens) == ([("PK-3", 3)], 2)
    assert tenant.left() == ["expired 10", "revoked 10", "depleted 0", "expired 10"]


def test_the_rest_of_a_closed_pack_serves_several_holds_until_it_is_used_up(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(10))
    first, second = (tenant.open_hold(5).hold for _ in range(2))
    tenant.go_to(10)
    assert tenant.settle(first.id, 7).overage_tokens == 0
    assert tenant.settle(second.id, 7).overage_tokens == 4
    assert tenant.lines(1) == [
        "expire 10 PK-1 10 | 0",
        "expire -7 PK-1 10 | 7",
        "debit 7 PK-1 3 | 0",
        "expire -3 PK-1 3 | 3",
        "debit 3 PK-1 0 | 0",
        "overage 4 - - | 0",
    ]


# Blocks


def test_a_hold_left_unsettled_by_its_block_is_released(tenant: Tenant) -> None:
    tenant.grant(10)
    with tenant.hold(4) as held:
        assert tenant.totals() == (10, 4, 0, State.NORMAL)
    assert tenant.totals() == (10, 0, 0, State.NORMAL)
    with pytest.raises(ZeroDivisionError), tenant.hold(4):
        raise ZeroDivisionError
    assert tenant.totals() == (10, 0, 0, State.NORMAL)
    with tenant.hold(4) as held:
        assert held.settle(3).balance_tokens == 7
    assert held.receipt is not None
    assert tenant.totals() == (7, 0, 0, State.NORMAL)


async def test_coroutines_have_the_same_meter(meter: Meter, tenant: Tenant) -> None:
    aio, name = meter.aio, tenant.id
    assert (await aio.create_organization(name)).id == name
    await aio.grant(name, 100, expires_at=at(60), key="g")
    async with aio.hold(name, 4) as held:
        assert (await held.settle(3)).balance_tokens == 97
    async with aio.hold(name, 4):
        assert (await aio.balance(name)).held_tokens == 4
    assert (await aio.debit(name, 7, key="d")).balance_tokens == 90
    assert (await aio.refund(name, "d", 2, key="r")).balance_tokens == 92
    assert (await aio.extend(name, "PK-1", expires_at=None)).expires_at is None
    assert (await aio.set_thresholds(name, warning=9, reserve=1)).reserve_tokens == 1
    assert (await aio.revoke(name, "PK-1")).forfeited_tokens == 92
    assert await aio.balance(name) == meter.balance(name)
    assert await aio.packs(name) == meter.packs(name)
    assert await aio.pack_counts(name) == meter.pack_counts(name)
    assert await aio.ledger(name) == meter.ledger(name)
    assert await aio.journal(name) == meter.journal(name)
    assert await aio.request(name, "d") == meter.request(name, "d")
    assert await aio.organization(name) == meter.organization(name)
    with refused(HoldNotFound):
        await aio.settle(name, "nonsense", 1)
    assert tenant.totals() == (0, 0, 0, State.AI_STOPPED)
