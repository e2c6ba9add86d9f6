"""Subscriptions: who is told of what and how, what was sent, and what each person has read."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from urllib.parse import urlsplit

import msgspec
import sqlalchemy

from tokenwell.core.alerts import (
    ATTEMPTS,
    CHANNEL_PURPOSE,
    Secret,
)
from tokenwell.core.happenings import PLATFORM, SYSTEM, Act, Actor
from tokenwell.core.identifiers import check_key, check_label
from tokenwell.errors import ChannelNotFound, DeliveryNotFound, RequestInvalid
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.notices.inbox import check_organization
from tokenwell.service.notices.wishes import Own, Wishes
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Clock, Page, new_id
from tokenwell.store.access import creations
from tokenwell.store.happenings import append_act
from tokenwell.store.notices import channels as store
from tokenwell.store.notices import deliveries
from tokenwell.store.notices.channels import Channel, ChannelKind
from tokenwell.store.notices.deliveries import Attempt, Delivery, DeliveryKind, DeliveryStatus, NewDelivery
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

__all__ = ["Attempt", "Channel", "ChannelKind", "CreatedChannel", "Delivery", "DeliveryStatus", "Own", "Subscriptions", "Wishes"]

NAME_LIMIT = 100
CHANNELS_LIMIT = 50
"""How many channels an organization may have."""

ROTATION = timedelta(hours=24)
"""How long the old signing key is used beside the new one."""

_EMAIL = re.compile(r"[^\s@<>,;\"\x00-\x1f\x7f]{1,64}@[^\s@<>,;\"\x00-\x1f\x7f]{1,189}")


class CreatedChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that is new, or has a new key. `secret`, which webhooks are signed with, is told only here."""

    channel: Channel
    secret: str | None
    replayed: bool = False


class Subscriptions:
    """The channels, deliveries and read marks in one database. Its methods block. `check_url` refuses what must not be reached.

    An organization of PLATFORM stands for the platform: its channels are told of every organization.
    """

    def __init__(
        self, engine: sqlalchemy.Engine, clock: Clock, sealer: Sealer, *, check_url: Callable[[str], str], has_mail: bool
    ) -> None:
        self.has_mail = has_mail
        self._engine = engine
        self._clock = clock
        self._sealer = sealer
        self._check_url = check_url

    def add_channel(
        self,
        organization_id: str,
        *,
        kind: ChannelKind,
        target: str,
        name: str = "",
        wishes: Wishes | None = None,
        key: str | None = None,
        by: Actor = SYSTEM,
    ) -> CreatedChannel:
        """Add a channel; again under the same idempotency key gives the first one, without its secret. Raises RequestInvalid,
        TargetRefused, OrganizationNotFound, IdempotencyConflict."""
        wishes = wishes or Wishes()
        shown = self._checked_target(kind, target)
        keys = (_fresh_key(),) if kind is ChannelKind.WEBHOOK else ()
        now = self._clock()
        channel = Channel(
            organization_id=organization_id,
            id=new_id("chn"),
            kind=kind,
            name=_checked_name(name) or shown,
            shown=shown,
            sealed=self._seal(Secret(target=target, keys=keys)),
            kinds=wishes.kinds,
            language=wishes.language,
            zone=wishes.zone,
            schedule=wishes.schedule,
            created_at=now,
            changed_at=now,
        )
        with transaction(self._engine, organization_id or None) as connection:
            check_organization(connection, organization_id)
            told = {"what": "channel", "kind": kind, "target": _digest(target), "name": name, "wishes": wishes}
            if first := self._first(connection, organization_id, key, channel.id, told):
                return CreatedChannel(channel=self._find(connection, organization_id, first), secret=None, replayed=True)
            if len(store.channels_of(connection, organization_id, limit=CHANNELS_LIMIT, with_own=False)) >= CHANNELS_LIMIT:
                raise RequestInvalid(f"there are {CHANNELS_LIMIT} channels already", field="channel")
            store.put_channel(connection, channel)
            self._note(connection, "channel.add", organization_id, channel.id, by, after=_told(channel))
        return CreatedChannel(channel=channel, secret=keys[0] if keys else None)

    def change_channel(
        self,
        organization_id: str,
        channel_id: str,
        *,
        name: str | None = None,
        wishes: Wishes | None = None,
        is_disabled: bool | None = None,
        by: Actor = SYSTEM,
    ) -> Channel:
        """Change a channel's name or wishes, disable or enable it; what is None stays. Raises ChannelNotFound, RequestInvalid."""
        now = self._clock()
        with transaction(self._engine, organization_id or None) as connection:
            before = self._find(connection, organization_id, channel_id)
            after = msgspec.structs.replace(before, changed_at=now)
            if name is not None:
                after = msgspec.structs.replace(after, name=_checked_name(name) or before.shown)
            if wishes is not None:
                after = _with(after, wishes)
            if is_disabled is not None:
                after = msgspec.structs.replace(after, disabled_at=(before.disabled_at or now) if is_disabled else None)
            if after == msgspec.structs.replace(before, changed_at=now):
                return before
            store.put_channel(connection, after)
            self._note(connection, "channel.change", organization_id, channel_id, by, before=_told(before), after=_told(after))
        return after

    def rotate(self, organization_id: str, channel_id: str, *, key: str | None = None, by: Actor = SYSTEM) -> CreatedChannel:
        """Give a webhook a new signing key, told only here. For a day deliveries are signed with the old one as well. Again under
        the same idempotency key it changes nothing, and tells no secret. Raises ChannelNotFound, IdempotencyConflict,
        RequestInvalid for a channel that signs nothing."""
        now, secret = self._clock(), _fresh_key()
        with transaction(self._engine, organization_id or None) as connection:
            channel = self._find(connection, organization_id, channel_id)
            if channel.kind is not ChannelKind.WEBHOOK:
                raise RequestInvalid("only webhooks are signed", field="channel_id")
            if self._first(connection, organization_id, key, channel_id, {"what": "channel.rotate", "channel": channel_id}):
                return CreatedChannel(channel=channel, secret=None, replayed=True)
            before = msgspec.json.decode(self._sealer.open(channel.sealed, purpose=CHANNEL_PURPOSE), type=Secret)
            after = Secret(target=before.target, keys=(secret, *before.keys[:1]), old_until=now + ROTATION)
            channel = msgspec.structs.replace(channel, sealed=self._seal(after), changed_at=now)
            store.put_channel(connection, channel)
            self._note(connection, "channel.rotate", organization_id, channel_id, by)
        return CreatedChannel(channel=channel, secret=secret)

    def remove_channel(self, organization_id: str, channel_id: str, *, key: str | None = None, by: Actor = SYSTEM) -> None:
        """Remove a channel; what was to be sent through it is dropped. Again under the same idempotency key changes nothing.
        Raises ChannelNotFound, IdempotencyConflict."""
        with transaction(self._engine, organization_id or None) as connection:
            if self._first(connection, organization_id, key, channel_id, {"what": "channel.remove", "channel": channel_id}):
                return
            channel = self._find(connection, organization_id, channel_id)
            store.remove_channel(connection, organization_id, channel_id)
            self._note(connection, "channel.remove", organization_id, channel_id, by, before=_told(channel))

    def test(self, organization_id: str, channel_id: str, *, key: str | None = None) -> Delivery:
        """Queue a test through a channel; its delivery tells what came of it. Again under the same idempotency key gives the first
        one. Raises ChannelNotFound, IdempotencyConflict, DeliveryNotFound once the first one is forgotten."""
        now, delivery_id = self._clock(), new_id("dlv")
        with transaction(self._engine, organization_id or None) as connection:
            self._find(connection, organization_id, channel_id)
            told = {"what": "channel.test", "channel": channel_id}
            if first := self._first(connection, organization_id, key, delivery_id, told):
                return self._find_delivery(connection, organization_id, channel_id, first)
            new = NewDelivery(
                organization_id=organization_id,
                id=delivery_id,
                channel_home=organization_id,
                channel_id=channel_id,
                kind=DeliveryKind.TEST,
                created_at=now,
                due_at=now,
            )
            deliveries.add_delivery(connection, new)
            return self._find_delivery(connection, organization_id, channel_id, delivery_id)

    def channels(self, organization_id: str, *, cursor: str | None = None, limit: int = 50) -> Page[Channel]:
        """Return a page of the channels, newest first, people's own wishes left out. Raises OrganizationNotFound."""
        check_limit(limit)
        with reading(self._engine, organization_id or None) as connection:
            check_organization(connection, organization_id)
            found = store.channels_of(connection, organization_id, before=cursor, limit=limit + 1, with_own=False)
        return page_of(found, limit)

    def channel(self, organization_id: str, channel_id: str) -> Channel:
        """Return a channel. Raises ChannelNotFound."""
        with reading(self._engine, organization_id or None) as connection:
            return self._find(connection, organization_id, channel_id)

    def deliveries(
        self,
        organization_id: str,
        channel_id: str,
        *,
        status: DeliveryStatus | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Delivery]:
        """Return a page of what was sent or is to be sent through a channel, newest first. Raises ChannelNotFound."""
        check_limit(limit)
        with reading(self._engine, organization_id or None) as connection:
            self._find(connection, organization_id, channel_id)
            lane = (organization_id, channel_id)
            found = deliveries.deliveries_of(connection, lane, status=status, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def attempts(self, organization_id: str, channel_id: str, delivery_id: str) -> tuple[Delivery, tuple[Attempt, ...]]:
        """Return a delivery and its attempts, newest first. Raises ChannelNotFound, DeliveryNotFound."""
        with reading(self._engine, organization_id or None) as connection:
            found = self._find_delivery(connection, organization_id, channel_id, delivery_id)
            made = deliveries.attempts_of(connection, found.organization_id, delivery_id, ATTEMPTS)
        return found, tuple(made)

    def replay(self, organization_id: str, channel_id: str, delivery_id: str, *, by: Actor = SYSTEM) -> Delivery:
        """Send a dead delivery again, under its own id. One that is not dead is left as it is. Raises ChannelNotFound,
        DeliveryNotFound."""
        with transaction(self._engine, organization_id or None) as connection:
            found = self._find_delivery(connection, organization_id, channel_id, delivery_id)
            if deliveries.replay(connection, found.organization_id, delivery_id, self._clock()):
                self._note(connection, "delivery.replay", organization_id, delivery_id, by)
            return deliveries.find_delivery(connection, found.organization_id, delivery_id) or found

    def replay_all(self, organization_id: str, channel_id: str, *, by: Actor = SYSTEM) -> int:
        """Send every dead delivery of a channel again; returns how many there were. Raises ChannelNotFound."""
        with transaction(self._engine, organization_id or None) as connection:
            self._find(connection, organization_id, channel_id)
            count = deliveries.replay_all(connection, (organization_id, channel_id), self._clock())
            if count:
                after = msgspec.json.encode({"deliveries": count}).decode()
                self._note(connection, "channel.replay", organization_id, channel_id, by, after=after)
        return count

    def _first(
        self, connection: sqlalchemy.Connection, organization_id: str, key: str | None, subject: str, told: Mapping[str, object]
    ) -> str | None:
        """Return what was made under an idempotency key before, None where nothing was: then `subject` is."""
        if key is None:
            return None
        return creations.claim(connection, organization_id, check_key(key), subject, told, self._clock())

    def _find(self, connection: sqlalchemy.Connection, organization_id: str, channel_id: str) -> Channel:
        found = store.find_channel(connection, organization_id, channel_id)
        if found is None or found.kind is ChannelKind.OWN:
            raise ChannelNotFound(channel_id=channel_id)
        return found

    def _find_delivery(
        self, connection: sqlalchemy.Connection, organization_id: str, channel_id: str, delivery_id: str
    ) -> Delivery:
        self._find(connection, organization_id, channel_id)
        homes = [organization_id]
        if organization_id == PLATFORM:
            homes += deliveries.organizations_in(connection, channel_id, delivery_id)
        for home in homes:
            found = deliveries.find_delivery(connection, home, delivery_id)
            if found is not None and (found.channel_home, found.channel_id) == (organization_id, channel_id):
                return found
        raise DeliveryNotFound(delivery_id=delivery_id)

    def _checked_target(self, kind: ChannelKind, target: str) -> str:
        """Return a target as people may see it. Raises RequestInvalid, TargetRefused."""
        if kind is ChannelKind.OWN:
            raise RequestInvalid("a person's own wishes are no channel to add", field="kind")
        if kind is ChannelKind.EMAIL:
            if not _EMAIL.fullmatch(target):
                raise RequestInvalid("the e-mail address cannot be read", field="target")
            return target
        parts = urlsplit(self._check_url(target))
        origin = f"{parts.scheme}://{parts.netloc}"
        return origin + parts.path if kind is ChannelKind.WEBHOOK else f"{origin}/…"

    def _seal(self, secret: Secret) -> bytes:
        return self._sealer.seal(msgspec.json.encode(secret).decode(), purpose=CHANNEL_PURPOSE)

    def _note(
        self,
        connection: sqlalchemy.Connection,
        action: str,
        organization_id: str,
        subject: str,
        by: Actor,
        *,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        act = Act(
            organization_id=organization_id, at=self._clock(), actor=by, action=action, subject=subject, before=before, after=after
        )
        append_act(connection, new_id("act"), act)


def _fresh_key() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _digest(target: str) -> str:
    """Return what tells whether a target is the same, and not what it is: an address may be a secret."""
    return hashlib.sha256(target.encode()).hexdigest()


def _checked_name(name: str) -> str:
    return (check_label(name, field="name", limit=NAME_LIMIT) or "").strip()


def _with(channel: Channel, wishes: Wishes) -> Channel:
    return msgspec.structs.replace(
        channel, kinds=wishes.kinds, language=wishes.language, zone=wishes.zone, schedule=wishes.schedule
    )


def _told(channel: Channel) -> str:
    """Return what the audit log has of a channel."""
    told = {
        "kind": channel.kind,
        "name": channel.name,
        "target": channel.shown,
        "kinds": None if channel.kinds is None else sorted(channel.kinds),
        "language": channel.language,
        "zone": channel.zone,
        "schedule": channel.schedule,
        "disabled_at": channel.disabled_at,
    }
    return msgspec.json.encode(told).decode()
