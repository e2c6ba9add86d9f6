"""Upkeep: what the gateway does beside its calls. Charges that wait are paid off once the database is back, what other processes
have left behind is finished, and who is served in an outage is read anew."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from tokenwell.errors import StoreError
from tokenwell.gateway.outages import Outages
from tokenwell.gateway.recovery import Recovery
from tokenwell.gateway.settlement import Settlements
from tokenwell.service.meter import AsyncMeter

REST_SECONDS = 30.0
"""How long nothing is looked at where nothing has happened."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 3.0
"""How long is waited before a database that is away is tried again."""

STOP_SECONDS = 5.0
"""How long a stopping gateway waits for what is being done."""

log = structlog.get_logger("tokenwell.gateway")


class Upkeep:
    """Runs in the background from `start` to `stop`."""

    def __init__(self, meter: AsyncMeter, outages: Outages, settlements: Settlements, recovery: Recovery) -> None:
        self._meter = meter
        self._outages = outages
        self._settlements = settlements
        self._recovery = recovery
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Do what is to be done before the first call, then go on in the background."""
        await self._look()
        self._task = asyncio.create_task(self._run(), name="gateway-upkeep")

    async def stop(self) -> None:
        """Stop. What is under way is waited for, but not for long: it may be broken off, and be done again."""
        self._over.set()
        self._outages.failed.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        is_well = True
        while not self._over.is_set():
            if is_well:
                pause_seconds = FIRST_PAUSE_SECONDS
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._outages.failed.wait(), REST_SECONDS)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), pause_seconds)
                pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
            is_well = self._over.is_set() or await self._look()

    async def _look(self) -> bool:
        """Do all there is to be done; return False where the database does not take it."""
        self._outages.failed.clear()
        try:
            await self._meter.ping()
            await self._settlements.pay_off()
            self._outages.is_away = False
            await self._outages.refresh()
            await self._recovery.run()
        except StoreError as error:
            log.debug("database_still_away", cause=error.code)
            return False
        except Exception:
            log.exception("upkeep_failed")
            return False
        return True
