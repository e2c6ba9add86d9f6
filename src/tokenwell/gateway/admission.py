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
from tokenwell.core.receipts import Held
from tokenwell.core.usage import Usage
from tokenwell.errors import BalanceHeld, CommitUnknown, NotFound, RequestInvalid, StoreError, StoreUnavailable
from tokenwell.gateway.asking import AiRequest
from tokenwell.gateway.bodies import member_span, set_member
from tokenwell.gateway.calls import Call
from tokenwell.gateway.expecting import Expectations, Expected
from tokenwell.gateway.logbook import Logbook
from tokenwell.gateway.metrics import CLAMPED
from tokenwell.gateway.outages import Outages
from tokenwell.gateway.reservations import Reservation, Terms
from tokenwell.service.access.keys import GatewayKey
from tokenwell.service.access.services import Lane
from tokenwell.service.answers import Answers, StoredAnswer
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


class _Asked(NamedTuple):
    """A request, who asks, and what is known of it."""

    key: GatewayKey
    path: str
    request: AiRequest
    request_id: str
    reason: str | None
    rate: Rate | None
    expected: Expected
    terms: Terms


class Admission:
    """Opens the holds of calls, and notes each call in the logbook."""

    def __init__(
        self,
        meter: Meter,
        answers: Answers,
        expectations: Expectations,
        policies: Policies,
        *,
        outages: Outages,
        logbook: Logbook,
        hold_ttl: timedelta,
    ) -> None:
        self._meter = meter
        self._outages = outages
        self._logbook = logbook
        self._answers = answers
        self._expectations = expectations
        self._policies = policies
        self._hold_ttl = hold_ttl

    async def admit(self, key: GatewayKey, path: str, request: AiRequest, request_id: str) -> Admitted:
        """Hold what a request is expected to come to. Raises ModelUnrated, BalanceRefused, LimitReached, StoreError."""
        service = key.service
        reason = request.reason or (service.default_reason if service else None)
        before = 0
        if request.follows:
            kept = await self._answer_before(key, request)
            before, request = kept.tokens, msgspec.structs.replace(request, served_by=kept.served_by)
        ratebook = self._meter.ratebook
        ratebook.require_rated(request.model)
        rate = ratebook.rate_for(request.model)
        expected = self._expectations.expect((key.organization_id, request.model, reason), request)
        terms = terms_of(key)
        asked = _Asked(key, path, request, request_id, reason, rate, expected, terms)
        if self._outages.serves(key):
            return await self._let_through(asked, StoreUnavailable())
        prompt_tokens = expected.prompt_tokens + before
        room = _Room(_price(prompt_tokens, expected.completion_tokens, rate), expected.completion_tokens)
        try:
            held = await self._hold(key, terms, room.tokens, request_id)
        except BalanceHeld as refusal:
            fitted = await self._fit(key, path, request, prompt_tokens, rate, refusal)
            if fitted is None or fitted.tokens >= room.tokens:
                raise
            room = fitted
            held = await self._hold(key, terms, room.tokens, request_id)
            CLAMPED.inc(room.limit_tokens is not None)
        except (StoreUnavailable, CommitUnknown) as error:
            self._outages.fail()
            return await self._let_through(asked, error)
        self._outages.hear(held)
        return self._admitted(asked, room, held.hold.id)

    async def _let_through(self, asked: _Asked, cause: StoreError) -> Admitted:
        """Admit a request without a hold, where and as far as its organization's policy has it so; else raise `cause`."""
        key, request, rate = asked.key, asked.request, asked.rate
        if not self._outages.serves(key) or request.follows:
            raise cause
        limit = request.output_limit_tokens
        output = asked.expected.completion_tokens if limit is None else min(limit * request.choices, MAX_CHARGE_TOKENS)
        is_limited = limit is None and asked.path in LIMITS
        least = max(LEAST_OUTPUT_TOKENS, output // request.choices) if is_limited else None
        output = output if least is None else least * request.choices
        # Nothing lets it grow, and nothing says what the others use: what it may come to counts, not what is usual.
        prompt_tokens = max(asked.expected.prompt_tokens, request.prompt.held_tokens)
        room = _Room(_price(prompt_tokens, output, rate), output, least)
        admitted = self._admitted(asked, room, "")
        call = admitted.reservation.call
        usage = Usage(input_tokens=request.prompt.charged_tokens, output_tokens=0 if request.streams else output)
        if not await self._outages.let_through(key, call, tokens=room.tokens, usage=usage):
            admitted.reservation.close()
            self._logbook.end(call.request_id)
            raise cause
        return admitted

    def _admitted(self, asked: _Asked, room: _Room, hold_id: str) -> Admitted:
        key, request, expected = asked.key, _limited(asked.path, asked.request, room), asked.expected
        service = key.service
        call = Call(
            organization_id=key.organization_id,
            request_id=asked.request_id,
            hold_id=hold_id,
            key_id=key.id,
            service_id=key.service_id,
            model=request.model,
            session=request.session or (service.default_session if service else None),
            reason=asked.reason,
            expected=Expected(expected.prompt_tokens, room.output_tokens, expected.text_bytes),
            limited_to=room.limit_tokens,
        )
        self._logbook.begin(
            call,
            prompt_tokens=request.prompt.charged_tokens,
            completion_tokens=0 if request.streams else room.output_tokens,
        )
        reservation = Reservation(
            self._meter.aio, call, rate=asked.rate, room_tokens=room.output_tokens, ttl=self._hold_ttl, terms=asked.terms
        )
        return Admitted(reservation, request)

    async def _hold(self, key: GatewayKey, terms: Terms, tokens: int, request_id: str) -> Held:
        for is_last in (False, True):
            try:
                return await self._meter.aio.open_hold(
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

    async def _answer_before(self, key: GatewayKey, request: AiRequest) -> StoredAnswer:
        """Return the answer that a request goes on from: the provider that keeps it puts it before the prompt."""
        try:
            return await asyncio.to_thread(self._answers.find, key.organization_id, request.follows or "")
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
    body, value = request.body, b"%d" % room.limit_tokens
    names = [name for name in LIMITS[path] if member_span(body, name) is not None] or LIMITS[path][:1]
    for name in names:
        body = set_member(body, name, value)
    return msgspec.structs.replace(request, body=body, output_limit_tokens=room.limit_tokens)
