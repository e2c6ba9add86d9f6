"""The journal: append-only lines, numbered without a gap within their organization and chained by hash."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from hashlib import sha256

import msgspec

from tokenwell.core.health import State

GENESIS = bytes(32)
"""The hash before an organization's first line."""

ESTIMATED = 1
"""Flag: the usage was counted by Tokenwell, not reported by the provider."""

LATE = 2
"""Flag: settled after the hold had lapsed."""

ALREADY_USED = 16
"""Flag: charged without admission, because the tokens had been used."""

_STATE_FLAGS = {State.NORMAL: 0, State.RUNNING_LOW: 4, State.AI_STOPPED: 8}
_STATES = {flag: state for state, flag in _STATE_FLAGS.items()}


class EntryKind(StrEnum):
    """What a journal line records. The Usage Ledger shows debits and refunds."""

    GRANT = "grant"
    DEBIT = "debit"
    REFUND = "refund"
    EXPIRE = "expire"
    REVOKE = "revoke"
    EXTEND = "extend"
    OVERAGE = "overage"
    OVERAGE_REPAID = "overage_repaid"
    ADVANCE = "advance"


SIGNS = {
    EntryKind.GRANT: 1,
    EntryKind.REFUND: 1,
    EntryKind.DEBIT: -1,
    EntryKind.EXPIRE: -1,
    EntryKind.REVOKE: -1,
    EntryKind.OVERAGE_REPAID: -1,
    EntryKind.EXTEND: 0,
    EntryKind.OVERAGE: 0,
    EntryKind.ADVANCE: 0,
}


class Entry(msgspec.Struct, array_like=True, kw_only=True):
    """One line of the journal.

    The balance changes by `balance_change_tokens`. Expire, revoke and overage lines may be negative: they take back an earlier
    one. `pack_remaining_tokens` is what the pack has left after the line. `key` is set on the first line a command writes.
    `ref_seq` is the line that a refund gives back. `flags` also holds the state after the line.
    """

    organization_id: str
    seq: int
    at: datetime
    kind: EntryKind
    amount_tokens: int
    balance_after_tokens: int
    pack_id: str | None = None
    pack_remaining_tokens: int | None = None
    key: bytes | None = None
    fingerprint: bytes | None = None
    request_id: str | None = None
    part: int = 1
    parts: int = 1
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str | None = None
    session: str | None = None
    reason: str | None = None
    service_id: str | None = None
    key_id: str | None = None
    flags: int = 0
    detail: str | None = None
    note: str = ""
    ref_seq: int | None = None
    hash: bytes = b""

    @property
    def balance_change_tokens(self) -> int:
        """By how much the line changed the balance."""
        return SIGNS[self.kind] * self.amount_tokens

    @property
    def state_after(self) -> State:
        """The state after the line, by the thresholds of that time."""
        return state_in(self.flags)


_encoder = msgspec.json.Encoder()


def seal(entry: Entry, previous: bytes) -> bytes:
    """Give a fresh line its hash, and return it: SHA-256 over the previous line's hash and every field of this line, as JSON."""
    entry.hash = digest = sha256(previous + _encoder.encode(entry)).digest()
    return digest


def hash_of(entry: Entry, previous: bytes) -> bytes:
    """Return the hash that a line must have after a line with the hash `previous`."""
    return seal(msgspec.structs.replace(entry, hash=b""), previous)


def state_flag(state: State) -> int:
    """Return the flag that keeps a state."""
    return _STATE_FLAGS[state]


def state_in(flags: int) -> State:
    """Return the state kept in flags."""
    return _STATES[flags & 12]
