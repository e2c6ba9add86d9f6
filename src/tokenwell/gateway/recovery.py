"""Recovery: what a process that was killed had under way is charged, or released, by the next one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from tokenwell.errors import StoreError
from tokenwell.gateway.calls import Bill
from tokenwell.gateway.keeping import Orphan, orphans
from tokenwell.gateway.logbook import Left, left_in
from tokenwell.gateway.metrics import RECOVERED
from tokenwell.gateway.settlement import Settlements
from tokenwell.gateway.spool import kept_in

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
        for call, bill in await asyncio.to_thread(_left_by, orphan):
            await self._settlements.finish(call, bill)
            RECOVERED.labels("released" if bill is None else "charged").inc()
            log.warning(
                "call_recovered", request_id=call.request_id, organization_id=call.organization_id, is_charged=bill is not None
            )
        await asyncio.to_thread(orphan.done)


def _left_by(orphan: Orphan) -> list[Left]:
    """Return what a process has left: what its spool knows exactly, else what its logbook knows, else what was expected."""
    spool = kept_in(orphan.charges)
    under_way = list(left_in(orphan.calls)) if orphan.calls.exists() else []
    known = {left.call.request_id for left in under_way}
    unknown = [
        Left(each.call, Bill(usage=each.usage, facts={"recovered": True}, estimated=True))
        for each in spool.opened.values()
        if each.call.request_id not in known
    ]
    due = [Left(each.call, each.bill) for each in spool.due.values()]
    return [*due, *(left for left in under_way if left.call.request_id not in spool.due), *unknown]
