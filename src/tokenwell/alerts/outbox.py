"""The outbox: each event becomes one delivery for every channel that wants it, in one transaction with the note that it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import sqlalchemy

from tokenwell.core.alerts import ABOUT, AT_ONCE, FOR_ORGANIZATION, FOR_PLATFORM, Schedule, due_at
from tokenwell.core.happenings import PLATFORM, Event
from tokenwell.store.notices import channels, outbox
from tokenwell.store.notices.channels import Channel, ChannelKind, Reader
from tokenwell.store.notices.deliveries import DeliveryKind, NewDelivery
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

BATCH = 200
"""How many events are looked at in one go."""

_UTC = "UTC"
_BUNDLED = (ChannelKind.OWN, ChannelKind.EMAIL, ChannelKind.SLACK, ChannelKind.CHAT)


class Outbox:
    """Turns events into deliveries. Any number of processes may do so at once: an event and a channel make one delivery.

    `has_mail` says whether there is a mail server; without one nobody is told by e-mail.
    """

    def __init__(
        self, engine: sqlalchemy.Engine, clock: Callable[[], datetime], new_id: Callable[[str], str], *, has_mail: bool
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._new_id = new_id
        self._has_mail = has_mail

    def dispatch(self, is_over: Callable[[], bool] = lambda: False) -> int:
        """Make deliveries of the events that have none yet, organization by organization; returns of how many events."""
        with reading(self._engine) as connection:
            due = outbox.due_events(connection, BATCH)
        count = 0
        for organization_id, event_ids in due.items():
            if is_over():
                break
            with transaction(self._engine) as connection:
                count += self._dispatch(connection, organization_id, event_ids)
        return count

    def _dispatch(self, connection: sqlalchemy.Connection, organization_id: str, event_ids: list[str]) -> int:
        events = outbox.claim_events(connection, organization_id, event_ids)
        if not events:
            return 0
        now = self._clock()
        audience = _Audience(connection, organization_id, has_mail=self._has_mail)
        deliveries = [
            self._delivery(event_id, event, home, channel_id, channel, now)
            for event_id, event in events
            for home, channel_id, channel in audience.of(event)
        ]
        outbox.add_deliveries(connection, deliveries)
        outbox.mark_dispatched(connection, organization_id, [event_id for event_id, _ in events], now)
        return len(events)

    def _delivery(
        self, event_id: str, event: Event, home: str, channel_id: str, channel: Channel | None, now: datetime
    ) -> NewDelivery:
        zone, schedule = (channel.zone, channel.schedule) if channel is not None else (_UTC, AT_ONCE)
        if channel is not None and channel.kind not in _BUNDLED:
            schedule = Schedule()  # a program is told at once: it knows no night
        at = due_at(now, ZoneInfo(zone), schedule, is_urgent=ABOUT[event.kind].is_urgent)
        return NewDelivery(
            organization_id=event.organization_id,
            id=self._new_id("dlv"),
            channel_home=home,
            channel_id=channel_id,
            kind=DeliveryKind.EVENT,
            event_id=event_id,
            created_at=now,
            due_at=at,
            is_bundled=at > now,
        )


class _Audience:
    """Who is told of an organization's events: its channels and the platform's, and the people of both."""

    def __init__(self, connection: sqlalchemy.Connection, organization_id: str, *, has_mail: bool) -> None:
        homes = dict.fromkeys((organization_id, PLATFORM))
        self._channels = {home: channels.channels_of(connection, home) for home in homes}
        self._readers = {home: channels.readers_of(connection, home) if has_mail else [] for home in homes}
        self._has_mail = has_mail

    def of(self, event: Event) -> Iterator[tuple[str, str, Channel | None]]:
        """Give the home, the id and the wishes (None: those of somebody who has not said any) of each who is told."""
        told: set[str] = set()
        for home, found in self._channels.items():
            own = {each.id: each for each in found if each.kind is ChannelKind.OWN}
            for each in found:
                is_able = self._has_mail or each.kind is not ChannelKind.EMAIL
                if each.kind is not ChannelKind.OWN and is_able and each.wants(event.kind):
                    yield home, each.id, each
            for reader in self._readers[home]:
                wishes = own.get(reader.person_id)
                # Somebody who administers the organization and the platform is told once.
                if reader.person_id not in told and _wants(reader, wishes, event, home):
                    told.add(reader.person_id)
                    yield home, reader.person_id, wishes


def _wants(reader: Reader, wishes: Channel | None, event: Event, home: str) -> bool:
    if wishes is not None:
        return wishes.wants(event.kind)
    return reader.is_admin and event.kind in (FOR_PLATFORM if home == PLATFORM else FOR_ORGANIZATION)
