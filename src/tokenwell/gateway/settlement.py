"""Settlement: what was used is charged, though the client is gone or the database is away for a while."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import msgspec
import structlog

from tokenwell.core.rates import charge_of
from tokenwell.core.receipts import Receipt
from tokenwell.errors import (
    HoldAlreadyReleased,
    HoldAlreadySettled,
    HoldNotFound,
    IdempotencyConflict,
    StoreBusy,
    StoreError,
    TokenwellError,
)
from tokenwell.gateway.calls import Bill, Call
from tokenwell.gateway.expecting import Expectations
from tokenwell.gateway.keeping import Keeping
from tokenwell.gateway.metrics import ESTIMATED, LOST, UNSETTLED
from tokenwell.gateway.outages import Outages
from tokenwell.gateway.spool import Due, SpoolFull
from tokenwell.service.meter import Meter

PATIENCE_SECONDS = 900
"""For how long a charge that the database does not take is tried again."""

PAID_AT_ONCE = 64
"""How many charges of the spool are asked for together: they share a transaction."""

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0

log = structlog.get_logger("tokenwell.gateway")


class Settlements:
    """Settles and releases holds. What the database refuses for the moment is tried again in the background."""

    def __init__(
        self,
        meter: Meter,
        *,
        expectations: Expectations | None = None,
        keeping: Keeping | None = None,
        outages: Outages | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._keeping = Keeping() if keeping is None else keeping
        self.logbook = self._keeping.logbook
        self._spool = self._keeping.spool
        self._outages = outages
        self._meter = meter.aio
        self._expectations = expectations
        self._patience_seconds = patience_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._readings: set[asyncio.Task[None]] = set()

    async def settle(self, call: Call, bill: Bill) -> Receipt | None:
        """Charge a request and return its receipt; None where that has to wait for the database, and goes on without the caller.

        A caller that is cancelled meanwhile does not stop it.
        """
        self._learn(call, bill)
        self.logbook.use(call.request_id, bill)
        try:
            if not call.hold_id:
                await asyncio.shield(self._go(self._put_off(call, bill)))
                return None
            receipt = await self._charge(call, bill)
        except StoreError as error:
            log.warning("settlement_delayed", request_id=call.request_id, organization_id=call.organization_id, cause=error.code)
            if self._outages is not None and not isinstance(error, StoreBusy):
                self._outages.fail()
            await asyncio.shield(self._go(self._put_off(call, bill)))
        except TokenwellError as error:
            self._lose(call, bill, error)
        except asyncio.CancelledError:
            self._insist(call, bill)
            raise
        else:
            self._end(call)
            if self._outages is not None:
                self._outages.hear(receipt)
            return receipt
        return None

    async def pay_off(self) -> None:
        """Charge what the spool holds, what came first first. Raises StoreError where the database does not take it."""
        if self._spool is None:
            return
        paid: list[Due] = []
        while due := self._spool.due(PAID_AT_ONCE):
            outcomes = await asyncio.gather(*(self.finish(each.call, each.bill) for each in due), return_exceptions=True)
            done = [each for each, outcome in zip(due, outcomes, strict=True) if outcome is None]
            await asyncio.to_thread(self._spool.done, [each.call.request_id for each in done])
            UNSETTLED.dec(len(done))
            paid += done
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome
        if paid:
            log.info("spool_paid_off", charges=len(paid))
            await asyncio.to_thread(self._keeping.tell_waiting)

    async def finish(self, call: Call, bill: Bill | None) -> None:
        """Charge a call that another process had under way, or give its hold back where nothing is to be charged. Idempotent: what
        that process had charged stays as it is. Raises StoreError."""
        try:
            if bill is not None:
                await self._charge(call, bill)
            elif call.hold_id:
                await self._meter.release(call.organization_id, call.hold_id)
        except StoreError:
            raise
        except (HoldAlreadySettled, IdempotencyConflict):
            log.info("charged_before", request_id=call.request_id)
        except TokenwellError as error:
            if bill is None:
                log.info("hold_gone", request_id=call.request_id, cause=error.code)
            else:
                self._lose(call, bill, error)

    async def release(self, call: Call) -> None:
        """Give a hold back. Where the database does not take it, it lapses by itself."""
        self.logbook.fail(call.request_id)
        try:
            if call.hold_id:
                await self._meter.release(call.organization_id, call.hold_id)
        except TokenwellError as error:
            log.warning("release_failed", request_id=call.request_id, organization_id=call.organization_id, cause=error.code)
        self._end(call)

    def settle_later(self, call: Call, bill: Bill) -> None:
        """Charge a request whose caller cannot wait."""
        self._learn(call, bill)
        self.logbook.use(call.request_id, bill)
        self._insist(call, bill)

    def read_on(self, reading: Coroutine[Any, Any, None]) -> None:
        """Read an answer to its end in the background, to charge it then; a gateway that stops waits for it, but not for long."""
        task = asyncio.ensure_future(reading)
        self._readings.add(task)
        task.add_done_callback(self._readings.discard)

    async def drain(self, seconds: float) -> None:
        """Wait for what is going on in the background, at most that long; what is left then stays in the logbook for the
        next process, or is logged as lost.

        Half of the time is for answers that are still read; what they have come to by then is charged by count.
        """
        await _finish(self._readings, seconds / 2)
        await _finish(self._tasks, seconds / 2)

    def _learn(self, call: Call, bill: Bill) -> None:
        if bill.estimated:
            ESTIMATED.inc()
        elif self._expectations is not None and call.expected is not None:
            self._expectations.learn(call.kind, call.expected, bill.usage)

    async def _charge(self, call: Call, bill: Bill) -> Receipt:
        expected: dict[str, Any] = {} if call.expected is None else {"expected": call.expected.fact()}
        if call.limited_to is not None:
            expected["limited_to"] = call.limited_to
        facts: dict[str, Any] = {
            "usage": bill.usage,
            "raw_usage": bill.raw_usage,
            "facts": expected | (bill.facts or {}),
            "estimated": bill.estimated,
            "model": call.model,
            "session": call.session,
            "reason": call.reason,
            "key_id": call.key_id,
            "service_id": call.service_id,
        }
        if not call.hold_id:
            return await self._meter.debit(call.organization_id, **facts, already_used=True, key=call.request_id)
        try:
            return await self._meter.settle(call.organization_id, call.hold_id, **facts)
        except (HoldAlreadyReleased, HoldNotFound):
            # Released under way, by revoking its packs: what was used is charged all the same.
            return await self._meter.debit(call.organization_id, **facts, already_used=True, key=call.request_id)

    async def _put_off(self, call: Call, bill: Bill) -> None:
        """See to it that a request is charged later."""
        if not await self._owe(call, bill):
            self._insist(call, bill)

    async def _owe(self, call: Call, bill: Bill) -> bool:
        """Put a charge into the spool, to be paid off once the database is back; return whether it is there."""
        if self._spool is None:
            return False
        tokens = charge_of(bill.usage, self._meter.meter.ratebook.rate_for(call.model))
        try:
            await asyncio.to_thread(self._keeping.owe, call, bill, tokens=tokens)
        except (OSError, SpoolFull) as error:
            log.error("spool_failed", request_id=call.request_id, cause=str(error) or type(error).__name__)
            return False
        UNSETTLED.inc()
        self.logbook.end(call.request_id)
        if self._outages is not None:
            self._outages.failed.set()
        return True

    def _end(self, call: Call) -> None:
        """Forget a call: nothing is left to be done for it."""
        self.logbook.end(call.request_id)
        if not call.hold_id and self._spool is not None:
            self._spool.done([call.request_id])

    def _insist(self, call: Call, bill: Bill) -> None:
        self._go(self._charge_in_time(call, bill))

    def _go(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _charge_in_time(self, call: Call, bill: Bill) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._patience_seconds
        pause_seconds = FIRST_PAUSE_SECONDS
        with UNSETTLED.track_inprogress():
            try:
                # Repeating is safe: settled twice with the same usage gives the first answer.
                while not await self._charge_once(call, bill, last=loop.time() >= give_up_at):
                    if await self._owe(call, bill):
                        return
                    # Apart from each other: those that were refused together would meet again each time.
                    await asyncio.sleep(random.uniform(0, pause_seconds))
                    pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
            except (StoreError, asyncio.CancelledError) as error:
                self._leave(call, bill, error)
            except TokenwellError as error:
                self._lose(call, bill, error)
            else:
                self._end(call)

    async def _charge_once(self, call: Call, bill: Bill, *, last: bool) -> bool:
        try:
            await self._charge(call, bill)
        except StoreError:
            if last:
                raise
            return False
        return True

    def _leave(self, call: Call, bill: Bill, error: BaseException) -> None:
        """Leave a charge to the next process of this machine, where it will find it; else it is lost."""
        if self.logbook.is_kept and call.request_id in self.logbook:
            log.warning("charge_left", request_id=call.request_id, organization_id=call.organization_id)
        else:
            self._lose(call, bill, error)

    def _lose(self, call: Call, bill: Bill, error: BaseException) -> None:
        """Write down everything that is needed to charge the request by hand."""
        LOST.inc()
        cause = error.code if isinstance(error, TokenwellError) else "stopped"
        log.error("charge_lost", cause=cause, usage=msgspec.to_builtins(bill.usage), **msgspec.structs.asdict(call))
        self._end(call)


async def _finish(tasks: set[asyncio.Task[None]], seconds: float) -> None:
    """Wait for tasks, and stop what is left after a while."""
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
