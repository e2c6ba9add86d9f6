"""A house: the services on one database, with the outbox and the deliverer that the server would run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from tests.databases import tenant_role_on
from tokenwell import Meter
from tokenwell.config import Settings
from tokenwell.core.happenings import Event, EventKind
from tokenwell.core.health import Thresholds
from tokenwell.service.notices.subscriptions import ChannelKind, CreatedChannel, Wishes
from tokenwell.service.ports import Clock, new_id, system_clock
from tokenwell.service.suite import Suite
from tokenwell.store.happenings import append_event
from tokenwell.store.notices.deliveries import Delivery, _delivery_from
from tokenwell.store.reader import reading
from tokenwell.store.schema import delivery
from tokenwell.store.writer import transaction
from tokenwell.wiring.alerts import open_deliverer, open_outbox
from tokenwell.wiring.opening import open_suite

LOCAL = "127.0.0.1"


class Once:
    """A turn that ends by itself when nothing is due."""

    is_once = True
    is_over = False

    def __init__(self) -> None:
        self.over = asyncio.Event()


class House:
    """Everything that alerts need, on one database."""

    def __init__(self, suite: Suite, settings: Settings) -> None:
        self.suite = suite
        self.meter = suite.meter
        self.clock = suite.meter.clock
        self.subscriptions = suite.subscriptions
        self.personal = suite.personal
        self.outbox = open_outbox(suite, settings)
        self.deliverer = open_deliverer(suite, settings)
        self.meter.create_organization("acme", name="Acme Corp")

    def add(
        self, target: str, kind: ChannelKind = ChannelKind.WEBHOOK, organization_id: str = "acme", **wishes: Any
    ) -> CreatedChannel:
        """Add a channel."""
        return self.subscriptions.add_channel(organization_id, kind=kind, target=target, wishes=Wishes(**wishes))

    def happen(
        self, kind: EventKind = EventKind.PACK_EXPIRED, organization_id: str = "acme", at: datetime | None = None, **detail: Any
    ) -> str:
        """Append an event; returns its id."""
        event_id = new_id("evt")
        text = msgspec.json.encode(detail).decode()
        with transaction(self.meter.engine) as connection:
            event = Event(organization_id=organization_id, at=at or self.clock(), kind=kind, detail=text)
            append_event(connection, event_id, event)
        return event_id

    def deliveries(self) -> list[Delivery]:
        """Return every delivery there is, oldest first."""
        with reading(self.meter.engine) as connection:
            rows = connection.execute(delivery.select().order_by(delivery.c.delivery_id)).all()
        return [_delivery_from(row._mapping) for row in rows]

    async def deliver(self) -> int:
        """Dispatch and deliver until nothing is due; returns how many deliveries arrived."""
        while await asyncio.to_thread(self.outbox.dispatch):
            pass
        return await self.deliverer.work(Once())


@contextmanager
def open_house(url: str, clock: Clock = system_clock, **settings: Any) -> Iterator[House]:
    """Open a house in which alerts may lead to this machine."""
    given = {"database_url": url, "alerts_allowed_hosts": LOCAL, "public_url": "https://ai.example.com", "secret_key": "k" * 32}
    wanted = Settings(**given | settings)
    with Meter(url, clock=clock, thresholds=Thresholds(1_000, 100), tenant_role=tenant_role_on(url)) as meter:
        suite = open_suite(meter, wanted)
        try:
            yield House(suite, wanted)
        finally:
            suite.close()
