"""Metering: hold, forward, settle with the provider's own usage, answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.rates import charge_of
from tokenwell.core.usage import Usage
from tokenwell.errors import CommitUnknown, UpstreamError
from tokenwell.gateway import openai
from tokenwell.gateway.completions import Reported, parse_completion
from tokenwell.gateway.counting import spoken_tokens
from tokenwell.gateway.exchange import ClientGone, Exchange
from tokenwell.gateway.metrics import ABANDONED, UPSTREAM_ERRORS
from tokenwell.gateway.openai import ChatRequest
from tokenwell.gateway.receipts import REQUEST_ID, comment_of, headers_of
from tokenwell.gateway.settlement import Bill, Call, Settlements
from tokenwell.gateway.streams import ChatStream
from tokenwell.gateway.upstream import Upstream, UpstreamAnswer
from tokenwell.service.keys import GatewayKey
from tokenwell.service.meter import Meter

CHAT_PATH = "/chat/completions"

log = structlog.get_logger("tokenwell.gateway")


class Metering:
    """Answers chat completions from the upstream, each on a hold of its own that is settled before the answer ends."""

    def __init__(
        self, meter: Meter, upstream: Upstream, settlements: Settlements, *, hold_ttl: timedelta, output_limit_tokens: int
    ) -> None:
        self._meter = meter
        self._upstream = upstream
        self._settlements = settlements
        self._hold_ttl = hold_ttl
        self._output_limit_tokens = output_limit_tokens

    async def complete(self, key: GatewayKey, request: ChatRequest, exchange: Exchange, *, request_id: str) -> None:
        """Answer a chat completion and charge it. Raises ModelNotFound, BalanceRefused, StoreError and UpstreamError before
        anything is sent; nothing is charged then."""
        self._upstream.check(CHAT_PATH, request.model)
        call = await self._admit(key, request, request_id)
        if request.streams:
            await self._stream(call, request, exchange)
        else:
            await self._plain(call, request, exchange)

    async def _admit(self, key: GatewayKey, request: ChatRequest, request_id: str) -> Call:
        limit = self._output_limit_tokens if request.output_limit_tokens is None else request.output_limit_tokens
        most = Usage(input_tokens=request.prompt.held_tokens, output_tokens=request.choices * limit)
        tokens = min(max(1, charge_of(most, self._meter.ratebook.rate_for(request.model))), MAX_CHARGE_TOKENS)
        hold = self._meter.aio.open_hold
        try:
            held = await hold(key.organization_id, tokens, ttl=self._hold_ttl, key=request_id)
        except CommitUnknown:
            held = await hold(key.organization_id, tokens, ttl=self._hold_ttl, key=request_id)
        return Call(
            organization_id=key.organization_id,
            request_id=request_id,
            hold_id=held.hold.id,
            key_id=key.id,
            model=request.model,
            session=request.session,
            reason=request.reason,
        )

    async def _plain(self, call: Call, request: ChatRequest, exchange: Exchange) -> None:
        """Answer as a whole. A client that does not wait for it is charged all the same: the provider was asked, and goes on."""
        try:
            answer = await self._upstream.send("POST", CHAT_PATH, body=request.body, headers=exchange.headers, model=request.model)
            body = await answer.read()
        except UpstreamError as error:
            await self._fail(call, error)
            raise
        except asyncio.CancelledError:
            self._settlements.settle_later(call, _bill_of(request, None))
            raise
        await self._deliver(call, request, exchange, answer, body)

    async def _deliver(self, call: Call, request: ChatRequest, exchange: Exchange, answer: UpstreamAnswer, body: bytes) -> None:
        completion = parse_completion(body) if answer.status == 200 else None
        if completion is None or completion.has_failed:
            await self._fail(call, UpstreamError(status=answer.status))
            status, headers, body = openai.told_upstream(answer.status, answer.headers, body)
            await exchange.answer(status, [*headers, (REQUEST_ID, call.request_id.encode())], body)
            return
        reported = completion.reported()
        bill = _bill_of(request, reported, 0 if reported else completion.text_bytes())
        receipt = await self._settlements.settle(call, bill)
        await exchange.answer(200, answer.headers + headers_of(receipt, call.request_id), body)

    async def _stream(self, call: Call, request: ChatRequest, exchange: Exchange) -> None:
        """Answer piece by piece. A client that goes away stops the provider, and is charged what was said until then."""
        stream = ChatStream(hides_usage=request.hides_usage)
        answer: UpstreamAnswer | None = None
        body: bytes | None = None
        failure = b""
        try:
            async with exchange.until_gone():
                answer, body = await self._converse(call, request, stream, exchange)
        except UpstreamError as error:
            if not exchange.started:
                await self._fail(call, error)
                raise
            UPSTREAM_ERRORS.labels(error.code).inc()
            failure = openai.error_event(error)
        except ClientGone:
            ABANDONED.inc()
            await self._settlements.settle(call, _bill_of_stream(request, stream))
            return
        except asyncio.CancelledError:
            self._settlements.settle_later(call, _bill_of_stream(request, stream))
            raise
        if answer is not None and body is not None:
            await self._deliver(call, request, exchange, answer, body)
            return
        try:
            receipt = await self._settlements.settle(call, _bill_of_stream(request, stream))
            await exchange.finish(comment_of(receipt, call.request_id) + (failure or stream.closing))
        finally:
            if answer is not None:
                await answer.finish()

    async def _converse(
        self, call: Call, request: ChatRequest, stream: ChatStream, exchange: Exchange
    ) -> tuple[UpstreamAnswer, bytes | None]:
        """Pass a streamed answer on; return the answer, with its body where it was not streamed after all."""
        answer = await self._upstream.send("POST", CHAT_PATH, body=request.body, headers=exchange.headers, model=request.model)
        try:
            if answer.status != 200 or not answer.is_stream:
                return answer, await answer.read()
            await self._relay(call, answer, stream, exchange)
        except BaseException:
            # Nobody reads on, so the provider need not go on either.
            answer.close()
            raise
        return answer, None

    async def _relay(self, call: Call, answer: UpstreamAnswer, stream: ChatStream, exchange: Exchange) -> None:
        """Pass a stream on up to its end. The answer begins with the first piece: until then an error is told by its status."""
        ended = False
        while not ended and not stream.closing:
            data = await answer.read_some()
            ended = not data
            passing = stream.end() if ended else stream.feed(data)
            if passing or stream.closing:
                if not exchange.started:
                    await exchange.start(200, [*answer.headers, (REQUEST_ID, call.request_id.encode())])
                if passing:
                    await exchange.write(passing)
        if not exchange.started:
            raise UpstreamError("the AI provider answered with an empty stream")

    async def _fail(self, call: Call, error: UpstreamError) -> None:
        UPSTREAM_ERRORS.labels(error.code).inc()
        log.info("upstream_failed", request_id=call.request_id, code=error.code, **error.details)
        await self._settlements.release(call)


def _bill_of(request: ChatRequest, reported: Reported | None, text_bytes: int = 0, pieces: int = 0) -> Bill:
    """Return what to charge: what the provider reported, else a count of our own, which is never zero."""
    if reported is not None:
        return Bill(usage=reported.usage, raw_usage=reported.raw)
    counted = Usage(input_tokens=request.prompt.charged_tokens, output_tokens=spoken_tokens(text_bytes, pieces))
    return Bill(usage=counted, estimated=True)


def _bill_of_stream(request: ChatRequest, stream: ChatStream) -> Bill:
    return _bill_of(request, stream.reported) if stream.reported else _bill_of(request, None, *stream.spoken())
