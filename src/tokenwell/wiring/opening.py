"""Opening: the ledger and the services on it, as the settings say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import sqlalchemy
import structlog
from alembic.util import CommandError

from tokenwell.config import Settings
from tokenwell.core.health import Thresholds
from tokenwell.errors import StoreError, StoreUnavailable
from tokenwell.service.access.keys import Keys
from tokenwell.service.access.sealing import Sealer, keys_in
from tokenwell.service.identity.people import People
from tokenwell.service.identity.provider import Provider, ProviderSettings
from tokenwell.service.identity.single_sign_on import SingleSignOn
from tokenwell.service.meter import Meter
from tokenwell.service.notices.post import Post
from tokenwell.service.ports import Clock, system_clock
from tokenwell.service.ratebook import Unrated
from tokenwell.service.suite import Suite
from tokenwell.store.dialects import parse_database, translate
from tokenwell.store.migration import revision_of
from tokenwell.wiring.guards import open_guard
from tokenwell.wiring.payments import open_checkout

OPEN_ATTEMPTS = 30
"""How often a database that cannot be reached is tried as the server starts, a second apart."""

_log = structlog.get_logger("tokenwell.server")


def open_meter(settings: Settings, *, create: bool = False, clock: Clock = system_clock) -> Meter:
    """Open the ledger, its schema brought up to date. Raises StoreUnavailable where it cannot be reached.

    An SQLite file that does not exist is made only if `create` says so: elsewhere its name is most likely misspelt.
    """
    database = parse_database(settings.database_url)
    if database.is_sqlite:
        file = Path(str(database.url.database))
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        elif not file.exists():
            raise StoreUnavailable(f"there is no database at {file}; tokenwell migrate makes one")
    try:
        meter = Meter(
            settings.database_url,
            thresholds=Thresholds(settings.warning_threshold_tokens, settings.minimum_reserve_tokens),
            clock=clock,
            queue_limit=settings.queue_limit,
            batch_limit=settings.batch_limit,
            tenant_role=settings.tenant_role,
        )
        meter.ratebook.unrated = Unrated(settings.unrated_models)
    except CommandError as error:
        raise StoreUnavailable(f"the database is not one of this version of Tokenwell: {error}") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise translate(error) or error from error
    return meter


def open_patiently(settings: Settings, clock: Clock) -> Meter:
    """Open the ledger, waiting for a database that cannot be reached yet. Raises StoreError."""
    for _ in range(OPEN_ATTEMPTS - 1):
        try:
            return open_meter(settings, create=True, clock=clock)
        except StoreError as error:
            if not error.retryable:
                raise
            _log.warning("database_not_reached", error=error.message)
            time.sleep(1)
    return open_meter(settings, create=True, clock=clock)


def open_suite(meter: Meter, settings: Settings) -> Suite:
    """Return every service on the meter's database. The suite is to be closed before the meter."""
    sealer = open_sealer(settings)
    mailer = Post(sealer, meter.clock, is_ready=bool(settings.smtp_host))
    people = open_people(meter, settings)
    return Suite(
        meter,
        people=people,
        sealer=sealer,
        mailer=mailer,
        check_url=open_guard(settings).check_url,
        sign_on=open_sign_on(people, sealer, settings),
        emergency_limit_tokens=settings.emergency_limit_tokens,
        checkout=open_checkout(settings),
    )


def open_sign_on(people: People, sealer: Sealer, settings: Settings) -> SingleSignOn | None:
    """Return single sign-on as the settings say, None where they name no provider. Raises RequestInvalid."""
    if not settings.oidc_issuer:
        return None
    provider = ProviderSettings(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        allows_loopback=settings.oidc_allow_loopback,
    )
    return SingleSignOn(
        people,
        sealer,
        Provider(provider, people.clock),
        name=settings.oidc_name,
        groups_claim=settings.oidc_groups_claim,
        roles=settings.oidc_roles,
    )


def open_sealer(settings: Settings) -> Sealer:
    """Return what seals secrets: with the key that the settings give, else with the key file, made at first use."""
    file = Path(settings.secret_key_file) if settings.secret_key_file else data_directory(settings) / "tokenwell.key"
    return Sealer(keys_in(settings.secret_key, file))


def data_directory(settings: Settings) -> Path:
    """Return where files are kept whose place no setting names: beside the database, or in `data` where that is no file."""
    database = parse_database(settings.database_url)
    return Path(str(database.url.database)).parent if database.is_sqlite else Path("data").absolute()


def spool_directory(settings: Settings) -> Path:
    """Return where the gateway writes down what must outlive its process."""
    return Path(settings.spool_directory) if settings.spool_directory else data_directory(settings) / "spool"


def open_people(meter: Meter, settings: Settings) -> People:
    """Return the people in the meter's database."""
    return People(meter.engine, meter.clock, session_lifetime=timedelta(hours=settings.session_hours))


@contextmanager
def open_keys(meter: Meter) -> Iterator[Keys]:
    """Give the gateway keys in the meter's database."""
    keys = Keys(meter.engine, meter.clock)
    try:
        yield keys
    finally:
        keys.close()


@contextmanager
def open_services(settings: Settings) -> Iterator[Suite]:
    """Give every service on the settings' database, opened for a while."""
    with open_meter(settings) as meter:
        suite = open_suite(meter, settings)
        try:
            yield suite
        finally:
            suite.close()


def revision_in(meter: Meter) -> str | None:
    """Return the revision that the database's schema is at."""
    return revision_of(meter.engine)
