"""What the oracle keeps: packs, holds, requests and journal lines, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

NEVER = datetime.max.replace(tzinfo=UTC)
"""Later than every expiry."""

OVERAGE = "overage"
"""Stands where a pack's id would, for a token that no pack paid."""

Answer = dict[str, Any]
"""What a command answers, field by field."""

BALANCE_SIGN = {
    "grant": 1,
    "refund": 1,
    "debit": -1,
    "expire": -1,
    "revoke": -1,
    "overage_repaid": -1,
    "extend": 0,
    "overage": 0,
    "advance": 0,
}
"""By how many times its amount a line changes the balance."""

REMAINING_SIGN = {"refund": 1, "debit": -1, "overage_repaid": -1}
"""By how many times its amount a line changes what remains of its pack; 0 for the kinds not named."""


class Line(NamedTuple):
    """One line of the journal."""

    seq: int
    at: datetime
    kind: str
    amount: int
    balance: int
    pack: str | None = None
    remaining: int | None = None
    part: int = 1
    parts: int = 1
    prompt: int | None = None
    completion: int | None = None
    request: str | None = None


@dataclass
class Pack:
    """One grant. `repaid` went to overage, `returned` of it came back by refunds; `closed_by` is the kind of the closing line."""

    id: str
    number: int
    priority: int
    total: int
    remaining: int
    granted_at: datetime
    expires_at: datetime | None
    repaid: int = 0
    returned: int = 0
    revoked_at: datetime | None = None
    closed_by: str | None = None

    def is_past_expiry(self, now: datetime) -> bool:
        """Return whether `now` is at or past the expiry."""
        return self.expires_at is not None and now >= self.expires_at

    def status(self, now: datetime) -> str:
        """Return the first row of the table of statuses that holds."""
        if self.revoked_at is not None:
            return "revoked"
        if self.remaining == 0:
            return "depleted"
        if self.is_past_expiry(now):
            return "expired"
        return "active"

    def burn_order(self) -> tuple[int, datetime, datetime, str]:
        """Return what packs are spent in the order of."""
        return (self.priority, self.expires_at or NEVER, self.granted_at, self.id)


@dataclass
class Hold:
    """Tokens reserved. `may_spend` names the packs it could spend when it was opened."""

    id: str
    request: str
    tokens: int
    opened_at: datetime
    lapses_at: datetime
    may_spend: list[str]
    status: str = "open"
    settled_with: dict[str, Any] | None = None
    closing_answer: Answer = field(default_factory=dict)

    def reserves(self, now: datetime) -> bool:
        """Return whether it still counts as held."""
        return self.status == "open" and now < self.lapses_at


@dataclass
class Request:
    """A charged request: who paid each of its tokens that was not given back, in the order of spending."""

    id: str
    payers: list[str]
