"""Audit: recomputes an account from its journal alone, by other means than those that wrote it, and names every difference."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tokenwell.core.account import Account
from tokenwell.core.grants import ExtendDetail
from tokenwell.core.journal import GENESIS, Entry, EntryKind, hash_of
from tokenwell.core.packs import Pack
from tokenwell.core.replays import pack_granted

PROBLEM_LIMIT = 50
"""So many problems are named; the rest is only counted."""

_REMAINING = {EntryKind.DEBIT: -1, EntryKind.REFUND: 1, EntryKind.OVERAGE_REPAID: -1}
_FORFEITS = (EntryKind.EXPIRE, EntryKind.REVOKE)


class Auditor:
    """Reads an organization's journal from its first line, then compares what follows from it with what the tables say."""

    def __init__(self, organization_id: str) -> None:
        self.organization_id = organization_id
        self.lines = 0
        self.problems: list[str] = []
        self.problem_count = 0
        self.packs: dict[str, Pack] = {}
        self._head = GENESIS
        self._balance = 0
        self._overage = 0
        self._last_at: datetime | None = None
        self._overage_lines: set[int] = set()
        self._last_closed = 0

    def problem(self, text: str) -> None:
        """Note a difference."""
        self.problem_count += 1
        if len(self.problems) < PROBLEM_LIMIT:
            self.problems.append(text)

    def _check(self, holds: bool, seq: int, what: str) -> None:
        if not holds:
            self.problem(f"line {seq}: {what}")

    def unreadable(self, seq: int, error: Exception) -> None:
        """Note a line that says nothing, and go on behind it."""
        self.lines = seq
        self.problem(f"line {seq}: it cannot be read ({type(error).__name__})")

    def read(self, entry: Entry) -> None:
        """Take the next line. Raises what decoding raises where the line holds nonsense."""
        seq = entry.seq
        self._check(seq == self.lines + 1, seq, f"follows line {self.lines}")
        self.lines = seq
        self._check(entry.hash == hash_of(entry, self._head), seq, "its hash does not follow from its content and the line before")
        self._head = entry.hash
        self._balance += entry.balance_change_tokens
        self._check(entry.balance_after_tokens == self._balance, seq, f"the balance after it is {self._balance}")
        self._check(self._balance >= 0, seq, "the balance is below zero")
        self._check(self._last_at is None or entry.at >= self._last_at, seq, "it is dated before the line before")
        self._last_at = entry.at
        if entry.kind is EntryKind.GRANT:
            if entry.pack_id is None:
                raise ValueError("a grant without a pack")
            self._check(entry.pack_id not in self.packs, seq, "its pack was granted before")
            self.packs[entry.pack_id] = pack_granted(entry)
        elif entry.kind is EntryKind.OVERAGE:
            self._overage += entry.amount_tokens
            self._overage_lines.add(seq)
        elif entry.kind is EntryKind.ADVANCE:
            self._overage += entry.amount_tokens
        elif entry.kind is EntryKind.OVERAGE_REPAID:
            self._overage -= entry.amount_tokens
        self._check(self._overage >= 0, seq, "the overage is below zero")
        if entry.kind in _FORFEITS:
            self._last_closed = seq
        if entry.pack_id is not None and entry.kind is not EntryKind.GRANT:
            self._read_pack_line(entry, entry.pack_id)

    def _read_pack_line(self, entry: Entry, pack_id: str) -> None:
        pack = self.packs.get(pack_id)
        if pack is None:
            self.problem(f"line {entry.seq}: its pack was never granted")
            return
        changes: dict[str, Any] = {"remaining_tokens": pack.remaining_tokens + _REMAINING.get(entry.kind, 0) * entry.amount_tokens}
        if entry.kind is EntryKind.OVERAGE_REPAID:
            changes["repaid_tokens"] = pack.repaid_tokens + entry.amount_tokens
        elif entry.kind is EntryKind.REFUND and entry.ref_seq in self._overage_lines:
            changes["returned_tokens"] = pack.returned_tokens + entry.amount_tokens
        elif entry.kind is EntryKind.EXTEND:
            changes["expires_at"] = msgspec.json.decode(entry.detail or "{}", type=ExtendDetail).after
        elif entry.kind in _FORFEITS and pack.closed_seq is None:
            changes["closed_seq"] = entry.seq
        if entry.kind is EntryKind.REVOKE and pack.revoked_seq is None and entry.key is not None:
            changes |= {"revoked_seq": entry.seq, "revoked_at": entry.at}
        pack = self.packs[pack_id] = msgspec.structs.replace(pack, **changes)
        self._check(
            entry.pack_remaining_tokens == pack.remaining_tokens, entry.seq, f"pack {pack_id} has {pack.remaining_tokens} left"
        )
        self._check(0 <= pack.remaining_tokens <= pack.total_tokens, entry.seq, f"pack {pack_id} is out of its bounds")

    def compare_account(self, account: Account) -> None:
        """Compare the totals."""
        for what, told, found in (
            ("lines", account.seq, self.lines),
            ("head hash", account.head_hash.hex(), self._head.hex()),
            ("balance", account.balance_tokens, self._balance),
            ("overage", account.overage_tokens, self._overage),
            ("packs", account.pack_count, len(self.packs)),
            ("last closing line", account.last_closed_seq, self._last_closed),
        ):
            if told != found:
                self.problem(f"account: {what} is {told}, the journal gives {found}")

    def compare_bound(self, what: str, bound: datetime | None, earliest: datetime | None) -> None:
        """Check that nothing is due before the instant at which the engine looks next."""
        if earliest is not None and (bound is None or bound > earliest):
            self.problem(f"account: the next {what} is looked for at {bound}, but one is due at {earliest}")

    def compare_packs(self, packs: list[Pack]) -> None:
        """Compare every pack, field by field, but for its note: that may be changed, and the journal keeps the first."""
        told = {pack.id: pack for pack in packs}
        for pack_id in sorted(told.keys() | self.packs.keys()):
            one, other = told.get(pack_id), self.packs.get(pack_id)
            if one is None or other is None:
                self.problem(f"pack {pack_id}: only {'the journal' if one is None else 'the table'} knows it")
                continue
            for field in Pack.__struct_fields__:
                if field != "note" and getattr(one, field) != getattr(other, field):
                    self.problem(f"pack {pack_id}: {field} is {getattr(one, field)}, the journal gives {getattr(other, field)}")

    def compare_sums(self, what: str, told: dict[Any, Any], found: dict[Any, Any]) -> None:
        """Compare sums by key: rollups, holds."""
        for key in sorted(told.keys() | found.keys(), key=str):
            if told.get(key) != found.get(key):
                self.problem(f"{what} {key}: is {told.get(key)}, the rows give {found.get(key)}")
