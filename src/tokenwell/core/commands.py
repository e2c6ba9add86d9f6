"""Commands: what can be asked of an organization's account. Already checked; ids and keys are handed in."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from tokenwell.core.happenings import Actor
from tokenwell.core.health import Lane, Thresholds
from tokenwell.core.limits import KeyLimits


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What one AI request used, and what it is about.

    `amount_tokens` is what is taken from the packs; `prompt_tokens` and `completion_tokens` what the provider counted, None if
    the caller gave no split. `detail` is JSON text kept with the line (usage pools, rate, the provider's raw usage).
    """

    amount_tokens: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str | None = None
    session: str | None = None
    reason: str | None = None
    service_id: str | None = None
    key_id: str | None = None
    detail: str | None = None
    estimated: bool = False
    note: str = ""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What every command carries. `key` is the idempotency key's 16 bytes, `fingerprint` the input's. Where `by` is given, an act
    of theirs is written with the change; who asks is no part of the input."""

    organization_id: str
    key: bytes
    fingerprint: bytes
    by: Actor | None = None

    @property
    def subject(self) -> bytes | str:
        """The one thing the command changes besides the balance: two commands on it are decided one batch after the other."""
        return self.key


class Grant(Command, frozen=True, kw_only=True):
    """Grant a pack."""

    pack_id: str
    total_tokens: int
    expires_at: datetime | None = None
    priority: int = 0
    note: str = ""


class Advance(Command, frozen=True, kw_only=True):
    """Grant a small pack now, which the next grant repays. What is owed may be at most `limit_tokens` after it."""

    pack_id: str
    total_tokens: int
    limit_tokens: int
    note: str = ""


class Revoke(Command, frozen=True, kw_only=True):
    """Revoke a pack; `cancel_holds` also releases the open holds that could spend it."""

    pack_id: str
    note: str = ""
    cancel_holds: bool = False

    @property
    def subject(self) -> bytes | str:
        """The pack."""
        return self.pack_id


class Extend(Command, frozen=True, kw_only=True):
    """Move a pack's expiry to a later instant, or to never."""

    pack_id: str
    expires_at: datetime | None
    note: str = ""

    @property
    def subject(self) -> bytes | str:
        """The pack."""
        return self.pack_id


class OpenHold(Command, frozen=True, kw_only=True):
    """Reserve tokens for `ttl`. Where there are `limits`, the request counts for the key."""

    hold_id: str
    request_id: str
    tokens: int
    ttl: timedelta
    key_id: str | None = None
    limits: KeyLimits | None = None
    lane: Lane | None = None


class ExtendHold(Command, frozen=True, kw_only=True):
    """Let a hold reserve `more_tokens`, and last for `ttl` from now on if that is longer than it would; None leaves its time limit.
    The key is one of the hold's own."""

    hold_id: str
    more_tokens: int
    ttl: timedelta | None = None
    limits: KeyLimits | None = None
    lane: Lane | None = None

    @property
    def subject(self) -> bytes | str:
        """The hold."""
        return self.hold_id


class Settle(Command, frozen=True, kw_only=True):
    """Charge what a held request used. The key is the hold's own."""

    hold_id: str
    charge: Charge

    @property
    def subject(self) -> bytes | str:
        """The hold."""
        return self.hold_id


class Release(Command, frozen=True, kw_only=True):
    """Give a hold back unused."""

    hold_id: str

    @property
    def subject(self) -> bytes | str:
        """The hold."""
        return self.hold_id


class Debit(Command, frozen=True, kw_only=True):
    """Charge a request without a hold. `already_used` charges whatever the state is, into overage if need be. Where there are
    `limits`, it counts for the charge's key."""

    request_id: str
    charge: Charge
    already_used: bool = False
    limits: KeyLimits | None = None
    lane: Lane | None = None


class Refund(Command, frozen=True, kw_only=True):
    """Give tokens of a charged request back; `amount_tokens` None gives back all that is left of it.

    `debited_keys` are the keys under which the request may be known; the last is the idempotency key's.
    """

    refund_id: str
    request_id: str
    debited_keys: tuple[bytes, ...]
    amount_tokens: int | None = None
    note: str = ""

    @property
    def subject(self) -> bytes | str:
        """The request."""
        return self.debited_keys[-1]


class SetThresholds(Command, frozen=True, kw_only=True):
    """Set an organization's own thresholds; None returns to the platform's."""

    own: Thresholds | None
    platform: Thresholds


class CloseDue(Command, frozen=True, kw_only=True):
    """Close what is due and do nothing else: expiries and lapses of an organization without traffic."""
