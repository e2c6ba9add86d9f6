"""What tests of people share: a suite with quick password hashes and a mailer that keeps what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import argon2
import sqlalchemy

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.core.letters import Letter
from tokenwell.service.identity.people import People
from tokenwell.service.meter import Meter
from tokenwell.service.suite import Suite

PASSWORD = "correct horse battery"
ADA = Actor(kind=ActorKind.PERSON, id="per_ada", name="Ada Root", source="192.0.2.7")


class KeepingMailer:
    """A mailer that keeps the letters instead of sending them."""

    def __init__(self, *, is_ready: bool = True) -> None:
        self.is_ready = is_ready
        self.letters: list[Letter] = []

    def post(self, connection: sqlalchemy.Connection, letter: Letter) -> None:
        """Keep a letter."""
        if self.is_ready:
            self.letters.append(letter)


def quick_people(meter: Meter) -> People:
    """Return people whose passwords are hashed in no time."""
    return People(meter.engine, meter.clock, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@contextmanager
def suite_on(database_url: str, clock: FrozenClock, mailer: KeepingMailer | None = None) -> Iterator[Suite]:
    """Give a suite with two organizations, acme and beta."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        meter.create_organization("acme", name="Acme Parts")
        meter.create_organization("beta")
        suite = Suite(meter, people=quick_people(meter), mailer=mailer or KeepingMailer())
        yield suite
        suite.close()


def address_of(token: str) -> str:
    """Return where a token opens."""
    return f"https://ai.example/open?token={token}"


def token_in(address: str) -> str:
    """Return the token in an address."""
    return address.partition("token=")[2]


def actions_in(suite: Suite, organization_id: str | None = None) -> list[str]:
    """Return what the audit log says was done, the first act first."""
    return [line.act.action for line in reversed(suite.audit.list(organization_id).items)]
