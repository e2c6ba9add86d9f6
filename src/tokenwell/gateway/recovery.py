"""Recovery: what a process that was killed had under way is charged, or released, by the next one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from tokenwell.errors import StoreError
from tokenwell.gateway.keeping import Orphan, orphans
from tokenwell.gateway.logbook import left_in
from tokenwell.gateway.metrics import RECOVERED
from tokenwell.gateway.settlement import Settlements

log = structlog.get_logger("tokenwell.gateway")


class Recovery:
    """Takes over what processes of this machine have left behind in a directory."""

    def __init__(self, directory: Path | None, settlements: Settlements) -> None:
        self._directory = directory
        self._settlements = settlements

    async def run(self) -> None:
        """Finish all that is left behind. What the database does not take stays where it is, for the next time."""
        if self._directory is None:
            return
        for orphan in await asyncio.to_thread(list, orphans(self._directory)):
            try:
                await self._finish(orphan)
            except (StoreError, OSError) as error:
                log.warning("recovery_delayed", file=orphan.calls.name, cause=str(error))
            finally:
                orphan.close()

    async def _finish(self, orphan: Orphan) -> None:
        left = await asyncio.to_thread(lambda: list(left_in(orphan.calls)) if orphan.calls.exists() else [])
        for call, bill in left:
            await self._settlements.finish(call, bill)
            RECOVERED.labels("released" if bill is None else "charged").inc()
            log.warning(
                "call_recovered", request_id=call.request_id, organization_id=call.organization_id, is_charged=bill is not None
            )
        await asyncio.to_thread(orphan.done)
