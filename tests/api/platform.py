"""A platform with two organizations behind the API, and whoever may call it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell import Meter, Thresholds
from tokenwell.alerts.addresses import Guard
from tokenwell.api.app import create_api
from tokenwell.config import Settings
from tokenwell.service.access.scopes import Scope
from tokenwell.service.suite import Suite
from tokenwell.service.supply.paying import Checkout

OWN, OTHER = "acme", "globex"
_numbers = itertools.count(1)


class Platform:
    """A suite on a database with the organizations `acme` and `globex`, each with a pack and a gateway key, and the API on it."""

    def __init__(self, url: str, clock: FrozenClock, settings: Settings | None = None, checkout: Checkout | None = None) -> None:
        self.clock = clock
        self.meter = Meter(url, thresholds=Thresholds(1_000, 100), clock=clock, tenant_role=tenant_role_on(url))
        self.suite = Suite(self.meter, check_url=Guard().check_url, emergency_limit_tokens=500, checkout=checkout)
        self.secrets = {"platform": self.issue(Scope)}
        for organization_id in (OWN, OTHER):
            self.meter.create_organization(organization_id)
            self.meter.grant(organization_id, 1_000_000, key="first")
            self.secrets[organization_id] = self.suite.keys.create(organization_id, name="Bot").secret
        self.app = create_api(self.suite, settings or Settings())

    def close(self) -> None:
        """Close everything."""
        self.suite.close()
        self.meter.close()

    def issue(self, scopes: Iterable[Scope], organization_id: str | None = None) -> str:
        """Return the secret of a new platform key that may do this in an organization, or in all."""
        created = self.suite.platform_keys.create(name="Backend", scopes=list(scopes), organization_id=organization_id)
        return created.secret

    @asynccontextmanager
    async def client(self, secret: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """Give a client that sends the platform's key, or another."""
        headers = {"authorization": f"Bearer {self.secrets['platform'] if secret is None else secret}"}
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://tokenwell.test", headers=headers) as client:
            yield client


def key(value: str | None = None) -> dict[str, Any]:
    """Return the header of an idempotency key, a new one unless it is given."""
    return {"idempotency-key": value or f"key-{next(_numbers)}"}
