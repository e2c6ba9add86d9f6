"""The demo: an organization with a history, AI services, an administrator and a gateway key, made where they are missing."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from tokenwell.config import Settings
from tokenwell.errors import AccessDenied, AiStopped, ServiceExists
from tokenwell.service.demo import make_demo
from tokenwell.service.meter import Meter
from tokenwell.service.ports import Clock, system_clock
from tokenwell.store.dialects import parse_database
from tokenwell.wiring.opening import open_meter, open_services

DEMO_EMAIL = "admin@acme.example"
"""Who signs in to the demo."""


_SERVICES = {"support-agent": "Support agent", "auto-tagging": "Auto-tagging", "knowledge-base": "Knowledge base"}


class DemoAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How to get into the demo. `password` is None unless it was made just now."""

    email: str
    password: str | None
    secret: str
    key_file: Path


def prepare_demo(settings: Settings, *, now: datetime | None = None) -> DemoAccess:
    """Make the demo's organization, its history up to `now`, its AI services, an administrator and a gateway key, or what of
    these is missing.

    The key is kept in a file beside the database that only its owner can read.
    """

    def open_at(clock: Clock) -> Meter:
        return open_meter(settings, create=True, clock=clock)

    organization = make_demo(open_at, now=now or system_clock())
    with open_services(settings) as suite:
        for service_id, name in _SERVICES.items():
            with suppress(AiStopped, ServiceExists):
                suite.services.create(organization.id, service_id=service_id, name=name, key=f"demo-{service_id}")
        people, keys = suite.people, suite.keys
        password = None
        if people.find(DEMO_EMAIL) is None:
            password = secrets.token_urlsafe(15)
            people.create_admin(email=DEMO_EMAIL, password=password, name="Demo Administrator")
        key_file = _demo_directory(settings) / "demo-key"
        secret = key_file.read_text(encoding="ascii").strip() if key_file.exists() else ""
        try:
            keys.authenticate(secret)
        except AccessDenied:
            secret = keys.create(organization.id, name="Demo").secret
            with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
                file.write(secret + "\n")
    return DemoAccess(email=DEMO_EMAIL, password=password, secret=secret, key_file=key_file)


def _demo_directory(settings: Settings) -> Path:
    database = parse_database(settings.database_url)
    directory = Path(str(database.url.database)).parent if database.is_sqlite else Path("data").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory
