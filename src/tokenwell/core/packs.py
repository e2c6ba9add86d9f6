"""Packs: what was granted, what is left of it, and which status that gives."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from tokenwell.core.instants import expiry_micros, to_micros

PRIORITY_LIMIT = 1_000
"""Priorities lie in −PRIORITY_LIMIT … PRIORITY_LIMIT; a lower one is spent first."""

NOTE_LIMIT = 500
"""The longest note, in characters."""


class PackStatus(StrEnum):
    """The four things a pack can be; computed, never stored."""

    ACTIVE = "active"
    DEPLETED = "depleted"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """One grant of tokens.

    `total = remaining + debited − refunded + repaid` at every time. `granted_seq` is the journal line that granted it,
    `closed_seq` the line that first forfeited what was left (expiry or revocation), `revoked_seq` the line that revoked it.
    """

    id: str
    organization_id: str
    number: int
    priority: int = 0
    total_tokens: int
    remaining_tokens: int
    repaid_tokens: int = 0
    returned_tokens: int = 0
    granted_at: datetime
    granted_seq: int
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_seq: int | None = None
    closed_seq: int | None = None
    note: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nothing in the journal has closed it and something is left to spend."""
        return self.closed_seq is None and self.remaining_tokens > 0

    def status(self, now: datetime) -> PackStatus:
        """Return the status at `now`: Revoked, else Depleted, else Expired, else Active."""
        if self.revoked_at is not None:
            return PackStatus.REVOKED
        if self.remaining_tokens == 0:
            return PackStatus.DEPLETED
        if self.has_expired(now):
            return PackStatus.EXPIRED
        return PackStatus.ACTIVE

    def has_expired(self, now: datetime) -> bool:
        """Return whether `now` is at or past the expiry: a pack is active on [granted_at, expires_at)."""
        return self.expires_at is not None and now >= self.expires_at

    def burn_order(self) -> tuple[int, int, int, str]:
        """Return the key of the burn-down order: priority, soonest expiry, earliest grant, id."""
        return (self.priority, expiry_micros(self.expires_at), to_micros(self.granted_at), self.id)
