"""The journal's chain: a line's hash depends on every field of it and on every line before."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from tests.builders import after, build_entry
from tokenwell.core.health import State
from tokenwell.core.journal import ESTIMATED, GENESIS, LATE, SIGNS, Entry, EntryKind, hash_of, seal, state_flag, state_in

FULL = build_entry(
    pack_id="pack", pack_remaining_tokens=90, key=b"key", fingerprint=b"print", request_id="request", part=1, parts=2,
    prompt_tokens=6, completion_tokens=4, model="m", session="s", reason="r", service_id="v", key_id="k", flags=ESTIMATED,
    detail="{}", note="n", ref_seq=3,
)  # fmt: skip
OTHER: dict[str, Any] = {
    "organization_id": "other", "seq": 2, "at": after(1), "kind": EntryKind.REFUND, "amount_tokens": 11, "balance_after_tokens": 1,
    "pack_id": "other", "pack_remaining_tokens": 91, "key": b"other", "fingerprint": b"other", "request_id": "other", "part": 2,
    "parts": 3, "prompt_tokens": 5, "completion_tokens": 5, "model": "other", "session": "other", "reason": "other",
    "service_id": "other", "key_id": "other", "flags": LATE, "detail": "[]", "note": "other", "ref_seq": 4,
}  # fmt: skip


def test_every_field_but_the_hash_is_tried_here() -> None:
    assert set(OTHER) == set(Entry.__struct_fields__) - {"hash"}


@pytest.mark.parametrize("field", OTHER)
def test_the_hash_changes_with_every_field(field: str) -> None:
    assert hash_of(FULL, GENESIS) != hash_of(replace(FULL, **{field: OTHER[field]}), GENESIS)


@pytest.mark.parametrize("field", [field for field in OTHER if getattr(build_entry(), field) is None])
def test_the_hash_tells_nothing_from_an_empty_or_zero_field(field: str) -> None:
    empty: Any = {bytes: b"", str: "", int: 0}[type(OTHER[field])]
    assert hash_of(build_entry(), GENESIS) != hash_of(build_entry(**{field: empty}), GENESIS)


def test_the_same_text_in_another_field_is_another_line() -> None:
    names = ("model", "session", "reason", "service_id", "key_id", "note", "request_id", "pack_id", "detail")
    assert len({hash_of(build_entry(**{name: "x"}), GENESIS) for name in names}) == len(names)


def test_the_hash_depends_on_the_line_before() -> None:
    assert hash_of(FULL, GENESIS) != hash_of(FULL, hash_of(FULL, GENESIS))


def test_a_line_is_sealed_once_and_hashed_alike_ever_after() -> None:
    entry = replace(FULL)
    digest = seal(entry, GENESIS)
    assert (entry.hash, len(digest)) == (digest, 32)
    assert hash_of(entry, GENESIS) == hash_of(replace(entry, hash=b"forged"), GENESIS) == digest
    assert entry.hash == digest


def test_an_instant_is_hashed_as_utc() -> None:
    assert FULL.at.tzinfo is UTC
    same_time = FULL.at.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert hash_of(replace(FULL, at=same_time.astimezone(UTC)), GENESIS) == hash_of(FULL, GENESIS)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (EntryKind.GRANT, 10), (EntryKind.REFUND, 10), (EntryKind.DEBIT, -10), (EntryKind.EXPIRE, -10), (EntryKind.REVOKE, -10),
        (EntryKind.OVERAGE_REPAID, -10), (EntryKind.EXTEND, 0), (EntryKind.OVERAGE, 0),
    ],
)  # fmt: skip
def test_each_kind_changes_the_balance_in_its_way(kind: EntryKind, change: int) -> None:
    assert build_entry(kind, 10).balance_change_tokens == change
    assert build_entry(kind, -10).balance_change_tokens == -change
    assert set(SIGNS) == set(EntryKind)


@pytest.mark.parametrize("state", State)
def test_a_lines_flags_keep_the_state_beside_the_others(state: State) -> None:
    for others in (0, ESTIMATED, LATE, ESTIMATED | LATE):
        flags = state_flag(state) | others
        assert state_in(flags) is state
        assert build_entry(flags=flags).state_after is state
        assert flags & (ESTIMATED | LATE) == others
