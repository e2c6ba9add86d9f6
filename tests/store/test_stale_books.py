"""Both databases: a meter that remembers an organization never acts on what another meter has changed since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.doubles import FrozenClock
from tests.store.gates import behind, gated
from tests.store.tenants import NO_THRESHOLDS, Tenant, at, drawn_of, refused
from tokenwell import Held, Meter, State
from tokenwell.core.holds import HoldStatus
from tokenwell.errors import AiStopped, BalanceHeld, HoldAlreadyReleased, HoldAlreadySettled, PackAlreadyRevoked


class Other(Tenant):
    """The same organization on another meter, with a memory of its own."""

    def __init__(self, tenant: Tenant, meter: Meter) -> None:
        self.meter, self.clock, self.id = meter, tenant.clock, tenant.id


@pytest.fixture
def other(shared_url: str, tenant: Tenant, clock: FrozenClock) -> Iterator[Other]:
    """What another process changes. Both meters have written before, so that both remember a pack of 100 that expires."""
    with Meter(shared_url, thresholds=NO_THRESHOLDS, clock=clock, migrate=False) as meter:
        other = Other(tenant, meter)
        tenant.grant(98, expires_at=at(60))
        other.grant(4, expires_at=at(70))
        other.debit(1)
        tenant.debit(1)
        # A meter that was surprised looks twice for a while: until it no longer does.
        for _ in range(20):
            tenant.set_thresholds(warning=0, reserve=0)
        tenant.clear_thresholds()
        assert tenant.lines() == ["grant 98 PK-1 98 | 98", "grant 4 PK-2 4 | 102", "debit 1 PK-1 97 | 101", "debit 1 PK-1 96 | 100"]
        yield other


def test_tokens_that_the_other_spent_are_not_spent_again(tenant: Tenant, other: Other) -> None:
    other.debit(100)
    with refused(AiStopped, balance_tokens=0):
        tenant.debit(1)
    assert tenant.debit(1, already_used=True).overage_tokens == 1


def test_a_part_that_the_other_spent_is_missing(tenant: Tenant, other: Other) -> None:
    other.debit(97)
    assert drawn_of(tenant, tenant.debit(2)) == [("PK-2", 2)]
    with refused(BalanceHeld, balance_tokens=1):
        tenant.debit(2)


def test_a_pack_that_the_other_granted_is_spent_in_its_place(tenant: Tenant, other: Other) -> None:
    other.grant(10, expires_at=at(50))
    assert drawn_of(tenant, tenant.debit(11)) == [("PK-3", 10), ("PK-1", 1)]


def test_a_refusal_is_decided_anew_when_the_other_has_granted(tenant: Tenant, other: Other) -> None:
    with refused(BalanceHeld):
        tenant.debit(150)
    other.grant(50)
    assert tenant.debit(150).balance_tokens == 0


def test_a_pack_that_the_other_revoked_is_spent_no_more(tenant: Tenant, other: Other) -> None:
    other.revoke("PK-1")
    assert drawn_of(tenant, tenant.debit(3)) == [("PK-2", 3)]
    with refused(PackAlreadyRevoked):
        tenant.revoke("PK-1")


def test_a_pack_that_the_other_extended_lives_on(tenant: Tenant, other: Other) -> None:
    other.extend("PK-1", expires_at=at(90))
    tenant.go_to(65)
    assert drawn_of(tenant, tenant.debit(5)) == [("PK-2", 4), ("PK-1", 1)]


def test_a_pack_that_the_other_let_expire_is_closed_once(tenant: Tenant, other: Other) -> None:
    tenant.go_to(60)
    other.debit(1)
    tenant.debit(1)
    assert tenant.lines(4) == ["expire 96 PK-1 96 | 4", "debit 1 PK-2 3 | 3", "debit 1 PK-2 2 | 2"]


def test_what_the_other_holds_is_not_available(tenant: Tenant, other: Other) -> None:
    hold = other.open_hold(95).hold
    with refused(BalanceHeld, available_tokens=5, held_tokens=95):
        tenant.debit(6)
    assert tenant.settle(hold.id, 90).balance_tokens == 10
    with refused(HoldAlreadySettled):
        other.release(hold.id)


def test_a_hold_that_the_other_settled_is_settled(tenant: Tenant, other: Other) -> None:
    holds = [tenant.open_hold(5).hold.id for _ in range(4)]
    other.settle(holds[0], 5)
    assert tenant.settle(holds[0], 5).replayed
    other.settle(holds[1], 5)
    with refused(HoldAlreadySettled):
        tenant.settle(holds[1], 6)
    other.release(holds[2])
    with refused(HoldAlreadyReleased):
        tenant.settle(holds[2], 5)
    other.settle(holds[3], 0)
    with refused(HoldAlreadySettled):
        tenant.release(holds[3])
    assert tenant.totals()[:2] == (90, 0)


def test_a_hold_that_the_other_saw_lapse_is_settled_late(tenant: Tenant, other: Other) -> None:
    hold = tenant.open_hold(5, ttl=timedelta(seconds=10)).hold
    tenant.go_to(10)
    other.debit(1)
    assert tenant.settle(hold.id, 5).late
    assert tenant.totals()[:2] == (94, 0)


def test_a_pack_that_the_other_revoked_is_spent_by_the_hold_that_could(tenant: Tenant, other: Other) -> None:
    hold = tenant.open_hold(5).hold
    other.revoke("PK-1")
    assert drawn_of(tenant, tenant.settle(hold.id, 5)) == [("PK-1", 5)]
    assert tenant.lines(4) == ["revoke 96 PK-1 96 | 4", "revoke -5 PK-1 96 | 9", "debit 5 PK-1 91 | 4"]


def test_holds_that_the_other_cancelled_are_gone(tenant: Tenant, other: Other) -> None:
    hold = tenant.open_hold(5).hold
    assert other.revoke("PK-1", cancel_holds=True).released_holds == 1
    with refused(HoldAlreadyReleased):
        tenant.settle(hold.id, 5)
    assert tenant.open_hold(4).hold.status is HoldStatus.OPEN


def test_thresholds_that_the_other_set_are_in_force(tenant: Tenant, other: Other) -> None:
    assert other.set_thresholds(warning=200, reserve=101).state is State.AI_STOPPED
    with refused(AiStopped, reserve_tokens=101):
        tenant.debit(1)
    other.clear_thresholds()
    assert tenant.debit(1).state is State.NORMAL


def test_a_key_that_the_other_used_is_replayed(tenant: Tenant, other: Other) -> None:
    first = other.debit(100, key="k")
    again = tenant.debit(100, key="k")
    assert (again.replayed, again.drawn) == (True, first.drawn)
    held = other.grant(5, key="g") and other.open_hold(5, key="h")
    assert tenant.open_hold(5, key="h").hold.id == held.hold.id


def test_a_refund_by_the_other_leaves_less_to_refund(tenant: Tenant, other: Other) -> None:
    tenant.debit(10, key="k")
    other.refund("k", 7)
    assert tenant.refund("k").amount_tokens == 3


def test_overage_that_the_other_made_is_repaid_first(tenant: Tenant, other: Other) -> None:
    other.debit(120, already_used=True)
    assert tenant.grant(30).repaid_tokens == 20


def test_an_organization_that_the_other_creates_is_known_at_once(meter: Meter, other: Other) -> None:
    with pytest.raises(Exception, match="no such organization"):
        meter.grant("later", 5)
    other.meter.create_organization("later")
    assert meter.grant("later", 5).balance_tokens == 5


def test_two_meters_taking_turns_write_one_gapless_journal(tenant: Tenant, other: Other) -> None:
    for turn in range(40):
        (other if turn % 3 else tenant).debit(1)
        (tenant if turn % 2 else other).grant(1)
    assert tenant.totals()[0] == 100
    assert [entry.seq for entry in tenant.entries()] == list(range(1, 85))


async def test_a_batch_over_several_organizations_is_guarded_for_each(shared_url: str, tenant: Tenant, other: Other) -> None:
    second = Tenant(tenant.meter, tenant.clock)
    second.grant(100)
    open_hold = tenant.meter.aio.open_hold
    with gated(tenant.meter, shared_url) as gate:
        await behind(gate, open_hold(tenant.id, 1), open_hold(tenant.id, 1), open_hold(second.id, 1))
        other.open_hold(98)
        outcomes = await behind(gate, open_hold(second.id, 1), open_hold(tenant.id, 1), open_hold(second.id, 1))
    assert [type(outcome) for outcome in outcomes] == [Held, BalanceHeld, Held]
    assert (tenant.totals()[:2], second.totals()[:2]) == ((100, 100), (100, 3))
    assert second.problems() == ()
