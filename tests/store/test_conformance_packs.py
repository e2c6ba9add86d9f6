"""Both databases: packs are granted, extended, revoked, and expire at their instant."""

from __future__ import annotations

import pytest

from tests.store.tenants import MICROSECOND, Tenant, at, refused
from tokenwell import Extended, Granted, Meter, Pack, PackStatus, Revoked, State
from tokenwell.errors import (
    AiStopped,
    HoldAlreadyReleased,
    OrganizationExists,
    OrganizationNotFound,
    PackAlreadyRevoked,
    PackExpired,
    PackNotFound,
    RequestInvalid,
)

# Organizations


def test_an_organization_is_created_once_and_named(meter: Meter) -> None:
    created = meter.create_organization("globex", name="Globex GmbH")
    assert (created.id, created.name, created.created_at) == ("globex", "Globex GmbH", at(0))
    assert meter.create_organization("globex", name="Globex GmbH") == created == meter.organization("globex")
    with refused(OrganizationExists, organization_id="globex", name="Globex GmbH"):
        meter.create_organization("globex", name="Other")
    balance = meter.balance("globex")
    assert (balance.balance_tokens, balance.state, balance.seq, balance.head_hash) == (0, State.AI_STOPPED, 0, "0" * 64)


def test_what_belongs_to_no_organization_is_not_found_by_any_command(meter: Meter, tenant: Tenant) -> None:
    pack, hold = tenant.grant(10).pack, tenant.open_hold(1).hold
    tenant.release(hold.id)
    nobody = "nobody"
    for act in (
        lambda: meter.grant(nobody, 1),
        lambda: meter.revoke(nobody, pack.id),
        lambda: meter.revoke(nobody, "PK-1"),
        lambda: meter.extend(nobody, pack.id, expires_at=None),
        lambda: meter.extend(nobody, "PK-1", expires_at=None),
        lambda: meter.open_hold(nobody, 1),
        lambda: meter.settle(nobody, hold.id, 1),
        lambda: meter.release(nobody, hold.id),
        lambda: meter.debit(nobody, 1),
        lambda: meter.refund(nobody, "any"),
        lambda: meter.set_thresholds(nobody, warning=1, reserve=1),
        lambda: meter.clear_thresholds(nobody),
        lambda: meter.organization(nobody),
        lambda: meter.balance(nobody),
        lambda: meter.packs(nobody),
        lambda: meter.pack_counts(nobody),
        lambda: meter.ledger(nobody),
        lambda: meter.journal(nobody),
        lambda: meter.request(nobody, "any"),
        lambda: meter.usage_totals(nobody, since=at(0), until=at(0)),
        lambda: list(meter.verify(nobody)),
    ):
        with refused(OrganizationNotFound, organization_id=nobody):
            act()


def test_one_organization_cannot_touch_what_another_has(meter: Meter, tenant: Tenant) -> None:
    other = Tenant(meter, tenant.clock)
    pack, hold = other.grant(10, expires_at=at(60)).pack, other.open_hold(5).hold
    other.debit(1, key="theirs")
    tenant.grant(10)
    before = other.snapshot()
    for act, error in (
        (lambda: tenant.revoke(pack.id), "pack_not_found"),
        (lambda: tenant.extend(pack.id, expires_at=None), "pack_not_found"),
        (lambda: tenant.settle(hold.id, 1), "hold_not_found"),
        (lambda: tenant.release(hold.id), "hold_not_found"),
        (lambda: tenant.refund("theirs"), "request_not_found"),
        (lambda: tenant.request("theirs"), "request_not_found"),
    ):
        with pytest.raises(Exception, match=r".") as caught:
            act()
        assert getattr(caught.value, "code", None) == error
    assert not tenant.debit(1, key="theirs").replayed
    assert other.snapshot() == before


# Grants


def test_a_grant_gives_a_numbered_pack_and_its_tokens(tenant: Tenant) -> None:
    granted = tenant.grant("2.5k", expires_at=at(60), priority=-3, note="first")
    expected = Pack(
        id=granted.pack.id, organization_id=tenant.id, number=1, priority=-3, total_tokens=2500, remaining_tokens=2500,
        granted_at=at(0), granted_seq=1, expires_at=at(60), note="first",
    )  # fmt: skip
    assert granted == Granted(organization_id=tenant.id, at=at(0), balance_tokens=2500, state=State.NORMAL, pack=expected)
    assert tenant.grant(1).pack.number == 2
    assert tenant.pack(1).pack == expected
    assert tenant.lines() == ["grant 2500 PK-1 2500 | 2500", "grant 1 PK-2 1 | 2501"]


def test_a_grant_must_expire_in_the_future(tenant: Tenant) -> None:
    for expires_at in (at(0), at(-1)):
        with refused(RequestInvalid, field="expires_at"):
            tenant.grant(1, expires_at=expires_at)
    assert tenant.grant(1, expires_at=at(0) + MICROSECOND).balance_tokens == 1


# Expiry


def test_a_pack_stops_counting_at_its_instant_without_any_job(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    tenant.grant(5)
    tenant.clock.now = at(60) - MICROSECOND
    assert (tenant.totals(), tenant.left()) == ((15, 0, 0, State.NORMAL), ["active 10", "active 5"])
    tenant.go_to(60)
    assert (tenant.totals(), tenant.left()) == ((5, 0, 0, State.NORMAL), ["expired 10", "active 5"])
    assert tenant.pack_counts() == {
        PackStatus.ACTIVE: 1, PackStatus.EXPIRED: 1, PackStatus.DEPLETED: 0, PackStatus.REVOKED: 0,
    }  # fmt: skip
    assert (tenant.balance().active_packs, tenant.balance().active_total_tokens) == (1, 5)
    assert tenant.lines() == ["grant 10 PK-1 10 | 10", "grant 5 PK-2 5 | 15"]


def test_the_next_write_records_every_expiry_at_its_own_instant(tenant: Tenant) -> None:
    tenant.grant(1, expires_at=at(60), priority=2)
    tenant.grant(2, expires_at=at(60), priority=1)
    tenant.grant(3, expires_at=at(30), priority=9)
    tenant.go_to(100)
    tenant.grant(4)
    assert tenant.lines(3) == ["expire 3 PK-3 3 | 3", "expire 2 PK-2 2 | 1", "expire 1 PK-1 1 | 0", "grant 4 PK-4 4 | 4"]
    assert [entry.at for entry in tenant.entries(3)] == [at(30), at(60), at(60), at(100)]


def test_a_debit_at_the_instant_of_expiry_finds_nothing_left(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    tenant.clock.now = at(60) - MICROSECOND
    assert tenant.debit(4).balance_tokens == 6
    tenant.go_to(60)
    with refused(AiStopped, balance_tokens=0, reserve_tokens=0):
        tenant.debit(1)
    assert tenant.left() == ["expired 6"]
    assert tenant.lines()[:2] == ["grant 10 PK-1 10 | 10", "debit 4 PK-1 6 | 6"]


def test_a_depleted_pack_that_reaches_its_expiry_writes_no_line(tenant: Tenant) -> None:
    tenant.grant(5, expires_at=at(60))
    tenant.debit(5)
    tenant.go_to(60)
    tenant.grant(1)
    assert tenant.lines(2) == ["grant 1 PK-2 1 | 1"]
    assert tenant.left() == ["depleted 0", "active 1"]


def test_the_clock_of_an_organization_never_runs_backwards(tenant: Tenant) -> None:
    tenant.go_to(60)
    tenant.grant(5)
    tenant.go_to(10)
    assert tenant.grant(5, expires_at=at(60) + MICROSECOND).at == at(60)
    assert tenant.balance().as_of == at(60)
    assert [entry.at for entry in tenant.entries()] == [at(60), at(60)]


# Extension


def test_an_extension_moves_the_expiry_later_or_to_never_and_changes_nothing_else(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    extended = tenant.extend("PK-1", expires_at=at(90), note="as agreed")
    assert extended == Extended(
        organization_id=tenant.id, at=at(0), balance_tokens=10, state=State.NORMAL, pack_id=tenant.pack(1).pack.id,
        expired_before=at(60), expires_at=at(90),
    )  # fmt: skip
    tenant.go_to(60)
    assert tenant.left() == ["active 10"]
    assert tenant.debit(1).balance_tokens == 9
    assert tenant.extend("pk-1", expires_at=None).expired_before == at(90)
    tenant.go_to(10**6)
    assert tenant.debit(1).balance_tokens == 8
    assert tenant.lines(1) == ["extend 0 PK-1 10 | 10", "debit 1 PK-1 9 | 9", "extend 0 PK-1 9 | 9", "debit 1 PK-1 8 | 8"]
    assert tenant.entries()[1].note == "as agreed"


def test_an_extension_must_be_to_a_later_expiry(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    tenant.grant(10)
    for pack, expires_at in (("PK-1", at(60)), ("PK-1", at(59)), ("PK-2", at(60)), ("PK-2", None)):
        with refused(RequestInvalid, field="expires_at"):
            tenant.extend(pack, expires_at=expires_at)
    assert len(tenant.lines()) == 2


def test_neither_an_expired_nor_a_revoked_pack_is_extended_but_a_depleted_one_is(tenant: Tenant) -> None:
    for _ in range(3):
        tenant.clock.advance(MICROSECOND)
        tenant.grant(10, expires_at=at(60))
    tenant.debit(10)
    tenant.revoke("PK-2")
    assert tenant.left() == ["depleted 0", "revoked 10", "active 10"]
    tenant.extend("PK-1", expires_at=at(61))
    tenant.go_to(60)
    with refused(PackExpired, expires_at=at(60)):
        tenant.extend("PK-3", expires_at=at(90))
    with refused(PackAlreadyRevoked):
        tenant.extend("PK-2", expires_at=at(90))
    tenant.extend("PK-1", expires_at=at(90))
    tenant.go_to(90)
    with refused(PackExpired):
        tenant.extend("PK-1", expires_at=None)


def test_an_extended_pack_takes_its_new_place_in_the_burn_down_order(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    tenant.grant(10, expires_at=at(70))
    tenant.extend("PK-1", expires_at=at(80))
    tenant.debit(15)
    assert tenant.left() == ["active 5", "depleted 0"]


# Revocation


def test_a_revocation_forfeits_what_still_counted_at_once(tenant: Tenant) -> None:
    tenant.grant(10)
    tenant.debit(3)
    tenant.go_to(5)
    revoked = tenant.revoke("1", note="by mistake")
    pack_id = tenant.pack(1).pack.id
    assert revoked == Revoked(
        organization_id=tenant.id, at=at(5), balance_tokens=0, state=State.AI_STOPPED, pack_id=pack_id, forfeited_tokens=7
    )
    assert (tenant.left(), tenant.pack(1).pack.revoked_at) == (["revoked 7"], at(5))
    assert tenant.lines(2) == ["revoke 7 PK-1 7 | 0"]
    with refused(PackAlreadyRevoked, pack_id=pack_id, revoked_at=at(5)):
        tenant.revoke(pack_id)
    with refused(AiStopped):
        tenant.debit(1)


def test_a_depleted_or_expired_pack_is_revoked_with_nothing_forfeited(tenant: Tenant) -> None:
    tenant.grant(5, expires_at=at(50))
    tenant.grant(5, expires_at=at(60))
    tenant.debit(5)
    tenant.go_to(60)
    assert tenant.revoke("PK-1").forfeited_tokens == 0
    assert tenant.revoke("PK-2").forfeited_tokens == 0
    assert tenant.lines(3) == ["expire 5 PK-2 5 | 0", "revoke 0 PK-1 0 | 0", "revoke 0 PK-2 5 | 0"]
    assert tenant.left() == ["revoked 0", "revoked 5"]


def test_a_pack_that_does_not_exist_is_neither_revoked_nor_extended(tenant: Tenant) -> None:
    tenant.grant(5)
    for pack in ("PK-2", "2", "999999999999999999", "pack_00000000000000000000000000", "PK-0", "PK--1", "nonsense", ""):
        with refused(PackNotFound):
            tenant.revoke(pack)
        with refused(PackNotFound):
            tenant.extend(pack, expires_at=None)


def test_cancelling_holds_releases_those_that_could_spend_the_pack_and_no_others(tenant: Tenant) -> None:
    tenant.grant(10)
    could = [tenant.open_hold(2).hold, tenant.open_hold(3).hold]
    tenant.go_to(1)
    tenant.grant(10)
    both = tenant.open_hold(4).hold
    assert tenant.totals() == (20, 9, 0, State.NORMAL)
    assert tenant.revoke("PK-2", cancel_holds=True).released_holds == 1
    assert tenant.totals() == (10, 5, 0, State.NORMAL)
    with refused(HoldAlreadyReleased, hold_id=both.id):
        tenant.settle(both.id, 1)
    assert tenant.settle(could[0].id, 2).balance_tokens == 8
    assert tenant.revoke("PK-1", cancel_holds=True).released_holds == 1
    with refused(HoldAlreadyReleased, hold_id=could[1].id):
        tenant.settle(could[1].id, 1)
    assert tenant.totals() == (0, 0, 0, State.AI_STOPPED)
