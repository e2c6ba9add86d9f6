"""Metering: each call runs on a hold of its own, which is settled before its answer ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.rates import charge_of
from tokenwell.core.usage import Usage
from tokenwell.errors import CommitUnknown, NotFound, RequestInvalid
from tokenwell.gateway.asking import AiRequest
from tokenwell.gateway.dialects import Dialect
from tokenwell.gateway.exchange import Exchange
from tokenwell.gateway.forwarding import Forwarding
from tokenwell.gateway.reservations import Reservation
from tokenwell.gateway.settlement import Call, Settlements
from tokenwell.gateway.upstream import Upstream
from tokenwell.service.answers import Answers
from tokenwell.service.keys import GatewayKey
from tokenwell.service.meter import Meter


class Metering:
    """Answers calls of every dialect from the upstream."""

    def __init__(
        self,
        meter: Meter,
        upstream: Upstream,
        settlements: Settlements,
        answers: Answers,
        *,
        hold_ttl: timedelta,
        output_limit_tokens: int,
    ) -> None:
        self._answers = answers
        self._meter = meter
        self._upstream = upstream
        self._settlements = settlements
        self._hold_ttl = hold_ttl
        self._output_limit_tokens = output_limit_tokens

    async def answer(self, key: GatewayKey, dialect: Dialect, request: AiRequest, exchange: Exchange, *, request_id: str) -> None:
        """Answer a call and charge it. Raises ModelNotFound, BalanceRefused, StoreError and UpstreamError before anything is
        sent; nothing is charged then."""
        self._upstream.check(dialect.path, request.model)
        reservation = await self._admit(key, request, request_id)
        try:
            await Forwarding(
                reservation,
                dialect,
                request,
                exchange,
                upstream=self._upstream,
                settlements=self._settlements,
                answers=self._answers,
            ).run()
        finally:
            reservation.close()

    async def _admit(self, key: GatewayKey, request: AiRequest, request_id: str) -> Reservation:
        limit = self._output_limit_tokens if request.output_limit_tokens is None else request.output_limit_tokens
        before = await self._tokens_before(key, request) if request.follows else 0
        self._meter.ratebook.require_rated(request.model)
        rate = self._meter.ratebook.rate_for(request.model)
        room_tokens = min(request.choices * limit, MAX_CHARGE_TOKENS)
        most = Usage(input_tokens=request.prompt.held_tokens + before, output_tokens=room_tokens)
        tokens = min(max(1, charge_of(most, rate)), MAX_CHARGE_TOKENS)
        hold = self._meter.aio.open_hold
        try:
            held = await hold(key.organization_id, tokens, ttl=self._hold_ttl, key=request_id)
        except CommitUnknown:
            held = await hold(key.organization_id, tokens, ttl=self._hold_ttl, key=request_id)
        call = Call(
            organization_id=key.organization_id,
            request_id=request_id,
            hold_id=held.hold.id,
            key_id=key.id,
            service_id=key.service_id,
            model=request.model,
            session=request.session or (key.service.default_session if key.service else None),
            reason=request.reason or (key.service.default_reason if key.service else None),
        )
        return Reservation(self._meter.aio, call, rate=rate, room_tokens=room_tokens, ttl=self._hold_ttl)

    async def _tokens_before(self, key: GatewayKey, request: AiRequest) -> int:
        """Return what the answer came to that a request goes on from: the provider puts it before the prompt."""
        try:
            return (await asyncio.to_thread(self._answers.find, key.organization_id, request.follows or "")).tokens
        except NotFound:
            field = "previous_response_id"
            raise RequestInvalid(f"{field}: there is no such response", field=field) from None
