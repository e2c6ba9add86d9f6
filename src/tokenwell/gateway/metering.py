"""Metering: each call runs on a hold of its own, which is settled before its answer ends."""

from __future__ import annotations

from tokenwell.gateway.admission import Admission
from tokenwell.gateway.asking import AiRequest
from tokenwell.gateway.dialects import Dialect
from tokenwell.gateway.exchange import Exchange
from tokenwell.gateway.forwarding import Forwarding
from tokenwell.gateway.settlement import Settlements
from tokenwell.gateway.upstream import Upstream
from tokenwell.service.access.keys import GatewayKey
from tokenwell.service.answers import Answers


class Metering:
    """Answers calls of every dialect from the upstream."""

    def __init__(self, admission: Admission, upstream: Upstream, settlements: Settlements, answers: Answers) -> None:
        self._admission = admission
        self._answers = answers
        self._upstream = upstream
        self._settlements = settlements

    async def answer(self, key: GatewayKey, dialect: Dialect, request: AiRequest, exchange: Exchange, *, request_id: str) -> None:
        """Answer a call and charge it. Raises ModelNotFound, ModelUnrated, BalanceRefused, LimitReached, StoreError and
        UpstreamError before anything is sent; nothing is charged then."""
        self._upstream.check(dialect.path, request.model)
        reservation, request = await self._admission.admit(key, dialect.path, request, request_id)
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
