"""Proving: a balance is the sum of its parts, whatever happened, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.core.health import Thresholds
from tokenwell.core.journal import EntryKind
from tokenwell.errors import OrganizationNotFound, PackNotFound, RequestInvalid
from tokenwell.service.meter import Meter
from tokenwell.service.records.browsing import Browsing
from tokenwell.service.records.indexing import Indexing
from tokenwell.service.records.proving import PARTS, Proof, Proving


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    with Meter(database_url, thresholds=Thresholds(0, 0), clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        meter.create_organization("acme")
        yield meter


@pytest.fixture
def proving(meter: Meter) -> Proving:
    return Proving(meter.engine, meter, Browsing(meter, Indexing(meter.engine)))


def live_a_life(meter: Meter, clock: FrozenClock) -> None:
    """Do everything that can happen to packs: overage and its repayment, refunds into expired and revoked packs, extensions."""
    meter.grant("acme", 1_000, expires_at=clock.now + timedelta(hours=1))
    meter.debit("acme", 700, key="one")
    meter.debit("acme", 900, key="two", already_used=True)
    clock.advance(timedelta(hours=2))
    meter.grant("acme", 5_000, expires_at=clock.now + timedelta(days=1))
    meter.extend("acme", "PK-2", expires_at=clock.now + timedelta(days=2), note="As agreed")
    meter.debit("acme", 300, key="three")
    meter.refund("acme", "one", 200)
    meter.refund("acme", "two")
    meter.grant("acme", 800)
    meter.debit("acme", 100, key="four")
    meter.revoke("acme", "PK-3", note="By mistake")
    meter.refund("acme", "four")
    meter.open_hold("acme", 250)
    meter.grant("acme", 60, expires_at=clock.now + timedelta(minutes=1))


def check(proof: Proof, meter: Meter) -> None:
    balance = meter.balance("acme")
    assert proof.is_whole
    assert proof.balance_tokens == balance.balance_tokens
    assert proof.balance_tokens == (
        proof.granted_tokens
        - proof.repaid_tokens
        - proof.used_tokens
        + proof.refunded_tokens
        - proof.expired_tokens
        - proof.due_tokens
        - proof.revoked_tokens
    )
    assert (proof.held_tokens, proof.head_hash, proof.seq) == (balance.held_tokens, balance.head_hash, balance.seq)


def test_a_balance_is_the_sum_of_its_parts(meter: Meter, proving: Proving, clock: FrozenClock) -> None:
    check(proving.prove("acme"), meter)
    live_a_life(meter, clock)
    check(proving.prove("acme"), meter)
    (verified,) = meter.verify("acme")
    assert verified.problems == ()
    clock.advance(timedelta(minutes=2))
    proof = proving.prove("acme")
    check(proof, meter)
    assert proof.due_tokens == 60


def test_each_part_is_the_sum_of_its_packs(meter: Meter, proving: Proving, clock: FrozenClock) -> None:
    live_a_life(meter, clock)
    clock.advance(timedelta(minutes=2))
    meter.grant("acme", 7)
    proof = proving.prove("acme")
    parts = {part: proving.parts("acme", part).items for part in PARTS}
    assert sum(each.pack.total_tokens for each in parts["granted"]) == proof.granted_tokens
    assert sum(each.used_tokens for each in parts["used"]) == proof.used_tokens - proof.refunded_tokens
    assert sum(each.expired_tokens for each in parts["expired"]) == proof.expired_tokens
    assert sum(each.revoked_tokens for each in parts["revoked"]) == proof.revoked_tokens
    assert sum(each.pack.remaining_tokens for each in parts["balance"]) == proof.balance_tokens
    for each in parts["granted"]:
        assert each.pack.total_tokens - each.used_tokens - each.repaid_tokens == each.pack.remaining_tokens


def test_parts_are_read_page_by_page(meter: Meter, proving: Proving) -> None:
    for number in range(7):
        meter.grant("acme", 10 + number)
    found, cursor = [], None
    while True:
        page = proving.parts("acme", "granted", cursor=cursor, limit=3)
        found += [each.pack.number for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [7, 6, 5, 4, 3, 2, 1]


def test_a_proof_finds_a_balance_that_was_changed_by_hand(meter: Meter, proving: Proving) -> None:
    meter.grant("acme", 1_000)
    with meter.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE account SET balance_tokens = 999 WHERE organization_id = 'acme'")
    assert not proving.prove("acme").is_whole


def test_a_packs_life_is_told_in_order(meter: Meter, proving: Proving, clock: FrozenClock) -> None:
    live_a_life(meter, clock)
    pack = proving.pack("acme", "pk-2")
    assert pack == proving.pack("acme", pack.id) == proving.pack("acme", "2")
    kinds = [entry.kind for entry in proving.life("acme", pack.id)]
    assert kinds[0] is EntryKind.GRANT
    assert EntryKind.EXTEND in kinds
    assert EntryKind.OVERAGE_REPAID in kinds


@pytest.mark.parametrize("name", ["PK-9", "", "x", "pack_0000", "PK-99999999999999999999"])
def test_a_pack_there_is_not_is_not_found(proving: Proving, name: str) -> None:
    with pytest.raises(PackNotFound):
        proving.pack("acme", name)


def test_what_makes_no_sense_is_refused(proving: Proving) -> None:
    with pytest.raises(RequestInvalid):
        proving.parts("acme", "king")
    with pytest.raises(RequestInvalid):
        proving.parts("acme", "used", cursor="x")
    with pytest.raises(OrganizationNotFound):
        proving.pack("none", "PK-1")
