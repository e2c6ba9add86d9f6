"""Reservations: the hold that a call runs on, kept from lapsing as long as the call goes on and grown while a stream says more."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple

import structlog

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.limits import KeyLimits
from tokenwell.core.rates import Rate, charge_of
from tokenwell.core.usage import Usage
from tokenwell.errors import BalanceRefused, StoreError, TokenwellError
from tokenwell.gateway.calls import Call
from tokenwell.gateway.counting import spoken_tokens
from tokenwell.gateway.dialects import Stream
from tokenwell.gateway.metrics import GROWN
from tokenwell.service.meter import AsyncMeter

LEAST_STEP_TOKENS = 64
"""The smallest growth that is asked for: what a balance that is nearly empty can still give."""

FIRST_LOOK_BYTES = 512
"""How much of a stream passes before it is first looked at how much of it is text."""

_LEAST_PIECE_BYTES = 48
"""What the shortest event of a stream takes that says something."""

log = structlog.get_logger("tokenwell.gateway")


class Terms(NamedTuple):
    """What a hold is opened and grown under: the limits of its key, and what its lane leaves to others."""

    limits: KeyLimits | None = None
    reserve_tokens: int | None = None
    lane: str | None = None


UNBOUND = Terms()


class Reservation:
    """What a call may say on its hold: `room_tokens` of output. Used by one task; `close` it as the call ends.

    `said_tokens` is what its stream had said when it was last looked at.
    """

    __slots__ = (
        "_growth",
        "_is_refused",
        "_keeping",
        "_meter",
        "_rate",
        "_room",
        "_seen_bytes",
        "_seen_said",
        "_terms",
        "_timer",
        "_ttl",
        "call",
        "look_at_bytes",
        "said_tokens",
    )

    def __init__(
        self,
        meter: AsyncMeter,
        call: Call,
        *,
        rate: Rate | None,
        room_tokens: int,
        ttl: timedelta,
        terms: Terms = UNBOUND,
    ) -> None:
        self.call = call
        self.look_at_bytes = FIRST_LOOK_BYTES
        self._meter = meter
        self._rate = rate
        self._room = room_tokens
        self._ttl = ttl
        self._terms = terms
        self._growth: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._is_refused = not call.hold_id  # there is none to grow
        self._seen_bytes = self._seen_said = self.said_tokens = 0
        self._timer = asyncio.get_running_loop().call_later(ttl.total_seconds() / 2, self._prolong)

    @property
    def is_growing(self) -> bool:
        """Whether more has been asked for and not answered yet."""
        return self._growth is not None

    def close(self) -> None:
        """Stop growing and prolonging."""
        self._timer.cancel()
        for task in (self._growth, self._keeping):
            if task is not None:
                task.cancel()

    def takes(self, stream: Stream, data: bytes) -> bool:
        """Let a stream say what is in `data` as a whole, if that is well within the hold; return whether it is."""
        said = None if stream.reported is not None else stream.take(data, self._due_tokens - 1)
        if said is None:
            return False
        self.said_tokens = said
        self._look_again(stream.passed_bytes, said)
        return True

    async def covers(self, stream: Stream) -> bool:
        """Return whether a stream may go on. Asked for as soon as `look_at_bytes` of it have passed.

        At three quarters of what is held, more is asked for; the stream waits for it only when all is said.
        """
        self.said_tokens = said = self._said(stream)
        if said >= self._due_tokens and self._growth is None and not self._is_refused:
            self._growth = asyncio.ensure_future(self._grow(said))
        if said >= self._room and self._growth is not None:
            await asyncio.wait([self._growth])
        if said >= self._room:
            return False
        self._look_again(stream.passed_bytes, said)
        return True

    def _look_again(self, passed_bytes: int, said: int) -> None:
        """Look again half way to where the next decision is due, by what a token took since the last look.

        What comes before the first words tells nothing, so there are at least two looks.
        """
        target = self._due_tokens
        since_bytes, since_said = passed_bytes - self._seen_bytes, said - self._seen_said
        if self._seen_bytes and since_said > 0:
            step = (target - said) * (since_bytes // since_said) // 2
        else:
            step = min(FIRST_LOOK_BYTES, (target - said) * _LEAST_PIECE_BYTES)
        self._seen_bytes, self._seen_said = passed_bytes, said
        self.look_at_bytes = passed_bytes + max(1, step)

    @property
    def _due_tokens(self) -> int:
        """At how many tokens something is to be decided: whether to ask for more, else whether to end."""
        return self._room if self._is_refused or self._growth is not None else self._room * 3 // 4

    def _said(self, stream: Stream) -> int:
        counted = spoken_tokens(*stream.spoken())
        reported = stream.reported
        return max(counted, reported.usage.completion_tokens) if reported is not None else counted

    async def _grow(self, said: int) -> None:
        """Ask for as much again, or as was said all at once; or else for the less that the balance can still give."""
        step = max(self._room, 2 * said - self._room, LEAST_STEP_TOKENS)
        try:
            while not await self._try(step):
                if step == LEAST_STEP_TOKENS:
                    self._is_refused = True
                    break
                step = max(step // 4, LEAST_STEP_TOKENS)
        except TokenwellError as error:
            # Tried again at the next look; a hold that was closed under way stays as it is.
            log.warning("hold_not_grown", request_id=self.call.request_id, cause=error.code)
            self._is_refused = not isinstance(error, StoreError)
        finally:
            self._growth = None

    async def _try(self, step: int) -> bool:
        tokens = min(max(1, charge_of(Usage(output_tokens=min(step, MAX_CHARGE_TOKENS)), self._rate)), MAX_CHARGE_TOKENS)
        try:
            await self._meter.extend_hold(
                self.call.organization_id, self.call.hold_id, tokens, ttl=self._ttl, **self._terms._asdict()
            )
        except BalanceRefused:
            GROWN.labels("refused").inc()
            return False
        GROWN.labels("granted").inc()
        self._room += step
        return True

    def _prolong(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._ttl.total_seconds() / 2, self._prolong)
        if self._keeping is None and self.call.hold_id:
            self._keeping = asyncio.ensure_future(self._keep())

    async def _keep(self) -> None:
        try:
            await self._meter.extend_hold(self.call.organization_id, self.call.hold_id, 0, ttl=self._ttl)
        except TokenwellError as error:
            log.warning("hold_not_prolonged", request_id=self.call.request_id, cause=error.code)
        finally:
            self._keeping = None
