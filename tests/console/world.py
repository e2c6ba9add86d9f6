"""A world for the table of who may do what: two organizations with everything in them, people of every role, and the console."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from datetime import time
from typing import Any
from urllib.parse import urlencode

import argon2
import msgspec
import sqlalchemy
from starlette.routing import Route
from starlette.types import Message

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tests.payments import StripeServer, checkout_at
from tokenwell.alerts.addresses import Guard
from tokenwell.config import Settings
from tokenwell.console import security
from tokenwell.console.app import create_console
from tokenwell.core.happenings import PLATFORM, SYSTEM
from tokenwell.core.health import Thresholds
from tokenwell.service.access.sealing import Sealer
from tokenwell.service.identity.people import People, SignedIn
from tokenwell.service.meter import Meter
from tokenwell.service.notices.subscriptions import ChannelKind
from tokenwell.service.suite import Suite
from tokenwell.store import schema

OWN, OTHER, NOWHERE = "acme", "beta", "none"
"""Two organizations, and the id of none: as long as the other's, so that pages about them can be compared."""

PASSWORD = "correct horse battery"

ADMIN, MEMBER, VIEWER, STRANGER, BOTH, LONELY, BARRED, NOBODY = (
    "platform administrator", "organization administrator", "viewer", "administrator of another",
    "viewer, administrator of another", "member of none", "barred", "nobody",
)  # fmt: skip
ROLES = (ADMIN, MEMBER, VIEWER, STRANGER, BOTH, LONELY, BARRED, NOBODY)

_UNSTEADY = {"session"}
"""Tables that asking alone may change: when a session was last used."""

_QUERIES = {
    "/o/{organization}/request": "?id={request}",
    "/o/{organization}/ledger/values": "?of=model",
    "/o/{organization}/dispute": "?request={request}",
    "/o/{organization}/refund": "?request={request}",
}
"""What addresses need besides their path."""


class Answer(msgspec.Struct, frozen=True):
    """How a request was answered, up to the first piece of an endless stream."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def outcome(self) -> str:
        """`sign in`, `not found`, `forbidden`, or `let in`: what then became of the request is for other tests."""
        wants = self.headers.get("location", "") + self.headers.get("hx-redirect", "")
        if wants.startswith("/sign-in"):
            return "sign in"
        return {401: "sign in", 403: "forbidden", 404: "not found"}.get(self.status, "let in")


class World:
    """Everything on one database. It is asked without a network, so that the whole table takes seconds."""

    def __init__(self, url: str, clock: FrozenClock) -> None:
        self.meter = Meter(url, thresholds=Thresholds(1_000, 100), clock=clock, tenant_role=tenant_role_on(url))
        hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        self.people = People(self.meter.engine, clock, hasher=hasher)
        sealer = Sealer(lambda: ("k" * 48,))
        self.stripe = StripeServer()
        self.suite = Suite(
            self.meter, people=self.people, sealer=sealer, check_url=Guard().check_url, checkout=checkout_at(self.stripe)
        )
        self.offer_id = self.suite.offers.create("One", "1M", price_minor=100, currency="eur", by=SYSTEM).id
        for organization_id in (OWN, OTHER):
            self.meter.create_organization(organization_id)
        self.persons = {role: self._person(role) for role in ROLES if role is not NOBODY}
        self.things = {OWN: self._things(OWN), OTHER: self._things(OTHER)}
        self.visitors = {role: self._sign_in(role) for role in self.persons}
        self.people.disable(self.persons[BARRED])
        self.app = create_console(self.suite, Settings())

    def close(self) -> None:
        """Close everything."""
        self.suite.close()
        self.stripe.close()
        self.meter.close()

    @property
    def routes(self) -> list[Route]:
        """The console's routes, without its static files."""
        return [route for route in self.app.routes if isinstance(route, Route) and not route.path.startswith("/static/")]

    def address(self, path: str, organization_id: str, **names: str) -> str:
        """Return the address of a route, about an organization and the things in it."""
        things = {"organization": organization_id} | self.things.get(organization_id, self.things[OWN]) | names
        return (path.replace(":path}", "}") + _QUERIES.get(path, "")).format_map(things)

    async def ask(
        self,
        role: str,
        method: str,
        address: str,
        form: Mapping[str, str] | None = None,
        *,
        has_token: bool = True,
        part: bool = False,
    ) -> Answer:
        """Send a request as somebody; a form carries the token of their session, unless it is left out."""
        visitor = self.visitors.get(role)
        fields = dict(form or {})
        cookies = {}
        if visitor is not None:
            cookies["tokenwell_session"] = visitor.token
        elif has_token:
            cookies["tokenwell_form"] = "f" * 43
        if method == "POST" and has_token:
            fields[security.FORM_FIELD] = security.mask(visitor.csrf_token if visitor else "f" * 43)
        headers = {"host": "console.test", "origin": "http://console.test"} | ({"hx-request": "true"} if part else {})
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        body = urlencode(fields).encode()
        return await self._answer(method, address, headers, body)

    async def _answer(self, method: str, address: str, headers: dict[str, str], body: bytes) -> Answer:
        path, _, query = address.partition("?")
        if method == "POST":
            headers |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.0"}, "http_version": "1.1", "method": method,
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "scheme": "http", "root_path": "",
            "client": ("192.0.2.1", 1), "server": ("console.test", 80),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        started: list[Message] = []
        pieces: list[bytes] = []
        asked = [{"type": "http.request", "body": body, "more_body": False}]
        is_over = asyncio.Event()

        async def receive() -> Message:
            if asked:
                return asked.pop()
            await is_over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
                if (b"content-type", b"text/event-stream; charset=utf-8") in message["headers"]:
                    is_over.set()  # who asked goes away, or it would never end
            else:
                pieces.append(message.get("body", b""))

        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in started[0]["headers"]}
        return Answer(started[0]["status"], headers, b"".join(pieces))

    def contents(self) -> dict[str, Any]:
        """Return everything that the database holds, but for what asking alone may change."""
        with self.meter.engine.connect() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(sqlalchemy.select(table))))
                for table in schema.metadata.sorted_tables
                if table.name not in _UNSTEADY
            }

    def counts(self) -> tuple[int, ...]:
        """Return how many rows there are in each table: quick, and whatever is done is noted in one."""
        tables = [table for table in schema.metadata.sorted_tables if table.name not in _UNSTEADY]
        with self.meter.engine.connect() as connection:
            counts = (f"(SELECT count(*) FROM {table})" for table in tables)
            return tuple(connection.exec_driver_sql(f"SELECT {', '.join(counts)}").one())

    def _person(self, role: str) -> str:
        create = self.people.create_admin if role is ADMIN else self.people.create_person
        person = create(email=f"{role.replace(' ', '-').replace(',', '')}@example.com", password=PASSWORD)
        for organization_id, its_role in {
            MEMBER: [(OWN, "organization_admin")],
            VIEWER: [(OWN, "viewer")],
            STRANGER: [(OTHER, "organization_admin")],
            BOTH: [(OWN, "viewer"), (OTHER, "organization_admin")],
            BARRED: [(OWN, "organization_admin")],
        }.get(role, []):
            self.people.add_member(organization_id, person.id, its_role)
        return person.id

    def _sign_in(self, role: str) -> SignedIn:
        email = self.people.get(self.persons[role]).email
        return self.people.sign_in(email, PASSWORD, source="192.0.2.1")

    def _things(self, organization_id: str) -> dict[str, str]:
        """Make one of everything that an address can name, and return the ids by their names in addresses.

        The packs of organizations have the same labels, so the other's that is named is one more than there are here.
        """
        suite, meter = self.suite, self.meter
        for _ in range(1 if organization_id == OWN else 2):
            pack = meter.grant(organization_id, 1_000_000).pack
        request = meter.debit(organization_id, 5, session=f"talk-{organization_id}", model="gpt-4o", key=f"ask-{organization_id}")
        doubted = meter.debit(organization_id, 5, key=f"doubted-{organization_id}")
        service = suite.services.create(organization_id, name="Bot").service
        channel = suite.subscriptions.add_channel(organization_id, kind=ChannelKind.EMAIL, target="ops@example.com").channel
        invited = suite.invitations.invite(organization_id, email="new@example.com", role="viewer", address_of=str, by=SYSTEM)
        platform_channel = suite.subscriptions.add_channel(PLATFORM, kind=ChannelKind.EMAIL, target="ops@example.com").channel
        home = suite.invitations.invite(None, email="root@example.com", role="platform_admin", address_of=str, by=SYSTEM)
        export = io.BytesIO(f"request_id,created_at,model,input_tokens\n{request.request_id},2027-01-31,m,5\n".encode())
        return {
            "batch": suite.codes.create(500, 1, by=SYSTEM).batch.id,
            "reconciliation": suite.reconciliations.compare(export, by=SYSTEM).reconciliation.id,
            "pack": f"PK-{pack.number}",
            "request": request.request_id,
            "session": f"talk-{organization_id}",
            "service": service.id,
            "key": suite.keys.create(organization_id, name="Key").key.id,
            "channel": channel.id,
            "schedule": suite.schedules.create(
                organization_id, 500, unit="month", first_day=meter.clock().date(), at=time(23), by=SYSTEM
            ).id,
            "dispute": suite.disputes.open(organization_id, doubted.request_id, note="Too much", by=SYSTEM).id,
            "offer": self.offer_id,
            "purchase": suite.purchases.start(organization_id, self.offer_id, by=SYSTEM).id,
            "topup": suite.topups.ask(organization_id, 500, by=SYSTEM).id,
            "person": self.persons[VIEWER if organization_id == OWN else STRANGER],
            "invitation": invited.invitation.id,
            "platform_channel": platform_channel.id,
            "platform_invitation": home.invitation.id,
        }
