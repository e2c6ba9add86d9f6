"""Admission: the hold that a call runs on, as large as the call is expected to come to, within its key's limits and its lane.

What is done where the balance affords less is the organization's policy.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple

import msgspec

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.limits import KeyLimits
from tokenwell.core.rates import MILLION, Rate, charge_of
from tokenwell.core.usage import Usage
from tokenwell.errors import BalanceHeld, CommitUnknown, NotFound, RequestInvalid
from tokenwell.gateway.asking import AiRequest
from tokenwell.gateway.bodies import member_span, set_member
from tokenwell.gateway.calls import Call
from tokenwell.gateway.expecting import Expectations, Expected
from tokenwell.gateway.metrics import CLAMPED
from tokenwell.gateway.reservations import Reservation, Terms
from tokenwell.service.access.keys import GatewayKey
from tokenwell.service.access.services import Lane
from tokenwell.service.answers import Answers
from tokenwell.service.meter import Meter
from tokenwell.service.policies import Policies, WhenShort

LEAST_OUTPUT_TOKENS = 16
"""The least output a request is worth sending for, where the balance does not afford what it may come to."""

LIMITS = {
    "/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/completions": ("max_tokens",),
    "/messages": ("max_tokens",),
    "/responses": ("max_output_tokens",),
}
"""The fields that limit the output of each kind of call. The first is added where a request has none of them."""


class Admitted(NamedTuple):
    """A call that may be sent: on what hold, and as what."""

    reservation: Reservation
    request: AiRequest


class _Room(NamedTuple):
    """How much is held for a call: of how much output, and to what its output is limited if it has to be."""

    tokens: int
    output_tokens: int
    limit_tokens: int | None = None


class Admission:
    """Opens the holds of calls."""

    def __init__(
        self, meter: Meter, answers: Answers, expectations: Expectations, policies: Policies, *, hold_ttl: timedelta
    ) -> None:
        self._meter = meter
        self._answers = answers
        self._expectations = expectations
        self._policies = policies
        self._hold_ttl = hold_ttl

    async def admit(self, key: GatewayKey, path: str, request: AiRequest, request_id: str) -> Admitted:
        """Hold what a request is expected to come to. Raises ModelUnrated, BalanceRefused, LimitReached, StoreError."""
        service = key.service
        reason = request.reason or (service.default_reason if service else None)
        before = await self._tokens_before(key, request) if request.follows else 0
        ratebook = self._meter.ratebook
        ratebook.require_rated(request.model)
        rate = ratebook.rate_for(request.model)
        expected = self._expectations.expect((key.organization_id, request.model, reason), request)
        prompt_tokens = expected.prompt_tokens + before
        terms = terms_of(key)
        room = _Room(_price(prompt_tokens, expected.completion_tokens, rate), expected.completion_tokens)
        try:
            hold_id = await self._hold(key, terms, room.tokens, request_id)
        except BalanceHeld as refusal:
            fitted = await self._fit(key, path, request, prompt_tokens, rate, refusal)
            if fitted is None or fitted.tokens >= room.tokens:
                raise
            room = fitted
            hold_id = await self._hold(key, terms, room.tokens, request_id)
            request = _limited(path, request, room)
        call = Call(
            organization_id=key.organization_id,
            request_id=request_id,
            hold_id=hold_id,
            key_id=key.id,
            service_id=key.service_id,
            model=request.model,
            session=request.session or (service.default_session if service else None),
            reason=reason,
            expected=Expected(expected.prompt_tokens, room.output_tokens, expected.text_bytes),
            limited_to=room.limit_tokens,
        )
        reservation = Reservation(
            self._meter.aio,
            call,
            rate=rate,
            room_tokens=room.output_tokens,
            ttl=self._hold_ttl,
            terms=terms,
        )
        return Admitted(reservation, request)

    async def _hold(self, key: GatewayKey, terms: Terms, tokens: int, request_id: str) -> str:
        for is_last in (False, True):
            try:
                held = await self._meter.aio.open_hold(
                    key.organization_id,
                    tokens,
                    ttl=self._hold_ttl,
                    key=request_id,
                    key_id=key.id,
                    limits=terms.limits,
                    reserve_tokens=terms.reserve_tokens,
                    lane=terms.lane,
                )
            except CommitUnknown:
                # Asked once more under the same key it is opened once at most.
                if is_last:
                    raise
                continue
            return held.hold.id
        raise AssertionError("unreachable")

    async def _fit(
        self, key: GatewayKey, path: str, request: AiRequest, prompt_tokens: int, rate: Rate | None, refusal: BalanceHeld
    ) -> _Room | None:
        """Return what the balance affords of a request, as its organization's policy has it; None to refuse it."""
        policy = await asyncio.to_thread(self._policies.of, key.organization_id)
        if policy.when_short is WhenShort.REFUSE or (policy.when_short is WhenShort.CLAMP and path not in LIMITS):
            return None
        details = refusal.details
        available = details["available_tokens"] - details.get("reserve_tokens", 0)
        output = _affordable(available - _price(prompt_tokens, 0, rate), rate)
        if policy.when_short is WhenShort.HOLD_AVAILABLE:
            return _Room(available, max(1, output)) if available > 0 else None
        limit = output // request.choices
        if limit < LEAST_OUTPUT_TOKENS:
            return None
        return _Room(_price(prompt_tokens, limit * request.choices, rate), limit * request.choices, limit)

    async def _tokens_before(self, key: GatewayKey, request: AiRequest) -> int:
        """Return what the answer came to that a request goes on from: the provider puts it before the prompt."""
        try:
            return (await asyncio.to_thread(self._answers.find, key.organization_id, request.follows or "")).tokens
        except NotFound:
            field = "previous_response_id"
            raise RequestInvalid(f"{field}: there is no such response", field=field) from None


def terms_of(key: GatewayKey) -> Terms:
    """Return what the holds of a key are opened and grown under."""
    most = (key.requests_per_minute, key.tokens_per_day, key.tokens_per_month)
    limits = None
    if most != (None, None, None):
        limits = KeyLimits(requests_per_minute=most[0], tokens_per_day=most[1], tokens_per_month=most[2])
    service = key.service
    if service is None or service.lane is not Lane.BACKGROUND or service.reserve_tokens is None:
        return Terms(limits)
    return Terms(limits, service.reserve_tokens, service.name)


def _price(prompt_tokens: int, output_tokens: int, rate: Rate | None) -> int:
    most = Usage(input_tokens=min(prompt_tokens, MAX_CHARGE_TOKENS), output_tokens=min(output_tokens, MAX_CHARGE_TOKENS))
    return min(max(1, charge_of(most, rate)), MAX_CHARGE_TOKENS)


def _affordable(tokens: int, rate: Rate | None) -> int:
    """Return how much output so many tokens of packs pay for; the dearer of output and reasoning counts."""
    dearest = MILLION if rate is None else max(rate.output_millionths, rate.reasoning_millionths, 1)
    return max(0, min(tokens * MILLION // dearest, MAX_CHARGE_TOKENS))


def _limited(path: str, request: AiRequest, room: _Room) -> AiRequest:
    """Return a request with its output limited to what is held, in every field that limits it; all other bytes stay."""
    if room.limit_tokens is None:
        return request
    CLAMPED.inc()
    body, value = request.body, b"%d" % room.limit_tokens
    names = [name for name in LIMITS[path] if member_span(body, name) is not None] or LIMITS[path][:1]
    for name in names:
        body = set_member(body, name, value)
    return msgspec.structs.replace(request, body=body, output_limit_tokens=room.limit_tokens)
