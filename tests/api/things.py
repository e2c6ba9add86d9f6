"""Things that addresses and bodies of operations name: packs, holds, keys, requests, made anew for each operation."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date
from typing import Any

from tests.api.platform import OWN, Platform
from tests.api.requests import Operation
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.access.scopes import Scope
from tokenwell.service.notices.subscriptions import ChannelKind


class Things:
    """Makes what the address or the body of an operation names, anew for each."""

    def __init__(self, platform: Platform) -> None:
        self.suite = platform.suite
        self.meter = platform.meter
        self.count = 0

    def names(self, operation: Operation) -> dict[str, str]:
        """Return the ids of what the address of an operation names, but for the organization."""
        parts = [part.strip("{}") for part in operation.path.split("/") if part.startswith("{")]
        return {name: self.named(name, operation) for name in parts if name != "organization_id"}

    def named(self, name: str, operation: Operation) -> str:
        """Return the id of a thing that an address names."""
        self.count += 1
        if name == "key_id" and "platform" in operation.id:
            return self.suite.platform_keys.create(name="More", scopes=[Scope.PACKS_READ]).key.id
        make: Callable[[], str] = getattr(self, name)
        return make()

    def pack(self) -> str:
        """Return the id of a new pack."""
        return self.meter.grant(OWN, 5, expires_at=None if self.count % 2 else self.meter.clock().replace(year=2029)).pack.id

    def hold_id(self) -> str:
        """Return the id of an open hold."""
        return self.meter.open_hold(OWN, 5).hold.id

    def service_id(self) -> str:
        """Return the id of a new service."""
        return self.suite.services.create(OWN, name=f"Service {self.count}").service.id

    def key_id(self) -> str:
        """Return the id of a new gateway key."""
        return self.suite.keys.create(OWN, name="More").key.id

    def topup_id(self) -> str:
        """Return the id of an open request for tokens."""
        return self.suite.topups.ask(OWN, 5, by=SYSTEM).id

    def schedule_id(self) -> str:
        """Return the id of a recurring grant."""
        return self.suite.schedules.create(OWN, 5, unit="month", first_day=date(2099, 1, 1), by=SYSTEM).id

    def batch_id(self) -> str:
        """Return the id of a batch of codes."""
        return self.suite.codes.create(5, 1, by=SYSTEM).batch.id

    def request_id(self) -> str:
        """Return the id of a charged request."""
        return self.meter.debit(OWN, 5).request_id

    def dispute_id(self) -> str:
        """Return the id of an open dispute."""
        return self.suite.disputes.open(OWN, self.request_id(), note="Why?", by=SYSTEM).id

    def channel_id(self) -> str:
        """Return the id of a webhook."""
        target = f"https://hooks.acme.example/{self.count}"
        self.channel = self.suite.subscriptions.add_channel(OWN, kind=ChannelKind.WEBHOOK, target=target).channel.id
        return self.channel

    def delivery_id(self) -> str:
        """Return the id of a delivery of the last webhook."""
        return self.suite.subscriptions.test(OWN, self.channel).id

    def person_id(self) -> str:
        """Return the id of a member."""
        person = self.suite.people.create_person(email=f"p{self.count}@acme.example", password="long enough 123", name="P")
        self.suite.people.add_member(OWN, person.id, "viewer")
        return person.id

    def session(self) -> str:
        """Return a session that has a charged request."""
        self.meter.debit(OWN, 5, session="chat-17")
        return "chat-17"

    def reconciliation_id(self) -> str:
        """Return the id of a comparison."""
        export = b'{"request_id":"a","created_at":"2027-01-31","model":"gpt-5","input_tokens":1}'
        return self.suite.reconciliations.compare(io.BytesIO(export), name="usage.jsonl", by=SYSTEM).reconciliation.id

    def offer_id(self) -> str:
        """Return the id of an offer."""
        return self.suite.offers.create("Small", 5, price_minor=4_900, currency="eur", by=SYSTEM).id

    def purchase_id(self) -> str:
        """Return the id of a purchase that is not paid."""
        return self.suite.purchases.start(OWN, self.offer_id(), by=SYSTEM).id

    def invitation_id(self) -> str:
        """Return the id of an open invitation."""
        email = f"i{self.count}@acme.example"
        return self.suite.invitations.invite(OWN, email=email, role="viewer", address_of=str).invitation.id

    def body(self, operation: Operation) -> Any:
        """Return a body that can be used: the example's, but for what names a thing."""
        if operation.id == "create_organization":
            return {"id": "initech", "name": "Initech"}
        if operation.id == "redeem_code":
            return {"code": self.suite.codes.create(5, 1, by=SYSTEM).codes[0]}
        if operation.id == "start_purchase":
            return {"offer_id": self.offer_id()}
        if operation.body is not None and "request_id" in operation.body:
            return operation.body | {"request_id": self.request_id()}
        return operation.body
