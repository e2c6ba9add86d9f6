"""Shapes and bodies of alerts: who is told of what and how, and what was sent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from tokenwell.client.bodies import Body
from tokenwell.client.shapes import Shape

DeliveryStatus = Literal["due", "delivered", "dead", "dropped"]
TimeOfDay = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["22:30"])]


class Subscription(Body, frozen=True, kw_only=True):
    """What a channel is told of: the kinds of `events`, null for all; in which language, in whose time zone. Between `quiet_from`
    and `quiet_until` what is not urgent waits; with `digest_at` it waits for that time of day."""

    events: tuple[str, ...] | None = None
    language: Literal["en", "zh"] = "en"
    zone: str = "UTC"
    quiet_from: TimeOfDay | None = None
    quiet_until: TimeOfDay | None = None
    digest_at: TimeOfDay | None = None


class NewChannel(Subscription, frozen=True, kw_only=True):
    """Somebody to tell, and of what. `target` is an e-mail address, or the https:// address of a webhook or a chat."""

    kind: Literal["email", "webhook", "slack", "chat"]
    target: Annotated[str, msgspec.Meta(max_length=2000)]
    name: str = ""


class Channel(Shape, frozen=True, kw_only=True):
    """Who is told, of what and how. `target` is shown without what is secret in it."""

    id: str
    organization_id: str
    kind: Literal["email", "webhook", "slack", "chat"]
    name: str
    target: str
    events: tuple[str, ...] | None
    language: Literal["en", "zh"]
    zone: str
    quiet_from: str | None
    quiet_until: str | None
    digest_at: str | None
    created_at: datetime
    disabled_at: datetime | None


class MemberSubscription(Shape, frozen=True, kw_only=True):
    """What a member is told of by e-mail. `is_default`: they have not said what they want, and are told what their like are."""

    person_id: str
    events: tuple[str, ...]
    language: Literal["en", "zh"]
    zone: str
    quiet_from: str | None
    quiet_until: str | None
    digest_at: str | None
    is_default: bool


class ChannelWithSecret(Shape, frozen=True, kw_only=True):
    """A channel that is new, or has a new key. `secret`, which a webhook is signed with, is told only here; it is null for what
    signs nothing, and in this answer given again."""

    channel: Channel
    secret: str | None

    def told_again(self) -> ChannelWithSecret:
        """Return it without the secret."""
        return ChannelWithSecret(channel=self.channel, secret=None)


class ChannelRemoved(Shape, frozen=True, kw_only=True):
    """A channel that is no more."""

    channel_id: str


class Delivery(Shape, frozen=True, kw_only=True):
    """Something that was sent or is to be sent; a test has no event. `attempts` counts those that have begun."""

    id: str
    organization_id: str
    channel_id: str
    event_id: str | None
    kind: Literal["event", "test"]
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    due_at: datetime
    finished_at: datetime | None


class DeliveryAttempt(Shape, frozen=True, kw_only=True):
    """One attempt: what was sent, secrets left out, and what was answered. `failed` had no answer."""

    at: datetime
    took_millis: int
    outcome: str
    status: int | None
    request: str
    answer: str


class DeliveryWithAttempts(Shape, frozen=True, kw_only=True):
    """A delivery and its attempts, the latest first."""

    delivery: Delivery
    attempts: tuple[DeliveryAttempt, ...]
