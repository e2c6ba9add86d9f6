"""Throttling: failures are counted in the database, whichever process answered, so that guessing is bounded.

An attempt is counted before it is tried, in a transaction of its own: however many try at once, each sees those before it. One
that succeeds is taken back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec
import sqlalchemy

from tokenwell.errors import SignInThrottled
from tokenwell.service.ports import Clock, new_id
from tokenwell.store.identity import people as store
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

FAILURE_WINDOW = timedelta(minutes=15)
"""For how long a failure counts."""


class Attempt(msgspec.Struct, frozen=True):
    """One attempt under way."""

    id: str
    subjects: tuple[str, ...]
    at: datetime

    def forgive(self, connection: sqlalchemy.Connection) -> None:
        """Take the attempt back: it was no failure. Prunes what counts no more."""
        store.remove_failure(connection, self.subjects, self.at, self.id)
        store.prune_failures(connection, self.at - FAILURE_WINDOW)


class Throttle:
    """Counts attempts against what they are made at and where they come from."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def attempt(self, limits: Mapping[str, int]) -> Attempt:
        """Count an attempt against each subject; `limits` says how many failures bar it. Raises SignInThrottled."""
        now = self._clock()
        attempt = Attempt(new_id("try"), tuple(limits), now)
        with transaction(self._engine) as connection:
            store.add_failure(connection, attempt.subjects, now, attempt.id)
        retry_at = self._retry_at(limits, now)
        if retry_at is not None:
            with transaction(self._engine) as connection:
                store.remove_failure(connection, attempt.subjects, now, attempt.id)
            raise SignInThrottled(retry_after_seconds=max(1, int((retry_at - now).total_seconds())))
        return attempt

    def _retry_at(self, limits: Mapping[str, int], now: datetime) -> datetime | None:
        """Return when the subjects may try again, None if now. The attempt under way is among those counted."""
        latest: datetime | None = None
        with reading(self._engine) as connection:
            for subject, limit in limits.items():
                failures = store.failures_of(connection, subject, now - FAILURE_WINDOW, limit + 1)
                if len(failures) > limit:
                    free_at = failures[-1] + FAILURE_WINDOW
                    latest = free_at if latest is None else max(latest, free_at)
        return latest


def subject_of(kind: str, text: str) -> str:
    """Return what failures are counted under: hashed, so that no list of addresses that were tried is kept."""
    return f"{kind}:{sha256(text.encode(errors='replace')).hexdigest()[:32]}"


def source_subject(source: str) -> str:
    """Return what failures from a network address are counted under."""
    return subject_of("source", _network_of(source))


def _network_of(source: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 that one customer is given on IPv6."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
