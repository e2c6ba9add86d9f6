"""The deliverer: takes what is due, sends it, and notes what came of it, until it arrives or is given up.

Each channel is a lane of its own: one delivery of a lane is in progress at a time, and no lane waits for another. A claim is a
lease in the table: when a process is killed in the middle, another sends again, under the same delivery id. So a delivery arrives
at least once, and whoever counts ids counts it once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import sqlalchemy
import structlog

from tokenwell.alerts.posting import Outcome
from tokenwell.alerts.sending import Dropped, Prepared, Sending
from tokenwell.core.alerts import MILLION, wait_after
from tokenwell.errors import SealBroken, StoreError
from tokenwell.observability import DELIVERIES
from tokenwell.store.notices import deliveries as store
from tokenwell.store.notices.deliveries import Attempt, Delivery, DeliveryStatus, Lane
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

CLAIM = timedelta(seconds=60)
"""How long a claim lasts: longer than sending may take."""

LANES = 64
"""How many lanes are in progress at once in one process."""

BUNDLE = 50
"""How many events are told together at most."""

LOOK_SECONDS = 0.5
GRACE_SECONDS = 8.0
"""How long what is in progress is waited for when told to stop. What is cut off is sent again, by whoever goes on."""

T = TypeVar("T")
log = structlog.get_logger("tokenwell.alerts")


class Turn(Protocol):
    """What tells the deliverer when to leave off."""

    is_once: bool
    over: asyncio.Event

    @property
    def is_over(self) -> bool:
        """Whether to leave off."""


class Deliverer:
    """Sends what is due. Any number of processes may do so at once."""

    def __init__(
        self,
        engine: sqlalchemy.Engine,
        clock: Callable[[], datetime],
        new_id: Callable[[str], str],
        sending: Sending,
        *,
        claim: timedelta = CLAIM,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._claim_lasts = claim
        self._engine = engine
        self._clock = clock
        self._new_id = new_id
        self._sending = sending
        self._look_seconds = look_seconds
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="tokenwell-alerts")

    async def work(self, turn: Turn) -> int:
        """Send until the turn is over (where it `is_once`, until nothing is due); returns how many deliveries arrived."""
        busy: dict[Lane, asyncio.Task[int]] = {}
        delivered = 0
        try:
            while not turn.is_over:
                started = await self._start(busy)
                if turn.is_once and not busy:
                    break
                await self._wait(turn, busy, 0 if started else self._look_seconds)
                delivered += _reap(busy)
        finally:
            if busy:
                await asyncio.wait(busy.values(), timeout=GRACE_SECONDS)
            for task in busy.values():
                task.cancel()
            await asyncio.gather(*busy.values(), return_exceptions=True)
        return delivered + _reap(busy)

    async def _start(self, busy: dict[Lane, asyncio.Task[int]]) -> bool:
        """Begin with every lane in which something is due and nothing in progress; returns whether there was one."""
        if len(busy) >= LANES:
            return False
        lanes = await self._in_thread(self._due_lanes, LANES)
        free = [lane for lane in lanes if lane not in busy][: LANES - len(busy)]
        for lane in free:
            busy[lane] = asyncio.create_task(self._deliver(lane))
        return bool(free)

    async def _wait(self, turn: Turn, busy: dict[Lane, asyncio.Task[int]], seconds: float) -> None:
        over = asyncio.ensure_future(turn.over.wait())
        try:
            await asyncio.wait([over, *busy.values()], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()

    def _due_lanes(self, limit: int) -> list[Lane]:
        with reading(self._engine) as connection:
            return store.due_lanes(connection, self._clock(), self._claim_lasts, limit * 2)

    async def _deliver(self, lane: Lane) -> int:
        """Send what is due first in a lane; returns how many deliveries arrived."""
        claimant = secrets.token_urlsafe(12)
        claimed = await self._in_thread(self._claim, lane, claimant)
        if not claimed:
            return 0
        try:
            return await self._send(claimed, claimant)
        except asyncio.CancelledError:
            await asyncio.shield(self._in_thread(self._give_back, claimed, claimant))
            raise

    def _claim(self, lane: Lane, claimant: str) -> list[Delivery]:
        with transaction(self._engine) as connection:
            return store.claim_in(connection, lane, claimant, now=self._clock(), claim=self._claim_lasts, bundle=BUNDLE)

    async def _send(self, claimed: list[Delivery], claimant: str) -> int:
        loop = asyncio.get_running_loop()
        at, began = self._clock(), loop.time()
        try:
            prepared: Prepared = await self._in_thread(self._sending.prepare, claimed)
            outcome = await self._sending.send(claimed, prepared)
        except Dropped:
            await self._in_thread(self._drop, claimed)
            return 0
        except SealBroken as error:
            outcome = Outcome(is_delivered=False, request="", answer=error.message)
        except StoreError:
            raise
        except Exception as error:
            # A defect of ours: it is logged, and the delivery is tried again as often as any other.
            log.error("delivery_broken", delivery=claimed[0].id, exc_info=error)
            outcome = Outcome(is_delivered=False, request="", answer=f"a defect of Tokenwell's: {type(error).__name__}")
        took = int((loop.time() - began) * 1000)
        # What was sent is noted, also where this is cancelled now.
        await asyncio.shield(self._in_thread(self._note, claimed, claimant, outcome, at, took))
        return len(claimed) if outcome.is_delivered else 0

    def _note(self, claimed: list[Delivery], claimant: str, outcome: Outcome, at: datetime, took_millis: int) -> None:
        """Note an attempt at each delivery, and what is to become of it."""
        now = self._clock()
        answered = "refused" if outcome.status is not None else "failed"
        said = "delivered" if outcome.is_delivered else answered
        DELIVERIES.labels(said).inc(len(claimed))
        for each in claimed:
            attempt = Attempt(
                id=self._new_id("try"),
                at=at,
                took_millis=took_millis,
                outcome=said,
                request=outcome.request,
                answer=outcome.answer,
                status=outcome.status,
            )
            with transaction(self._engine) as connection:
                store.add_attempt(connection, each, attempt)
                if outcome.is_delivered:
                    store.finish(connection, each, DeliveryStatus.DELIVERED, now)
                else:
                    due_at = self._due_again(each, outcome, now)
                    store.put_off(connection, each, claimant, due_at=due_at, now=now)
            if not outcome.is_delivered:
                log.warning("delivery_failed", delivery=each.id, attempts=each.attempts + 1, reason=outcome.answer[:200])

    def _due_again(self, failed: Delivery, outcome: Outcome, now: datetime) -> datetime | None:
        wait = wait_after(failed.attempts + 1, secrets.randbelow(MILLION + 1), asked=outcome.wait)
        return None if wait is None or outcome.is_final else now + wait

    def _drop(self, claimed: list[Delivery]) -> None:
        with transaction(self._engine) as connection:
            for each in claimed:
                store.finish(connection, each, DeliveryStatus.DROPPED, self._clock())

    def _give_back(self, claimed: list[Delivery], claimant: str) -> None:
        with transaction(self._engine) as connection:
            for each in claimed:
                store.give_back(connection, each, claimant)

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)


def _reap(busy: dict[Lane, asyncio.Task[int]]) -> int:
    """Take what is done out of `busy`; returns how many deliveries arrived. What failed for the database's sake is due again."""
    delivered = 0
    for lane in [lane for lane, task in busy.items() if task.done()]:
        task = busy.pop(lane)
        if task.cancelled():
            continue
        error = task.exception()
        if error is None:
            delivered += task.result()
        elif isinstance(error, StoreError):
            log.warning("delivery_not_noted", channel=lane[1], reason=error.message)
        else:
            log.error("delivery_broken", channel=lane[1], exc_info=error)
    return delivered
