"""Calls of the SDK on alerts: channels, what they are told of, and what was sent."""

from __future__ import annotations

from typing import Any, Literal

from tokenwell.client import alerts
from tokenwell.client.requests import Request, at, read, write
from tokenwell.client.shapes import Page

PLATFORM = "-"
"""What stands for the platform where a call about alerts asks for an organization."""


class AlertCalls:
    """Builds requests, as `Calls` does."""

    def add_channel(
        self,
        /,
        organization_id: str,
        kind: Literal["email", "webhook", "slack", "chat"],
        target: str,
        *,
        key: str | None = None,
        **more: Any,
    ) -> Request[alerts.ChannelWithSecret]:
        """Add a channel (the fields of `NewChannel`). Its secret is told only in the first answer. Raises TargetRefused."""
        body = alerts.NewChannel(kind=kind, target=target, **more)
        return write("POST", at(organization_id, "channels"), alerts.ChannelWithSecret, key, body)

    def list_channels(
        self, organization_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[alerts.Channel]]:
        """List an organization's channels, the latest first."""
        return read(at(organization_id, "channels"), Page[alerts.Channel], cursor=cursor, limit=limit)

    def get_channel(self, organization_id: str, channel_id: str) -> Request[alerts.Channel]:
        """Return a channel. Raises ChannelNotFound."""
        return read(at(organization_id, "channels", channel_id), alerts.Channel)

    def set_subscription(
        self, /, organization_id: str, channel_id: str, *, key: str | None = None, **wishes: Any
    ) -> Request[alerts.Channel]:
        """Set what a channel is told of (the fields of `Subscription`); what is not given is as it is by default."""
        path = at(organization_id, "channels", channel_id, "subscription")
        return write("PUT", path, alerts.Channel, key, alerts.Subscription(**wishes))

    def rotate_channel(self, organization_id: str, channel_id: str, *, key: str | None = None) -> Request[alerts.ChannelWithSecret]:
        """Give a webhook a new signing key; for a day both sign. The secret is told only in the first answer."""
        return write("POST", at(organization_id, "channels", channel_id, "rotate"), alerts.ChannelWithSecret, key)

    def test_channel(self, organization_id: str, channel_id: str, *, key: str | None = None) -> Request[alerts.Delivery]:
        """Queue a test through a channel. Raises ChannelNotFound."""
        return write("POST", at(organization_id, "channels", channel_id, "test"), alerts.Delivery, key)

    def disable_channel(self, organization_id: str, channel_id: str, *, key: str | None = None) -> Request[alerts.Channel]:
        """Tell nothing through a channel from now on. Raises ChannelNotFound."""
        return write("POST", at(organization_id, "channels", channel_id, "disable"), alerts.Channel, key)

    def enable_channel(self, organization_id: str, channel_id: str, *, key: str | None = None) -> Request[alerts.Channel]:
        """Let a disabled channel go on. Raises ChannelNotFound."""
        return write("POST", at(organization_id, "channels", channel_id, "enable"), alerts.Channel, key)

    def remove_channel(self, organization_id: str, channel_id: str, *, key: str | None = None) -> Request[alerts.ChannelRemoved]:
        """Remove a channel; what was to be sent through it is dropped. Raises ChannelNotFound."""
        return write("DELETE", at(organization_id, "channels", channel_id), alerts.ChannelRemoved, key)

    def list_deliveries(
        self,
        organization_id: str,
        channel_id: str,
        *,
        status: alerts.DeliveryStatus | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Request[Page[alerts.Delivery]]:
        """List what was sent or is to be sent through a channel, the latest first. Raises ChannelNotFound."""
        path = at(organization_id, "channels", channel_id, "deliveries")
        return read(path, Page[alerts.Delivery], status=status, cursor=cursor, limit=limit)

    def get_delivery(self, organization_id: str, channel_id: str, delivery_id: str) -> Request[alerts.DeliveryWithAttempts]:
        """Return a delivery and its attempts. Raises DeliveryNotFound."""
        return read(at(organization_id, "channels", channel_id, "deliveries", delivery_id), alerts.DeliveryWithAttempts)

    def replay_delivery(
        self, organization_id: str, channel_id: str, delivery_id: str, *, key: str | None = None
    ) -> Request[alerts.Delivery]:
        """Send a delivery that was given up again, under its own id. Raises DeliveryNotFound."""
        path = at(organization_id, "channels", channel_id, "deliveries", delivery_id, "replay")
        return write("POST", path, alerts.Delivery, key)

    def get_member_subscription(self, organization_id: str, person_id: str) -> Request[alerts.MemberSubscription]:
        """Return what a member is told of by e-mail. Raises PersonNotFound."""
        return read(at(organization_id, "members", person_id, "subscription"), alerts.MemberSubscription)

    def set_member_subscription(
        self, /, organization_id: str, person_id: str, *, key: str | None = None, **wishes: Any
    ) -> Request[alerts.MemberSubscription]:
        """Set what a member is told of by e-mail (the fields of `Subscription`); what is not given is as it is by default."""
        path = at(organization_id, "members", person_id, "subscription")
        return write("PUT", path, alerts.MemberSubscription, key, alerts.Subscription(**wishes))
