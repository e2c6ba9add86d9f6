"""Bodies: what is sent to the REST API. The SDK writes them and the API reads them; an unknown field is refused.

An amount is a number of tokens, or text such as `"5M"` or `"250,000"`; beyond 2^53 it has to be text.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

Amount = Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(max_length=40)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What every body is made of."""


class NewOrganization(Body, frozen=True, kw_only=True):
    """An organization to create: its id (a-z, 0-9, - and _) and name."""

    id: str
    name: str | None = None


class NewThresholds(Body, frozen=True, kw_only=True):
    """Thresholds of an organization's own; warning must not be below reserve."""

    warning: Amount
    reserve: Amount


class NewPolicy(Body, frozen=True, kw_only=True):
    """What of a policy is to change; what is not sent stays as it is. To serve while the database is away needs both bounds."""

    when_short: Literal["refuse", "clamp", "hold_available"] | None = None
    when_away: Literal["refuse", "serve"] | None = None
    away_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None
    away_tokens: Amount | None = None


class NewPack(Body, frozen=True, kw_only=True):
    """A pack to grant. `expires_at` null is never; a lower `priority` is spent first."""

    amount: Amount
    expires_at: datetime | None = None
    priority: int = 0
    note: str = ""


class Revocation(Body, frozen=True, kw_only=True):
    """How a pack is revoked; `cancel_holds` also releases the open holds that could spend it."""

    cancel_holds: bool = False
    note: str = ""


class Extension(Body, frozen=True, kw_only=True):
    """A later expiry of a pack; null is never."""

    expires_at: datetime | None
    note: str = ""


class PackNote(Body, frozen=True, kw_only=True):
    """A pack's new note; empty removes it."""

    note: str


class Laned(Body, frozen=True, kw_only=True):
    """With `reserve_tokens`, so many must stay available to others; `lane` is what those that leave them are called."""

    reserve_tokens: Amount | None = None
    lane: str | None = None


class NewHold(Laned, frozen=True, kw_only=True):
    """Tokens to reserve for so many seconds, at most a day. With `reserve_tokens`, so many must stay available to others; `lane`
    names those that leave them."""

    amount: Amount
    ttl_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 600


class HoldExtension(Laned, frozen=True, kw_only=True):
    """Tokens to add to a hold, and how many seconds from now on it lasts at least."""

    more_tokens: Amount = 0
    ttl_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] | None = None


class UsagePools(Body, frozen=True, kw_only=True):
    """Tokens of one AI request by pool. Pools never overlap."""

    input_tokens: _Count = 0
    cache_read_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    output_tokens: _Count = 0
    reasoning_tokens: _Count = 0


class Charge(Body, frozen=True, kw_only=True):
    """What a request used: `amount` tokens, else its usage at the model's rate."""

    amount: Amount | None = None
    usage: UsagePools | None = None
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    model: str | None = None
    session: str | None = None
    reason: str | None = None
    service_id: str | None = None
    key_id: str | None = None
    note: str = ""
    raw_usage: dict[str, Any] | None = None
    estimated: bool = False


class Debit(Charge, frozen=True, kw_only=True):
    """A request to charge. Tokens that are `already_used` are charged whatever the state is. With `reserve_tokens`, so many must
    stay available to others; `lane` names those that leave them."""

    already_used: bool = False
    reserve_tokens: Amount | None = None
    lane: str | None = None


class BatchDebit(Debit, frozen=True, kw_only=True):
    """A debit of a batch, with an idempotency key of its own; without one its key is the batch's and its place."""

    key: str | None = None


class Batch(Body, frozen=True, kw_only=True):
    """Debits to charge, each by itself: some may be charged while others are refused."""

    debits: Annotated[tuple[BatchDebit, ...], msgspec.Meta(min_length=1, max_length=1_000)]


class NewRefund(Body, frozen=True, kw_only=True):
    """Tokens of a charged request to give back: all that is left of it, unless `amount` says less."""

    request_id: str
    amount: Amount | None = None
    note: str = ""


Scope = Literal["generate", "embed", "models"]
Lane = Literal["customer_facing", "background"]


class NewService(Body, frozen=True, kw_only=True):
    """An AI service to create. `reserve` is what a background service leaves to those that customers wait for."""

    name: str
    id: str | None = None
    lane: Lane = "customer_facing"
    reserve: Amount | None = None
    default_session: str | None = None
    default_reason: str | None = None


class ServiceChanges(Body, frozen=True, kw_only=True):
    """What of a service is to change; what is not sent stays."""

    name: str | UnsetType = UNSET
    lane: Lane | UnsetType = UNSET
    reserve: Amount | UnsetType | None = UNSET
    default_session: str | UnsetType | None = UNSET
    default_reason: str | UnsetType | None = UNSET


class NewKey(Body, frozen=True, kw_only=True):
    """A gateway key to issue, of a service or of the organization itself. What is not sent is not limited."""

    name: str
    service_id: str | None = None
    expires_at: datetime | None = None
    scopes: tuple[Scope, ...] | None = None
    models: tuple[str, ...] | None = None
    requests_per_minute: _Count | None = None
    tokens_per_day: Amount | None = None
    tokens_per_month: Amount | None = None


class KeyChanges(Body, frozen=True, kw_only=True):
    """What of a key is to change; what is not sent stays."""

    name: str | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    scopes: tuple[Scope, ...] | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    requests_per_minute: _Count | UnsetType | None = UNSET
    tokens_per_day: Amount | UnsetType | None = UNSET
    tokens_per_month: Amount | UnsetType | None = UNSET


class NewPlatformKey(Body, frozen=True, kw_only=True):
    """A platform key to issue, for every organization or for one. It may do no more than who issues it."""

    name: str
    scopes: tuple[str, ...]
    organization_id: str | None = None
    expires_at: datetime | None = None


class NewRole(Body, frozen=True, kw_only=True):
    """The role a member is given."""

    role: Literal["organization_admin", "viewer"]


class NewInvitation(Body, frozen=True, kw_only=True):
    """Somebody to ask in, and as what. The letter is in `language`."""

    email: Annotated[str, msgspec.Meta(max_length=320)]
    role: Literal["organization_admin", "viewer"] = "viewer"
    language: Literal["en", "zh"] = "en"


class LetterAgain(Body, frozen=True, kw_only=True):
    """In which language a letter is sent again."""

    language: Literal["en", "zh"] = "en"


class NewEmbeddingLink(Body, frozen=True, kw_only=True):
    """For how long an embedded page opens, and how it looks; what is not sent is as the reader's own."""

    ttl_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 900
    theme: Literal["light", "dark"] | None = None
    language: Literal["en", "zh"] | None = None
    zone: Annotated[str, msgspec.Meta(max_length=64)] = ""


class NewEmbeddingOrigins(Body, frozen=True, kw_only=True):
    """The origins that may frame an embedded page, such as `https://app.example.com`."""

    origins: Annotated[tuple[str, ...], msgspec.Meta(max_length=20)]


class NewRate(Body, frozen=True, kw_only=True):
    """What a model costs from a date on, in millionths of a pack's token for each token of a pool; 1,000,000 is one to one."""

    model: str
    effective_at: datetime
    input_millionths: _Count = 1_000_000
    cache_read_millionths: _Count = 1_000_000
    cache_write_millionths: _Count = 1_000_000
    output_millionths: _Count = 1_000_000
    reasoning_millionths: _Count = 1_000_000
