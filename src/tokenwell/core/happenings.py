"""Happenings: what is told to people afterwards. Events of the ledger, and the acts of those who administer it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

PLATFORM = ""
"""What stands for the organization of an act that concerns the whole platform."""


class EventKind(StrEnum):
    """What an event reports. The words are part of webhooks and of the API: they are added to, never changed."""

    STATE_RUNNING_LOW = "state.running_low"
    STATE_AI_STOPPED = "state.ai_stopped"
    STATE_RECOVERED = "state.recovered"
    PACK_GRANTED = "pack.granted"
    PACK_DEPLETED = "pack.depleted"
    PACK_EXPIRED = "pack.expired"
    PACK_REVOKED = "pack.revoked"
    PACK_EXTENDED = "pack.extended"
    PACK_EXPIRING = "pack.expiring"
    PACK_ADVANCED = "pack.advanced"
    OVERAGE_INCURRED = "overage.incurred"
    OVERAGE_REPAID = "overage.repaid"
    SERVICE_RESTRICTED = "service.restricted"
    SERVICE_RESTORED = "service.restored"
    KEY_LIMIT_REACHED = "key.limit_reached"
    USAGE_UNUSUAL = "usage.unusual"
    TOPUP_REQUESTED = "topup.requested"
    TOPUP_APPROVED = "topup.approved"
    TOPUP_DECLINED = "topup.declined"
    PURCHASE_COMPLETED = "purchase.completed"
    PURCHASE_FAILED = "purchase.failed"
    PURCHASE_UNRESOLVED = "purchase.unresolved"
    PURCHASE_REFUNDED = "purchase.refunded"
    PURCHASE_CHARGED_BACK = "purchase.charged_back"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to an organization. `detail` is JSON text: ids and amounts, as the kind has them."""

    organization_id: str
    at: datetime
    kind: EventKind
    detail: str = "{}"


class ActorKind(StrEnum):
    """What acted."""

    PERSON = "person"
    PLATFORM_KEY = "platform_key"
    GATEWAY_KEY = "gateway_key"
    COMMAND_LINE = "command_line"
    SYSTEM = "system"


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acted, and from where: a network address, empty where there is none."""

    kind: ActorKind
    id: str = ""
    name: str = ""
    source: str = ""


SYSTEM = Actor(kind=ActorKind.SYSTEM, name="Tokenwell")
"""Tokenwell itself: its schedules and jobs."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One administrative act. `action` is `noun.verb`, `subject` the id of what it was done to, `before` and `after` are JSON
    text or None. `organization_id` is PLATFORM for what concerns no organization alone."""

    organization_id: str
    at: datetime
    actor: Actor
    action: str
    subject: str
    before: str | None = None
    after: str | None = None
