"""Holds: tokens reserved before an AI call."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from tokenwell.core.packs import Pack

LONGEST_HOLD = timedelta(days=1)
"""The longest time a hold may stay open."""


class HoldStatus(StrEnum):
    """What became of a hold."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    LAPSED = "lapsed"


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens reserved until `lapses_at`, then settled, released or lapsed.

    `opened_seq` is the last journal line at the time: it tells which packs the hold may spend. `request_id` is the caller's
    key, else the hold's id. `opened_balance_tokens` and `opened_flags` keep the answer to its opening; `used_tokens`,
    `settled_fingerprint`, `balance_after_tokens` and `flags` that to its closing. `growths` counts how often it was extended.
    `limited_key_id` is the key against whose limits it counts.
    """

    id: str
    organization_id: str
    request_id: str
    key: bytes
    fingerprint: bytes
    tokens: int
    status: HoldStatus = HoldStatus.OPEN
    opened_at: datetime
    opened_seq: int
    lapses_at: datetime
    opened_balance_tokens: int = 0
    opened_flags: int = 0
    closed_at: datetime | None = None
    used_tokens: int | None = None
    settled_fingerprint: bytes | None = None
    balance_after_tokens: int = 0
    flags: int = 0
    growths: int = 0
    limited_key_id: str | None = None

    def may_spend(self, pack: Pack) -> bool:
        """Return whether `pack` could be spent when this hold was opened, whatever became of it since."""
        if pack.granted_seq > self.opened_seq or pack.has_expired(self.opened_at):
            return False
        return pack.closed_seq is None or pack.closed_seq > self.opened_seq


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """One extension of a hold: what it reserved and until when, before and after, and the answer that was given."""

    organization_id: str
    hold_id: str
    number: int
    key: bytes
    fingerprint: bytes
    at: datetime
    tokens_before: int
    lapses_before: datetime
    tokens_after: int
    lapses_after: datetime
    balance_tokens: int
    flags: int
