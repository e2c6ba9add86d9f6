"""Alerts: who is told of what happened and how, and what was sent."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import alerts
from tokenwell.client.shapes import Page
from tokenwell.core.alerts import Schedule
from tokenwell.core.happenings import PLATFORM, EventKind
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.notices.subscriptions import Channel, ChannelKind, CreatedChannel, Delivery, DeliveryStatus, Wishes
from tokenwell.service.notices.wishes import Own, minute_of

PLATFORM_PLACE = "-"
"""What stands for the platform in an address: its channels are told of every organization."""


def _home(
    organization_id: Annotated[
        str,
        Path(description="The organization's id; `-` for the platform, which is told of every organization.", examples=["acme"]),
    ],
) -> str:
    return PLATFORM if organization_id == PLATFORM_PLACE else organization_id


Home = Annotated[str, Depends(_home)]
router = Operations(prefix="/v1/organizations/{organization_id}/channels", tags=["Alerts"])

members = Operations(prefix="/v1/organizations/{organization_id}/members/{person_id}/subscription", tags=["Alerts"])

PersonId = Annotated[str, Path(description="The person's id.")]
ChannelId = Annotated[str, Path(description="The channel's id.")]
DeliveryId = Annotated[str, Path(description="The delivery's id.")]
Status = Annotated[DeliveryStatus | None, Query(description="Only deliveries of this status.")]
Limit = Annotated[int, Query(ge=1, le=500, description="The longest page wanted.")]
_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "channel_id": "$response.body#/channel/id"}
_NEXT = ("get_channel", "test_channel", "rotate_channel", "list_deliveries", "disable_channel")
_TIMES = ("quiet_from", "quiet_until", "digest_at")


@router.post(
    "",
    **writes(
        Scope.ALERTS_WRITE,
        "Add a channel",
        body=alerts.NewChannel,
        answer=alerts.ChannelWithSecret,
        status=201,
        example={"kind": "email", "target": "ops@acme.example", "events": ["state.ai_stopped"]},
        links={each: {"operationId": each, "parameters": _OF_THE_NEW} for each in _NEXT},
    ),
)
def add_channel(call: CurrentCall, organization_id: Home) -> Response:
    """Add somebody to tell. The key that webhooks are signed with is in this answer and nowhere else, not even in this answer
    given again."""
    body = call.read(alerts.NewChannel)
    created = call.suite.subscriptions.add_channel(
        organization_id,
        kind=ChannelKind(body.kind),
        target=body.target,
        name=body.name,
        wishes=_wishes(body),
        key=call.key,
        by=call.caller.actor,
    )
    return call.answer(_with_secret(created), status=201, replayed=created.replayed)


@router.get("", **reads(Scope.ALERTS_READ, "List channels", answer=Page[alerts.Channel]))
def list_channels(call: CurrentCall, organization_id: Home, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the organization's channels, the latest first."""
    page = call.suite.subscriptions.channels(organization_id, cursor=cursor, limit=limit)
    return call.answer(page_of([_channel(each) for each in page.items], page.next_cursor))


@router.get("/{channel_id}", **reads(Scope.ALERTS_READ, "Get a channel", answer=alerts.Channel))
def get_channel(call: CurrentCall, organization_id: Home, channel_id: ChannelId) -> Response:
    """Return a channel."""
    return call.answer(_channel(call.suite.subscriptions.channel(organization_id, channel_id)))


@router.put(
    "/{channel_id}/subscription",
    **writes(
        Scope.ALERTS_WRITE,
        "Set what a channel is told of",
        body=alerts.Subscription,
        answer=alerts.Channel,
        example={"events": ["state.running_low", "state.ai_stopped"], "zone": "Europe/Berlin", "digest_at": "09:00"},
    ),
)
def set_subscription(call: CurrentCall, organization_id: Home, channel_id: ChannelId) -> Response:
    """Set what a channel is told of, and when. What is not sent is as it is by default."""
    wishes = _wishes(call.read(alerts.Subscription))
    changed = call.suite.subscriptions.change_channel(organization_id, channel_id, wishes=wishes, by=call.caller.actor)
    return call.answer(_channel(changed))


@router.post(
    "/{channel_id}/rotate", **writes(Scope.ALERTS_WRITE, "Replace a signing key", answer=alerts.ChannelWithSecret)
)  # fmt: skip
def rotate_channel(call: CurrentCall, organization_id: Home, channel_id: ChannelId) -> Response:
    """Give a webhook a new signing key, told only in this answer. For a day deliveries are signed with the old one as well."""
    rotated = call.suite.subscriptions.rotate(organization_id, channel_id, key=call.key, by=call.caller.actor)
    return call.answer(_with_secret(rotated), replayed=rotated.replayed)


@router.post("/{channel_id}/test", **writes(Scope.ALERTS_WRITE, "Send a test", answer=alerts.Delivery))
def test_channel(call: CurrentCall, organization_id: Home, channel_id: ChannelId) -> Response:
    """Queue a test through a channel; its delivery tells what came of it."""
    return call.answer(_delivery(call.suite.subscriptions.test(organization_id, channel_id, key=call.key)))


@router.post("/{channel_id}/disable", **writes(Scope.ALERTS_WRITE, "Disable a channel", answer=alerts.Channel))
def disable_channel(call: CurrentCall, organization_id: Home, channel_id: ChannelId) -> Response:
    """Tell nothing through a channel from now on; again changes nothing."""
    changed = call.suite.subscriptions.change_channel(organization_id, channel_id, is_disabled=True, by=call.caller.actor)
    return call.answer(_channel(changed))


@router.post("/{channel_id}/enable", **writes(Scope.ALERTS_WRITE, "Enable a channel", answer=alerts.Channel))
def enable_channel(call: CurrentCall, organization_id: Home, channel_id: ChannelId) -> Response:
    """Let a disabled channel go on; again changes nothing."""
    changed = call.suite.subscriptions.change_channel(organization_id, channel_id, is_disabled=False, by=call.caller.actor)
    return call.answer(_channel(changed))


@router.delete("/{channel_id}", **writes(Scope.ALERTS_WRITE, "Remove a channel", answer=alerts.ChannelRemoved))
def remove_channel(call: CurrentCall, organization_id: Home, channel_id: ChannelId) -> Response:
    """Remove a channel; what was to be sent through it is dropped."""
    call.suite.subscriptions.remove_channel(organization_id, channel_id, key=call.key, by=call.caller.actor)
    return call.answer(alerts.ChannelRemoved(channel_id=channel_id))


@router.get("/{channel_id}/deliveries", **reads(Scope.ALERTS_READ, "List deliveries", answer=Page[alerts.Delivery]))
def list_deliveries(
    call: CurrentCall, organization_id: Home, channel_id: ChannelId, status: Status = None, cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:  # fmt: skip
    """List what was sent or is to be sent through a channel, the latest first."""
    page = call.suite.subscriptions.deliveries(organization_id, channel_id, status=status, cursor=cursor, limit=limit)
    return call.answer(page_of([_delivery(each) for each in page.items], page.next_cursor))


@router.get(
    "/{channel_id}/deliveries/{delivery_id}",
    **reads(Scope.ALERTS_READ, "Get a delivery", answer=alerts.DeliveryWithAttempts),
)
def get_delivery(call: CurrentCall, organization_id: Home, channel_id: ChannelId, delivery_id: DeliveryId) -> Response:
    """Return a delivery and its attempts, the latest first."""
    delivery, attempts = call.suite.subscriptions.attempts(organization_id, channel_id, delivery_id)
    shown = tuple(shaped(alerts.DeliveryAttempt, each) for each in attempts)
    return call.answer(alerts.DeliveryWithAttempts(delivery=_delivery(delivery), attempts=shown))


@router.post(
    "/{channel_id}/deliveries/{delivery_id}/replay",
    **writes(Scope.ALERTS_WRITE, "Send a delivery again", answer=alerts.Delivery),
)
def replay_delivery(call: CurrentCall, organization_id: Home, channel_id: ChannelId, delivery_id: DeliveryId) -> Response:
    """Send a delivery that was given up again, under its own id. One that was not is left as it is."""
    return call.answer(_delivery(call.suite.subscriptions.replay(organization_id, channel_id, delivery_id, by=call.caller.actor)))


@members.get("", **reads(Scope.ALERTS_READ, "Get what a member is told of", answer=alerts.MemberSubscription))
def get_member_subscription(call: CurrentCall, organization_id: Home, person_id: PersonId) -> Response:
    """Return what a member is told of by e-mail; of the platform, one of its administrators."""
    return call.answer(_own(person_id, call.suite.personal.of(organization_id, person_id)))


@members.put(
    "",
    **writes(
        Scope.ALERTS_WRITE,
        "Set what a member is told of",
        body=alerts.Subscription,
        answer=alerts.MemberSubscription,
        example={"events": ["state.running_low", "state.ai_stopped"], "language": "zh", "zone": "Asia/Shanghai"},
    ),
)
def set_member_subscription(call: CurrentCall, organization_id: Home, person_id: PersonId) -> Response:
    """Set what a member is told of by e-mail, and when. What is not sent is as it is by default."""
    wishes = _wishes(call.read(alerts.Subscription))
    return call.answer(_own(person_id, call.suite.personal.set(organization_id, person_id, wishes, by=call.caller.actor)))


def _wishes(body: alerts.Subscription) -> Wishes:
    try:
        kinds = None if body.events is None else frozenset(EventKind(each) for each in body.events)
    except ValueError:
        raise RequestInvalid("there is no such kind of event", field="events") from None
    schedule = Schedule(**{name: minute_of(getattr(body, name) or "") for name in _TIMES})
    return Wishes(kinds=kinds, language=body.language, zone=body.zone, schedule=schedule)


def _with_secret(created: CreatedChannel) -> alerts.ChannelWithSecret:
    return alerts.ChannelWithSecret(channel=_channel(created.channel), secret=created.secret)


def _channel(channel: Channel) -> alerts.Channel:
    times = {name: _time_of(getattr(channel.schedule, name)) for name in _TIMES}
    events = None if channel.kinds is None else tuple(sorted(channel.kinds))
    return shaped(alerts.Channel, channel, kind=channel.kind.value, target=channel.shown, events=events, **times)


def _own(person_id: str, own: Own) -> alerts.MemberSubscription:
    times = {name: _time_of(getattr(own.schedule, name)) for name in _TIMES}
    return shaped(alerts.MemberSubscription, own, person_id=person_id, events=tuple(sorted(own.kinds)), **times)


def _time_of(minute: int | None) -> str | None:
    return None if minute is None else f"{minute // 60:02}:{minute % 60:02}"


def _delivery(delivery: Delivery) -> alerts.Delivery:
    return shaped(alerts.Delivery, delivery, kind=delivery.kind.value, status=delivery.status.value)
