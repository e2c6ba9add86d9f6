"""Shapes: what the REST API answers with, as typed values. The API writes them and the SDK reads them.

Tokens are whole numbers; beyond 2^53 JSON carries them as text, and they are numbers again here. Instants are in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar

import msgspec

State = Literal["normal", "running_low", "ai_stopped"]
PackStatus = Literal["active", "depleted", "expired", "revoked"]
LedgerKind = Literal["debit", "refund"]
EntryKind = Literal["grant", "debit", "refund", "expire", "revoke", "extend", "overage", "overage_repaid", "advance"]

T = TypeVar("T")


class Shape(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What every answer is made of."""

    @property
    def replayed(self) -> bool:
        """Whether a write was done before, with the same idempotency key: then this is its first answer."""
        return "replayed" in self.__dict__

    def as_replayed(self) -> Self:
        """Return it as the answer to a write that was done before."""
        self.__dict__["replayed"] = True
        return self

    def told_again(self) -> Self:
        """Return it without what is told only once."""
        return self


class Page(Shape, Generic[T], frozen=True, kw_only=True):
    """A page of a list. `next_cursor` asks for the page after it; null at the end."""

    items: tuple[T, ...]
    next_cursor: str | None


class Organization(Shape, frozen=True, kw_only=True):
    """A tenant."""

    id: str
    name: str
    created_at: datetime


class ThresholdsInForce(Shape, frozen=True, kw_only=True):
    """The thresholds now in force, and the state they give."""

    organization_id: str
    warning_tokens: int
    reserve_tokens: int
    balance_tokens: int
    state: State
    at: datetime


class Balance(Shape, frozen=True, kw_only=True):
    """An organization's balance at an instant. Available is the balance less what is held; `seq` and `head_hash` are those of the
    journal's last line by then."""

    organization_id: str
    as_of: datetime
    balance_tokens: int
    held_tokens: int
    available_tokens: int
    overage_tokens: int
    state: State
    active_packs: int
    active_total_tokens: int
    warning_tokens: int
    reserve_tokens: int
    seq: int
    head_hash: str


class Pack(Shape, frozen=True, kw_only=True):
    """One grant of tokens. `number` is what people see (PK-7); `expires_at` null is never."""

    id: str
    organization_id: str
    number: int
    status: PackStatus
    total_tokens: int
    remaining_tokens: int
    priority: int
    granted_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    note: str


class PackGranted(Shape, frozen=True, kw_only=True):
    """A granted pack; `repaid_tokens` of it went to overage at once."""

    pack: Pack
    repaid_tokens: int
    balance_tokens: int
    state: State
    at: datetime


class PackRevoked(Shape, frozen=True, kw_only=True):
    """A revoked pack; `forfeited_tokens` no longer count."""

    pack_id: str
    forfeited_tokens: int
    released_holds: int
    balance_tokens: int
    state: State
    at: datetime


class PackExtended(Shape, frozen=True, kw_only=True):
    """A pack whose expiry moved; null is never."""

    pack_id: str
    expired_before: datetime | None
    expires_at: datetime | None
    balance_tokens: int
    state: State
    at: datetime


class Hold(Shape, frozen=True, kw_only=True):
    """Tokens reserved until `lapses_at`, with the balance and state as it was opened or extended."""

    id: str
    organization_id: str
    request_id: str
    held_tokens: int
    opened_at: datetime
    lapses_at: datetime
    balance_tokens: int
    state: State


class HoldReleased(Shape, frozen=True, kw_only=True):
    """A hold that was given back unused."""

    hold_id: str
    balance_tokens: int
    state: State
    at: datetime


class Drawn(Shape, frozen=True, kw_only=True):
    """What one pack gave to a request, or got back: line `seq` of the journal."""

    seq: int
    pack_id: str
    amount_tokens: int
    prompt_tokens: int | None
    completion_tokens: int | None
    pack_remaining_tokens: int


class Receipt(Shape, frozen=True, kw_only=True):
    """A debit, a settled hold or a refund. `overage_tokens` is the share no pack paid (of a refund: that lowered the overage)."""

    organization_id: str
    request_id: str
    at: datetime
    amount_tokens: int
    overage_tokens: int
    forfeited_tokens: int
    prompt_tokens: int | None
    completion_tokens: int | None
    drawn: tuple[Drawn, ...]
    estimated: bool
    late: bool
    balance_tokens: int
    state: State


class Problem(Shape, frozen=True, kw_only=True):
    """What went wrong (RFC 9457). `code` is stable; `details` carries what a program may want to read: the field, the amounts."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    details: dict[str, Any]


class BatchAnswer(Shape, frozen=True, kw_only=True):
    """What became of one debit of a batch: its receipt, or its problem."""

    index: int
    replayed: bool
    receipt: Receipt | None
    problem: Problem | None


class BatchAnswers(Shape, frozen=True, kw_only=True):
    """What became of a batch, an answer for each debit in the order of the debits."""

    items: tuple[BatchAnswer, ...]


class LedgerLine(Shape, frozen=True, kw_only=True):
    """A line of the Usage Ledger. `change_tokens` is what it did to the balance; part i of n of its request."""

    seq: int
    at: datetime
    kind: LedgerKind
    amount_tokens: int
    change_tokens: int
    balance_after_tokens: int
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str | None
    session: str | None
    reason: str | None
    service_id: str | None
    key_id: str | None
    pack_id: str | None
    pack_number: int | None
    pack_remaining_tokens: int | None
    request_id: str | None
    part: int
    parts: int
    estimated: bool
    late: bool
    note: str


class LedgerSums(Shape, frozen=True, kw_only=True):
    """What a filter of the ledger comes to. Where `is_capped`, there are at least `lines`, and their sums are not known."""

    lines: int
    debited_tokens: int | None
    refunded_tokens: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    is_capped: bool


class JournalLine(Shape, frozen=True, kw_only=True):
    """A line of the journal, of any kind. `hash` chains it to the line before."""

    seq: int
    at: datetime
    kind: EntryKind
    amount_tokens: int
    change_tokens: int
    balance_after_tokens: int
    state_after: State
    pack_id: str | None
    pack_remaining_tokens: int | None
    request_id: str | None
    part: int
    parts: int
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str | None
    session: str | None
    reason: str | None
    service_id: str | None
    key_id: str | None
    note: str
    ref_seq: int | None
    hash: str


class UsageSums(Shape, frozen=True, kw_only=True):
    """Sums of usage; prompt and completion are those of the debit lines."""

    debited_tokens: int
    refunded_tokens: int
    overage_tokens: int
    prompt_tokens: int
    completion_tokens: int
    requests: int


class UsageSeries(Shape, frozen=True, kw_only=True):
    """The usage of one value, bucket by bucket. `value` is empty where none was named, and for all the rest together."""

    value: str
    is_rest: bool
    total: UsageSums
    buckets: tuple[UsageSums, ...]


class UsageReport(Shape, frozen=True, kw_only=True):
    """Usage over [since, until): when each bucket begins, the sums of all, and the series, the largest first."""

    since: datetime
    until: datetime
    zone: str
    width: Literal["hour", "day"]
    starts: tuple[datetime, ...]
    total: UsageSums
    buckets: tuple[UsageSums, ...]
    series: tuple[UsageSeries, ...]


class Session(Shape, frozen=True, kw_only=True):
    """A conversation with the sums of its lines."""

    session: str
    first_at: datetime
    last_at: datetime
    debited_tokens: int
    refunded_tokens: int
    overage_tokens: int
    prompt_tokens: int
    completion_tokens: int
    requests: int


class Rate(Shape, frozen=True, kw_only=True):
    """What a token of each usage pool costs from `effective_at` on, in millionths of a pack's token."""

    model: str
    effective_at: datetime
    input_millionths: int
    cache_read_millionths: int
    cache_write_millionths: int
    output_millionths: int
    reasoning_millionths: int


class Verified(Shape, frozen=True, kw_only=True):
    """What recomputing an organization from its journal found; no problems means that every law holds."""

    organization_id: str
    lines: int
    problem_count: int
    problems: tuple[str, ...]
