"""Both databases: every write is idempotent by its key. Same input: the first answer. Other input: a conflict naming the field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.store.tenants import Tenant, at, refused
from tokenwell import Rate, Usage
from tokenwell.errors import AiStopped, BalanceHeld, IdempotencyConflict

Write = Callable[[Tenant], Any]

WRITES: dict[str, Write] = {
    "grant": lambda tenant: tenant.grant(5, expires_at=at(90), priority=1, note="n", key="k"),
    "revoke": lambda tenant: tenant.revoke("PK-1", note="n", key="k"),
    "revoke, with holds": lambda tenant: tenant.revoke("PK-1", cancel_holds=True, key="k"),
    "extend": lambda tenant: tenant.extend("PK-2", expires_at=at(99), note="n", key="k"),
    "open_hold": lambda tenant: tenant.open_hold(5, ttl=timedelta(seconds=5), key="k"),
    "debit": lambda tenant: tenant.debit(prompt_tokens=95, completion_tokens=20, model="m", key="k"),
    "debit of used tokens": lambda tenant: tenant.debit(500, already_used=True, estimated=True, key="k"),
    "refund": lambda tenant: tenant.refund("charged", 3, note="n", key="k"),
    "refund of all": lambda tenant: tenant.refund("charged", key="k"),
    "refund of overage": lambda tenant: tenant.refund("over", 7, key="k"),
    "settle": lambda tenant: tenant.settle(tenant.held[0], prompt_tokens=3, completion_tokens=4, raw_usage={"a": 1}),
    "settle of nothing": lambda tenant: tenant.settle(tenant.held[0], 0),
    "release": lambda tenant: tenant.release(tenant.held[0]),
}


@pytest.fixture
def busy(tenant: Tenant) -> Tenant:
    """A pack of 100, one of 50 that expires, a charged request and one with overage, an open hold."""
    tenant.debit(10, already_used=True, key="over")
    tenant.grant(104)
    tenant.grant(50, expires_at=at(60), priority=1)
    tenant.debit(6, key="charged")
    tenant.held = [tenant.open_hold(8, key="held").hold.id]
    return tenant


def stop_everything(tenant: Tenant) -> None:
    """Let time pass, packs expire and holds lapse; spend what is left."""
    tenant.go_to(200)
    tenant.debit(10_000, already_used=True)
    tenant.set_thresholds(warning=10, reserve=10)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_the_same_write_again_gives_the_first_answer_and_changes_nothing(busy: Tenant, write: Write) -> None:
    first = write(busy)
    before = busy.snapshot()
    again = write(busy)
    assert (first.replayed, again.replayed) == (False, True)
    assert replace(again, replayed=False) == first
    assert busy.snapshot() == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_late_retry_gives_the_first_answer_even_if_it_would_be_refused_by_now(busy: Tenant, write: Write) -> None:
    first = write(busy)
    stop_everything(busy)
    before = busy.snapshot()
    again = write(busy)
    assert again.replayed
    assert replace(again, replayed=False) == first
    assert busy.snapshot() == before


DEBIT = {
    "amount": 5, "prompt_tokens": 2, "completion_tokens": 3, "model": "m", "session": "s", "reason": "r", "service_id": "v",
    "key_id": "i", "note": "n", "raw_usage": {"a": 1}, "estimated": False, "already_used": False,
}  # fmt: skip
USAGE = {"amount": 5, "usage": Usage(input_tokens=1, cache_read_tokens=1, output_tokens=3)}
GRANT = {"amount": 5, "expires_at": at(90), "priority": 1, "note": "n"}
CONFLICTS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("debit", DEBIT, {"amount": 6}, "amount"),
    ("debit", DEBIT, {"prompt_tokens": 1}, "prompt_tokens"),
    ("debit", DEBIT, {"completion_tokens": 4}, "completion_tokens"),
    ("debit", DEBIT, {"prompt_tokens": None, "completion_tokens": None}, "prompt_tokens"),
    ("debit", DEBIT, {"model": "other"}, "model"),
    ("debit", DEBIT, {"model": None}, "model"),
    ("debit", DEBIT, {"session": "other"}, "session"),
    ("debit", DEBIT, {"reason": None}, "reason"),
    ("debit", DEBIT, {"service_id": "other"}, "service_id"),
    ("debit", DEBIT, {"key_id": "other"}, "key_id"),
    ("debit", DEBIT, {"note": ""}, "note"),
    ("debit", DEBIT, {"raw_usage": {"a": 2}}, "raw_usage"),
    ("debit", DEBIT, {"raw_usage": None}, "raw_usage"),
    ("debit", DEBIT, {"estimated": True}, "estimated"),
    ("debit", DEBIT, {"already_used": True}, "already_used"),
    ("debit", USAGE, {"usage": Usage(input_tokens=1, cache_write_tokens=1, output_tokens=3)}, "usage"),
    ("grant", GRANT, {"amount": 6}, "amount"),
    ("grant", GRANT, {"expires_at": at(91)}, "expires_at"),
    ("grant", GRANT, {"expires_at": None}, "expires_at"),
    ("grant", GRANT, {"priority": 0}, "priority"),
    ("grant", GRANT, {"note": "other"}, "note"),
    ("open_hold", {"amount": 5}, {"amount": 6}, "amount"),
    ("open_hold", {"amount": 5}, {"ttl": timedelta(seconds=7)}, "ttl"),
    ("revoke", {"pack": "PK-1"}, {"pack": "PK-2"}, "pack_id"),
    ("revoke", {"pack": "PK-1"}, {"note": "other"}, "note"),
    ("revoke", {"pack": "PK-1"}, {"cancel_holds": True}, "cancel_holds"),
    ("extend", {"pack": "PK-2", "expires_at": at(90)}, {"pack": "PK-1"}, "pack_id"),
    ("extend", {"pack": "PK-2", "expires_at": at(90)}, {"expires_at": None}, "expires_at"),
    ("extend", {"pack": "PK-2", "expires_at": at(90)}, {"note": "other"}, "note"),
    ("refund", {"request_id": "charged", "amount": 3}, {"amount": 2}, "amount"),
    ("refund", {"request_id": "charged", "amount": 3}, {"amount": None}, "amount"),
    ("refund", {"request_id": "charged", "amount": 3}, {"request_id": "over"}, "request_id"),
    ("refund", {"request_id": "charged", "amount": 3}, {"note": "other"}, "note"),
]


@pytest.mark.parametrize(
    ("method", "first", "change", "field"), CONFLICTS, ids=[f"{method}-{number}" for number, (method, *_) in enumerate(CONFLICTS)]
)
def test_another_input_under_the_same_key_is_a_conflict_that_names_the_field(
    busy: Tenant, method: str, first: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    getattr(busy, method)(**first, key="k")
    before = busy.snapshot()
    with refused(IdempotencyConflict, field=field):
        getattr(busy, method)(**first | change, key="k")
    stop_everything(busy)
    with refused(IdempotencyConflict, field=field):
        getattr(busy, method)(**first | change, key="k")
    assert busy.snapshot()[2].items[: len(before[2].items)] == before[2].items


def test_one_key_serves_one_command_only(busy: Tenant) -> None:
    writes: list[Callable[[], Any]] = [
        lambda: busy.grant(5, key="k"),
        lambda: busy.debit(5, key="k"),
        lambda: busy.revoke("PK-1", key="k"),
        lambda: busy.extend("PK-2", expires_at=at(90), key="k"),
        lambda: busy.refund("charged", key="k"),
    ]
    writes[0]()
    for write in writes[1:]:
        with refused(IdempotencyConflict, field="command"):
            write()
    with refused(IdempotencyConflict, field="command"):
        busy.grant(5, key="charged")


def test_holds_have_keys_of_their_own(tenant: Tenant) -> None:
    tenant.grant(10)
    assert not tenant.debit(2, key="k").replayed
    assert not tenant.open_hold(2, key="k").replayed
    assert tenant.totals()[:2] == (8, 2)


def test_organizations_have_keys_of_their_own(tenant: Tenant) -> None:
    other = Tenant(tenant.meter, tenant.clock)
    assert not tenant.grant(10, key="k").replayed
    assert not other.grant(20, key="k").replayed


def test_a_refusal_is_not_remembered(tenant: Tenant) -> None:
    tenant.grant(5)
    with refused(BalanceHeld):
        tenant.debit(10, key="k")
    with refused(BalanceHeld):
        tenant.open_hold(10, key="k")
    tenant.debit(5)
    with refused(AiStopped):
        tenant.debit(10, key="k")
    tenant.grant(20)
    assert not tenant.debit(10, key="k").replayed
    assert not tenant.open_hold(10, key="k").replayed


def test_keys_that_are_ids_or_uuids_or_text_are_all_kept_apart(tenant: Tenant) -> None:
    tenant.grant(100)
    keys = [
        "req_01m831ckkfehpa7vqyg8360xse", "req_01m831ckkfehpa7vqyg8360xsf", "0190a0e4-0000-7000-8000-000000000000",
        "0190a0e4-0000-7000-8000-000000000001", "request", "request ", "Request", "ключ", "🔑", "x" * 200,
    ]  # fmt: skip
    for key in keys:
        assert not tenant.debit(1, key=key).replayed
        assert tenant.debit(1, key=key).replayed
    assert [tenant.request(key)[0].entry.request_id for key in keys] == keys
    assert tenant.totals()[0] == 90


def test_a_hold_can_be_settled_though_a_debit_has_its_id_for_a_key(tenant: Tenant) -> None:
    tenant.grant(100)
    hold = tenant.open_hold(5).hold
    assert not tenant.debit(5, key=hold.id).replayed
    receipt = tenant.settle(hold.id, 7)
    assert (receipt.replayed, receipt.amount_tokens, receipt.balance_tokens) == (False, 7, 88)
    assert tenant.settle(hold.id, 7).replayed
    assert tenant.debit(5, key=hold.id).replayed


def test_a_retry_after_the_rate_changed_gives_the_first_answer(tenant: Tenant) -> None:
    model = f"model of {tenant.id}"
    tenant.meter.set_rate(Rate(model=model, effective_at=at(0), input_millionths=2_000_000))
    tenant.grant(100)
    hold = tenant.open_hold(5).hold
    usage = {"usage": Usage(input_tokens=5), "model": model}
    charged, settled = tenant.debit(**usage, key="k"), tenant.settle(hold.id, **usage)
    tenant.meter.set_rate(Rate(model=model, effective_at=at(10), input_millionths=3_000_000))
    tenant.go_to(10)
    assert replace(tenant.debit(**usage, key="k"), replayed=False) == charged
    assert replace(tenant.settle(hold.id, **usage), replayed=False) == settled
    assert tenant.debit(**usage, key="another").amount_tokens == 15


def test_keys_that_differ_in_their_prefix_only_are_different_keys(tenant: Tenant) -> None:
    tenant.grant(100)
    for prefix in ("req", "debit", "again", "hold", "pack", "refund"):
        assert not tenant.debit(1, key=f"{prefix}_01m831ckkfehpa7vqyg8360xse").replayed
    assert tenant.totals()[0] == 94
