"""Outages: what goes on while the database cannot be reached, for the organizations whose policy is to be served then.

Such a call runs on no hold. It is written down before it is sent on, as large as it may come to, and charged once the database is
back. For how long that goes on, and how much may wait to be charged, the policy says; the last known balance bounds it too.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from tokenwell.core.health import State
from tokenwell.core.receipts import Answer
from tokenwell.core.usage import Usage
from tokenwell.errors import NotFound
from tokenwell.gateway.calls import Call
from tokenwell.gateway.keeping import Keeping
from tokenwell.gateway.metrics import AWAY
from tokenwell.gateway.spool import SpoolFull
from tokenwell.service.access.keys import GatewayKey, Keys
from tokenwell.service.access.services import Lane
from tokenwell.service.meter import Meter
from tokenwell.service.policies import Policies, Policy

KEY_MEMORY = timedelta(minutes=5)
"""How long before an outage a key must have been found valid to be believed during it."""

NEW_OUTAGE = timedelta(minutes=1)
"""After so long without a failure the next one begins an outage of its own."""

_STANDINGS_AT_ONCE = 200

log = structlog.get_logger("tokenwell.gateway")


class Standing(NamedTuple):
    """What was last known of an organization."""

    balance_tokens: int
    state: State


class Outages:
    """Knows whether the database can be reached, and who is served while it cannot. `failed` is set with each failure.

    Without files that outlive the process nobody is served then.
    """

    def __init__(self, meter: Meter, policies: Policies, keeping: Keeping) -> None:
        self.failed = asyncio.Event()
        self.is_away = False
        self._meter = meter
        self._policies = policies
        self._keeping = keeping
        self._began_at: datetime | None = None
        self._failed_at: datetime | None = None
        self._serving: dict[str, Policy] = {}
        self._standings: dict[str, Standing] = {}

    def fail(self) -> None:
        """Note that the database could not be reached."""
        now = self._meter.clock()
        if self._began_at is None or self._failed_at is None or now - self._failed_at > NEW_OUTAGE:
            self._began_at = now
            log.warning("database_away", serving=len(self._serving))
        self._failed_at = now
        self.is_away = True
        self.failed.set()

    def hear(self, answer: Answer) -> None:
        """Note what the database has taken, and what it says of the organization's balance."""
        if self._began_at is not None:
            self._began_at = None
            self.is_away = False
            log.info("database_back")
        if answer.organization_id in self._serving:
            self._standings[answer.organization_id] = Standing(answer.balance_tokens, answer.state)

    async def refresh(self) -> None:
        """Read who is to be served in an outage, and how those stand of whom nothing is known yet. Raises StoreError."""
        if self._keeping.spool is None:
            return
        self._serving = serving = await asyncio.to_thread(self._policies.serving)
        self._standings = {each: standing for each, standing in self._standings.items() if each in serving}
        unknown = [each for each in serving if each not in self._standings][:_STANDINGS_AT_ONCE]
        for organization_id in unknown:
            try:
                balance = await self._meter.aio.balance(organization_id)
            except NotFound:
                continue
            self._standings.setdefault(organization_id, Standing(balance.balance_tokens, balance.state))

    def serves(self, key: GatewayKey) -> bool:
        """Return whether the database is away and calls with a key are served all the same.

        Limits of a key cannot be kept then, nor what a background service leaves to others: these are not served.
        """
        return self.is_away and self._allowance(key) > 0

    def remembered(self, keys: Keys, secret: str) -> GatewayKey | None:
        """Return the key of a secret if the database is away and it is served; the key was valid shortly before the outage."""
        if not self.is_away or self._began_at is None:
            return None
        key = keys.remembered(secret, since=self._began_at - KEY_MEMORY)
        return key if key is not None and self.serves(key) else None

    async def let_through(self, key: GatewayKey, call: Call, *, tokens: int, usage: Usage) -> bool:
        """Let a call through without a hold if its organization may use so much more. It counts as `tokens` until it is known what
        it used, and is charged `usage` if that is never known."""
        allowance = self._allowance(key)
        try:
            is_let = await asyncio.to_thread(self._keeping.let_through, call, tokens=tokens, usage=usage, most_tokens=allowance)
        except (OSError, SpoolFull) as error:
            log.error("spool_failed", cause=str(error) or type(error).__name__)
            is_let = False
        AWAY.labels("served" if is_let else "refused").inc()
        return is_let

    def _allowance(self, key: GatewayKey) -> int:
        """Return how many tokens may wait to be charged for calls with a key, 0 where it is not served."""
        policy, standing = self._serving.get(key.organization_id), self._standings.get(key.organization_id)
        if policy is None or standing is None or standing.state is State.AI_STOPPED or self._began_at is None:
            return 0
        if self._meter.clock() - self._began_at >= timedelta(seconds=policy.away_seconds):
            return 0
        if key.requests_per_minute is not None or key.tokens_per_day is not None or key.tokens_per_month is not None:
            return 0
        if key.service is not None and key.service.lane is Lane.BACKGROUND:
            return 0
        return min(policy.away_tokens, standing.balance_tokens)
