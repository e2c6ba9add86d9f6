"""Both databases: the journal is append-only, and `verify` names whatever was changed behind Tokenwell's back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.doubles import FrozenClock
from tests.store.tampering import Tamper, bump, change, copy, rehash, remove, unguarded
from tests.store.tenants import NO_THRESHOLDS, Tenant, at, refused
from tokenwell import Meter, Verified
from tokenwell.errors import OrganizationNotFound
from tokenwell.store import schema


@pytest.fixture
def rich(tenant: Tenant) -> Tenant:
    """Eleven lines: 1–2 grants, 3–5 a debit into overage, 6–7 a grant that repays, 8–9 a refund, 10 a grant, 11 its revocation."""
    tenant.grant(100, expires_at=at(60), note="first")
    tenant.grant(50, expires_at=at(10**6))
    tenant.go_to(1)
    tenant.debit(
        prompt_tokens=100, completion_tokens=70, already_used=True, model="m", session="s", reason="r", service_id="v", key_id="i",
        raw_usage={"a": 1}, note="n", key="k",
    )  # fmt: skip
    tenant.grant(500)
    tenant.refund("k", 60)
    tenant.grant(30, expires_at=at(100))
    tenant.open_hold(5)
    tenant.open_hold(7)
    tenant.revoke("PK-4")
    assert tenant.problems() == ()
    return tenant


def test_an_untouched_journal_has_no_problems_and_says_how_long_it_is(rich: Tenant) -> None:
    told: list[tuple[str, int]] = []
    (verified,) = rich.meter.verify(rich.id, progress=lambda organization_id, lines: told.append((organization_id, lines)))
    assert verified == Verified(organization_id=rich.id, lines=11)
    assert told == [(rich.id, 11)]
    rich.go_to(10**7)
    assert rich.problems() == ()


def test_every_organization_is_verified_by_itself(database_url: str, clock: FrozenClock) -> None:
    with Meter(database_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        tenants = [Tenant(meter, clock) for _ in range(3)]
        for tenant in tenants:
            tenant.grant(10)
        with unguarded(tenants[1]) as connection:
            change("entry", amount_tokens=11)(connection, tenants[1].id)
        found = {verified.organization_id: bool(verified.problems) for verified in meter.verify()}
        assert found == {tenants[0].id: False, tenants[1].id: True, tenants[2].id: False}
        with refused(OrganizationNotFound):
            list(meter.verify("nobody"))


# Append-only


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE entry SET amount_tokens = amount_tokens + 1 WHERE organization_id = :o AND seq = 1",
        "UPDATE entry SET note = 'x' WHERE organization_id = :o",
        "UPDATE entry SET seq = seq WHERE organization_id = :o",
        "DELETE FROM entry WHERE organization_id = :o AND seq = 1",
        "DELETE FROM entry WHERE organization_id = :o",
    ],
)
def test_the_database_refuses_to_change_or_delete_a_line(rich: Tenant, sql: str) -> None:
    before = rich.entries()
    with pytest.raises(DBAPIError, match="append-only"), rich.meter.engine.begin() as connection:
        connection.execute(text(sql), {"o": rich.id})
    assert rich.entries() == before


def test_postgresql_refuses_to_empty_the_journal(postgres_url: str) -> None:
    with Meter(postgres_url, thresholds=NO_THRESHOLDS) as meter:
        meter.create_organization("acme")
        meter.grant("acme", 5)
        for sql in ("TRUNCATE entry", "TRUNCATE entry CASCADE", "TRUNCATE account, entry, pack"):
            with pytest.raises(DBAPIError, match="append-only"), meter.engine.begin() as connection:
                connection.execute(text(sql))
        assert len(meter.journal("acme").items) == 1


# Tampering

PLAUSIBLE: dict[str, Any] = {
    "at": 1, "kind": "refund", "amount_tokens": 99, "balance_after_tokens": 51, "pack_id": None, "pack_remaining_tokens": 1,
    "key": b"another key.....", "fingerprint": b"another print...", "request_id": "other", "part": 2, "parts": 5,
    "prompt_tokens": 99, "completion_tokens": 1, "model": "other", "session": "other", "reason": "other", "service_id": "other",
    "key_id": "other", "flags": 1, "detail": None, "note": "other", "ref_seq": 1, "hash": bytes(32),
}  # fmt: skip


@pytest.mark.parametrize("column", PLAUSIBLE)
def test_a_change_of_any_column_of_a_line_is_found_and_the_line_named(rich: Tenant, column: str) -> None:
    with unguarded(rich) as connection:
        change("entry", "seq = 3", **{column: PLAUSIBLE[column]})(connection, rich.id)
    assert any(problem.startswith("line 3:") for problem in rich.problems())


NONSENSE: list[tuple[int, str, Any]] = [
    (1, "pack_id", None), (1, "pack_id", "nonsense"), (1, "detail", None), (1, "detail", "{"), (1, "detail", "[]"),
    (3, "kind", "nonsense"), (3, "detail", "{"), (3, "flags", -1), (3, "flags", 12), (3, "hash", b""), (3, "at", 2**62),
    (3, "amount_tokens", 2**62), (3, "parts", -5),
]  # fmt: skip


@pytest.mark.parametrize(("seq", "column", "value"), NONSENSE)
def test_nonsense_in_a_line_is_named_too_and_stops_nothing(rich: Tenant, seq: int, column: str, value: Any) -> None:
    with unguarded(rich) as connection:
        change("entry", f"seq = {seq}", **{column: value})(connection, rich.id)
    assert any(problem.startswith(f"line {seq}:") for problem in rich.problems())


FOUND: dict[str, tuple[Tamper, str]] = {
    "the first line deleted": (remove("entry", "seq = 1"), r"line 2: follows line 0"),
    "a line deleted": (remove("entry", "seq = 5"), r"line 6: follows line 4"),
    "the last line deleted": (remove("entry", "seq = 11"), r"account: lines is 11, .* 10"),
    "all lines deleted": (remove("entry"), r"account: balance is \d+, the journal gives 0"),
    "a line added": (copy(schema.entry, "seq = 8", seq=12, key=None), r"line 12: its hash"),
    "balance": (bump("account", "balance_tokens"), r"account: balance"),
    "overage": (bump("account", "overage_tokens", 3), r"account: overage is 3, .* 0"),
    "held": (bump("account", "held_tokens", -1), r"held .*: is 11, .* 12"),
    "head": (change("account", head_hash=bytes(32)), r"account: head hash"),
    "lines": (change("account", seq=10), r"account: lines is 10, .* 11"),
    "pack count": (change("account", pack_count=3), r"account: packs is 3, .* 4"),
    "last closed": (change("account", last_closed_seq=0), r"account: .*clos"),
    "next expiry": (change("account", next_expiry_at=2**63 - 1), r"account: .*expir"),
    "next lapse": (change("account", next_lapse_at=2**63 - 1), r"account: .*laps"),
    "number": (change("pack", "number = 3", number=9), r"pack \S+: number is 9, the journal gives 3"),
    "priority": (change("pack", "number = 3", priority=9), r"pack \S+: priority is 9"),
    "total": (change("pack", "number = 3", total_tokens=501), r"pack \S+: total_tokens is 501, .* 500"),
    "remaining": (change("pack", "number = 3", remaining_tokens=9), r"pack \S+: remaining_tokens is 9"),
    "repaid": (change("pack", "number = 3", repaid_tokens=9), r"pack \S+: repaid_tokens is 9"),
    "returned": (change("pack", "number = 3", returned_tokens=9), r"pack \S+: returned_tokens is 9"),
    "granted at": (change("pack", "number = 3", granted_at=0), r"pack \S+: granted_at is 1970"),
    "granted seq": (change("pack", "number = 3", granted_seq=5), r"pack \S+: granted_seq is 5"),
    "expires at": (change("pack", "number = 1", expires_at=2**63 - 1), r"pack \S+: expires_at is None"),
    "revoked at": (change("pack", "number = 4", revoked_at=None), r"pack \S+: revoked_at is None"),
    "revoked seq": (change("pack", "number = 4", revoked_seq=None), r"pack \S+: revoked_seq is None"),
    "closed seq": (change("pack", "number = 4", closed_seq=None), r"pack \S+: closed_seq is None"),
    "open": (change("pack", "number = 3", is_open=0), r"pack \S+: is_open"),
    "a pack deleted": (remove("pack", "number = 3"), r"pack \S+: only the journal knows it"),
    "a pack added": (copy(schema.pack, "number = 3", pack_id="pack_9", number=9), r"pack pack_9: only the table knows it"),
    "holds closed": (change("hold", status="released"), r"held .*: is 12, .* 0"),
    "the tokens of holds": (bump("hold", "tokens"), r"held .*: is 12, .* 14"),
    "rollups deleted": (remove("rollup"), r"rollup .*: is None"),
    "rollups moved": (change("rollup", reason="other"), r"rollup .*: is None"),
} | {
    f"rollup {column}": (bump("rollup", column), r"rollup .*: is \[")
    for column in ("debited_tokens", "refunded_tokens", "overage_tokens", "prompt_tokens", "completion_tokens", "requests")
}


@pytest.mark.parametrize(("tamper", "problem"), FOUND.values(), ids=FOUND.keys())
def test_whatever_was_tampered_with_is_named(rich: Tenant, tamper: Tamper, problem: str) -> None:
    with unguarded(rich) as connection:
        tamper(connection, rich.id)
    assert any(re.match(problem, found) for found in rich.problems()), rich.problems()


def test_two_lines_that_changed_places_are_both_named(rich: Tenant) -> None:
    with unguarded(rich) as connection:
        for before, after in ((1, 100), (2, 1), (100, 2)):
            change("entry", f"seq = {before}", seq=after)(connection, rich.id)
    problems = rich.problems()
    assert any(problem.startswith("line 1:") for problem in problems)
    assert any(problem.startswith("line 2:") for problem in problems)


def test_a_forged_line_with_a_rehashed_chain_still_does_not_fit_the_account(rich: Tenant) -> None:
    with unguarded(rich) as connection:
        change("entry", "seq = 3", reason="forged")(connection, rich.id)
    rehash(rich)
    problems = rich.problems()
    assert not any(problem.startswith("line ") for problem in problems)
    assert any(problem.startswith("account: head hash") for problem in problems)
    assert any(problem.startswith("rollup") for problem in problems)


def test_problems_beyond_the_first_fifty_are_counted(rich: Tenant) -> None:
    for _ in range(60):
        rich.debit(1)
    with unguarded(rich) as connection:
        change("entry", hash=bytes(32))(connection, rich.id)
    (verified,) = rich.meter.verify(rich.id)
    assert (len(verified.problems), verified.problem_count) == (50, 72)
