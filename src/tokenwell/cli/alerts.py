"""Alerts: the commands on what happened, on who is told and how, and on what was sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, paged, root, when
from tokenwell.core.happenings import PLATFORM, Actor, ActorKind, EventKind
from tokenwell.service.notices.subscriptions import Channel, ChannelKind, DeliveryStatus, Wishes
from tokenwell.service.ports import Page
from tokenwell.service.suite import Suite

_BY = Actor(kind=ActorKind.COMMAND_LINE, name="Command line")
_EVENTS = [kind.value for kind in EventKind]
_KINDS = [kind.value for kind in ChannelKind if kind is not ChannelKind.OWN]
_organization = click.argument("organization")


@root.group()
def alert() -> None:
    """Alerts: what happened, who is told and how. An organization written `-` is the platform."""


@contextmanager
def _opened(call: Call) -> Iterator[Suite]:
    settings = call.settings()
    with wiring.open_meter(settings) as meter:
        suite = wiring.open_suite(meter, settings)
        try:
            yield suite
        finally:
            suite.close()


def _home(organization: str) -> str:
    return PLATFORM if organization == "-" else organization


@command(alert, "history")
@_organization
@paged
def history(call: Call, organization: str, limit: int, cursor: str | None, everything: bool) -> None:
    """List what happened in an organization, newest first.

    \b
    Examples:
      tokenwell alert history acme
      tokenwell alert history acme --limit 5 --json
    """
    columns = {
        "Time": lambda each: when(each.event.at),
        "Kind": lambda each: each.event.kind.value,
        "Detail": lambda each: each.event.detail,
    }
    table = Table(columns, view=_event_fields)
    with _opened(call) as suite:

        def read(**page: Any) -> Page[Any]:
            return suite.inbox.history(organization, cursor=page["cursor"], limit=min(page["limit"], 500))

        call.show_list(read, table, limit=limit, cursor=cursor, everything=everything)


@command(alert, "add")
@_organization
@click.option("--kind", type=click.Choice(_KINDS), required=True, help="How it tells.")
@click.option("--target", required=True, metavar="ADDRESS", help="An e-mail address, or a webhook's https:// address.")
@click.option("--name", default="", help="What people tell it apart by.")
@click.option("--event", "events", multiple=True, type=click.Choice(_EVENTS), help="Of what; else all.")
@click.option("--language", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Its words.")
@click.option("--zone", default="UTC", show_default=True, help="Its time zone.")
def add(
    call: Call, organization: str, kind: str, target: str, name: str, events: tuple[str, ...], language: str, zone: str
) -> None:
    """Add a channel. The key that webhooks are signed with is shown only here.

    \b
    Examples:
      tokenwell alert add acme --kind email --target ops@acme.example
      tokenwell alert add - --kind webhook --target https://hooks.example.com/in --event state.ai_stopped --json
    """
    kinds = frozenset(EventKind(each) for each in events) or None
    wishes = Wishes(kinds=kinds, language=language, zone=zone)
    with _opened(call) as suite:
        created = suite.subscriptions.add_channel(
            _home(organization), kind=ChannelKind(kind), target=target, name=name, wishes=wishes, by=_BY
        )
    text = f"Channel {created.channel.id} was added."
    if created.secret is not None:
        text = f"{created.secret}\n\n{text} Keep its key: it is not shown again."
    call.show({**_fields(created.channel), "secret": created.secret}, text)


@command(alert, "channels")
@_organization
@paged
def channels(call: Call, organization: str, limit: int, cursor: str | None, everything: bool) -> None:
    """List the channels of an organization, newest first.

    \b
    Examples:
      tokenwell alert channels acme
      tokenwell alert channels -
    """
    columns = {
        "Id": lambda each: each.id,
        "Kind": lambda each: each.kind.value,
        "Name": lambda each: each.name,
        "Address": lambda each: each.shown,
        "Disabled": lambda each: "" if each.disabled_at is None else when(each.disabled_at),
    }
    with _opened(call) as suite:

        def read(**page: Any) -> Page[Any]:
            return suite.subscriptions.channels(_home(organization), cursor=page["cursor"], limit=min(page["limit"], 500))

        call.show_list(read, Table(columns, view=_fields), limit=limit, cursor=cursor, everything=everything)


@command(alert, "test")
@_organization
@click.argument("channel")
def test(call: Call, organization: str, channel: str) -> None:
    """Send a test through a channel. Its delivery tells what came of it.

    \b
    Examples:
      tokenwell alert test acme chn_00000000000000000000000000
    """
    with _opened(call) as suite:
        queued = suite.subscriptions.test(_home(organization), channel)
    call.show({"delivery": queued.id}, f"Delivery {queued.id} is on its way.")


@command(alert, "rotate")
@_organization
@click.argument("channel")
def rotate(call: Call, organization: str, channel: str) -> None:
    """Replace the key of a webhook. For a day both keys sign.

    \b
    Examples:
      tokenwell alert rotate acme chn_00000000000000000000000000
    """
    with _opened(call) as suite:
        secret = suite.subscriptions.rotate(_home(organization), channel, by=_BY).secret
    call.show({"channel": channel, "secret": secret}, f"{secret}\n\nKeep it: it is not shown again.")


@command(alert, "disable")
@_organization
@click.argument("channel")
@click.option("--undo", is_flag=True, help="Enable it again.")
def disable(call: Call, organization: str, channel: str, undo: bool) -> None:
    """Disable a channel, or enable it again: what is to be sent through it meanwhile is dropped.

    \b
    Examples:
      tokenwell alert disable acme chn_00000000000000000000000000
      tokenwell alert disable acme chn_00000000000000000000000000 --undo
    """
    with _opened(call) as suite:
        changed = suite.subscriptions.change_channel(_home(organization), channel, is_disabled=not undo, by=_BY)
    call.show(_fields(changed), f"Channel {channel} is {'enabled' if undo else 'disabled'}.")


@command(alert, "remove")
@_organization
@click.argument("channel")
def remove(call: Call, organization: str, channel: str) -> None:
    """Remove a channel.

    \b
    Examples:
      tokenwell alert remove acme chn_00000000000000000000000000
    """
    with _opened(call) as suite:
        suite.subscriptions.remove_channel(_home(organization), channel, by=_BY)
    call.show({"channel": channel, "removed": True}, f"Channel {channel} was removed.")


@command(alert, "deliveries")
@_organization
@click.argument("channel")
@click.option("--status", type=click.Choice([status.value for status in DeliveryStatus]), help="Only those of this status.")
@paged
def deliveries(
    call: Call, organization: str, channel: str, status: str | None, limit: int, cursor: str | None, everything: bool
) -> None:
    """List what was sent through a channel, newest first.

    \b
    Examples:
      tokenwell alert deliveries acme chn_00000000000000000000000000
      tokenwell alert deliveries acme chn_00000000000000000000000000 --status dead
    """
    columns = {
        "Id": lambda each: each.id,
        "Made": lambda each: when(each.created_at),
        "Status": lambda each: each.status.value,
        "Due": lambda each: when(each.due_at) if each.status is DeliveryStatus.DUE else "",
        "Attempts": lambda each: str(each.attempts),
    }
    wanted = None if status is None else DeliveryStatus(status)
    with _opened(call) as suite:

        def read(**page: Any) -> Page[Any]:
            return suite.subscriptions.deliveries(
                _home(organization), channel, status=wanted, cursor=page["cursor"], limit=min(page["limit"], 500)
            )

        table = Table(columns, right=("Attempts",), view=_delivery_fields)
        call.show_list(read, table, limit=limit, cursor=cursor, everything=everything)


@command(alert, "replay")
@_organization
@click.argument("channel")
@click.argument("delivery")
def replay(call: Call, organization: str, channel: str, delivery: str) -> None:
    """Send a delivery that was given up again, under its own id.

    \b
    Examples:
      tokenwell alert replay acme chn_00000000000000000000000000 dlv_00000000000000000000000000
    """
    with _opened(call) as suite:
        found = suite.subscriptions.replay(_home(organization), channel, delivery, by=_BY)
    call.show(_delivery_fields(found), f"Delivery {delivery} is {found.status.value}.")


def _event_fields(known: Any) -> dict[str, Any]:
    return {"id": known.id, "at": known.event.at, "kind": known.event.kind, "detail": known.event.detail}


def _fields(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "organization_id": channel.organization_id or None,
        "kind": channel.kind,
        "name": channel.name,
        "target": channel.shown,
        "events": None if channel.kinds is None else sorted(channel.kinds),
        "language": channel.language,
        "zone": channel.zone,
        "created_at": channel.created_at,
        "disabled_at": channel.disabled_at,
    }


def _delivery_fields(delivery: Any) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "organization_id": delivery.organization_id or None,
        "event_id": delivery.event_id,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "created_at": delivery.created_at,
        "due_at": delivery.due_at,
        "finished_at": delivery.finished_at,
    }
