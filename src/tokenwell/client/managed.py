"""Managed: the shapes of AI services, keys, events and acts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from tokenwell.client.shapes import Shape


class AiService(Shape, frozen=True, kw_only=True):
    """One consumer of AI. Restricted means that AI is stopped: it goes back to Active by itself."""

    id: str
    organization_id: str
    name: str
    status: Literal["active", "disabled", "restricted"]
    lane: str
    reserve_tokens: int | None
    default_session: str | None
    default_reason: str | None
    created_at: datetime
    disabled_at: datetime | None


class GatewayKey(Shape, frozen=True, kw_only=True):
    """A key of the gateway; null for scopes, models and limits is no limit. Of its secret only the `prefix` is known."""

    id: str
    organization_id: str
    service_id: str | None
    name: str
    prefix: str
    scopes: tuple[str, ...] | None
    models: tuple[str, ...] | None
    requests_per_minute: int | None
    tokens_per_day: int | None
    tokens_per_month: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class GatewayKeyCreated(Shape, frozen=True, kw_only=True):
    """A new key. The `secret` is told only once: it is empty in an answer that is given again."""

    key: GatewayKey
    secret: str

    def told_again(self) -> GatewayKeyCreated:
        """Return it without the secret."""
        return GatewayKeyCreated(key=self.key, secret="")


class PlatformKey(Shape, frozen=True, kw_only=True):
    """A key of the REST API for a backend. Its organization is empty where it reaches every one."""

    id: str
    organization_id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class PlatformKeyCreated(Shape, frozen=True, kw_only=True):
    """A new key. The `secret` is told only once: it is empty in an answer that is given again."""

    key: PlatformKey
    secret: str

    def told_again(self) -> PlatformKeyCreated:
        """Return it without the secret."""
        return PlatformKeyCreated(key=self.key, secret="")


class Member(Shape, frozen=True, kw_only=True):
    """Somebody who belongs to an organization."""

    person_id: str
    name: str
    email: str
    role: Literal["organization_admin", "viewer"]
    since: datetime
    is_disabled: bool


class Invitation(Shape, frozen=True, kw_only=True):
    """Somebody who was asked in and has not come yet."""

    id: str
    organization_id: str
    email: str
    role: Literal["organization_admin", "viewer"]
    invited_by: str
    created_at: datetime
    expires_at: datetime


class Invited(Shape, frozen=True, kw_only=True):
    """An invitation that was made or sent again. Where no letter can be sent (not `is_sent`) its `address` is here, for who
    invites to pass on; it is told only once, and empty in this answer given again."""

    invitation: Invitation
    is_sent: bool
    address: str

    def told_again(self) -> Invited:
        """Return it without the address."""
        return Invited(invitation=self.invitation, is_sent=self.is_sent, address="")


class InvitationWithdrawn(Shape, frozen=True, kw_only=True):
    """An invitation that opens no more."""

    invitation_id: str


class EmbeddingLink(Shape, frozen=True, kw_only=True):
    """The address of an embedded page, until it lapses. The `address` is told only once: it is empty in an answer given again."""

    address: str
    expires_at: datetime

    def told_again(self) -> EmbeddingLink:
        """Return it without the address."""
        return EmbeddingLink(address="", expires_at=self.expires_at)


class EmbeddingOrigins(Shape, frozen=True, kw_only=True):
    """The origins that may frame an embedded page; none is nobody."""

    origins: tuple[str, ...]


class MemberRemoved(Shape, frozen=True, kw_only=True):
    """Somebody who does not belong to an organization any more, or (not `was_member`) did not before."""

    person_id: str
    was_member: bool


class Event(Shape, frozen=True, kw_only=True):
    """Something that happened to an organization; `detail` holds ids and amounts, as the kind has them."""

    id: str
    organization_id: str
    at: datetime
    kind: str
    detail: dict[str, Any]


class Act(Shape, frozen=True, kw_only=True):
    """One administrative act: who, when, from where, what, and what it changed."""

    id: str
    organization_id: str
    at: datetime
    actor_kind: str
    actor_id: str
    actor_name: str
    source: str
    action: str
    subject: str
    before: Any
    after: Any


class Policy(Shape, frozen=True, kw_only=True):
    """What an organization's gateway does where the balance affords less than a request may come to (`when_short`), and while the
    database cannot be reached (`when_away`): served then for at most `away_seconds`, until `away_tokens` wait to be charged."""

    when_short: Literal["refuse", "clamp", "hold_available"]
    when_away: Literal["refuse", "serve"]
    away_seconds: int
    away_tokens: int
