"""Forwarding: one admitted call, sent on to the provider, its answer passed back and charged."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import structlog

from tokenwell.core.receipts import Receipt
from tokenwell.core.usage import Usage
from tokenwell.errors import TokenwellError, UpstreamError
from tokenwell.gateway.asking import AiRequest
from tokenwell.gateway.calls import Bill
from tokenwell.gateway.counting import spoken_tokens
from tokenwell.gateway.dialects import Dialect, Reported, Stream
from tokenwell.gateway.exchange import ClientGone, Exchange
from tokenwell.gateway.metrics import ABANDONED, CUT, DRAINED, UPSTREAM_ERRORS
from tokenwell.gateway.receipts import REQUEST_ID, comment_of, headers_of
from tokenwell.gateway.reservations import Reservation
from tokenwell.gateway.settlement import Settlements
from tokenwell.gateway.streams import EVENT_END
from tokenwell.gateway.upstream import Upstream, UpstreamAnswer
from tokenwell.service.answers import Answers

log = structlog.get_logger("tokenwell.gateway")


class Forwarding:
    """One call on its way. `run` it once."""

    __slots__ = (
        "_answer",
        "_answers",
        "_call",
        "_dialect",
        "_exchange",
        "_heard",
        "_logbook",
        "_request",
        "_reservation",
        "_settlements",
        "_upstream",
    )

    def __init__(
        self,
        reservation: Reservation,
        dialect: Dialect,
        request: AiRequest,
        exchange: Exchange,
        *,
        upstream: Upstream,
        settlements: Settlements,
        answers: Answers,
    ) -> None:
        self._answers = answers
        self._reservation = reservation
        self._call = reservation.call
        self._answer: UpstreamAnswer | None = None
        self._dialect = dialect
        self._request = request
        self._exchange = exchange
        self._upstream = upstream
        self._settlements = settlements
        self._logbook = settlements.logbook
        self._heard = 0

    def run(self) -> Coroutine[Any, Any, None]:
        """Answer the call and settle its hold. Raises UpstreamError before anything is sent; the hold is released then."""
        return self._stream() if self._request.streams else self._plain()

    async def _ask(self) -> UpstreamAnswer:
        request, exchange = self._request, self._exchange
        path = exchange.under(self._dialect.path)
        self._logbook.ask(self._call.request_id)
        return await self._upstream.send(
            "POST", path, body=request.body, headers=exchange.headers, model=request.model, served_by=request.served_by
        )

    async def _plain(self) -> None:
        """Answer as a whole. A client that does not wait for it is charged all the same: the provider was asked, and goes on."""
        try:
            self._answer = answer = await self._ask()
            body = await answer.read()
        except UpstreamError as error:
            await self._fail(error)
            raise
        except asyncio.CancelledError:
            self._settlements.settle_later(self._call, self._bill_of(None))
            raise
        await self._deliver(answer, body)

    async def _deliver(self, answer: UpstreamAnswer, body: bytes) -> None:
        whole = self._dialect.read(body) if answer.status == 200 else None
        if whole is None or whole.has_failed:
            await self._fail(UpstreamError(status=answer.status))
            status, headers, body = self._dialect.telling.told_upstream(answer.status, answer.headers, body)
            await self._exchange.answer(status, [*headers, (REQUEST_ID, self._call.request_id.encode())], body)
            return
        reported = whole.reported()
        bill = self._bill_of(reported, 0 if reported else whole.text_bytes())
        receipt = await self._settle(bill, whole.answer_id)
        await self._exchange.answer(200, answer.headers + headers_of(receipt, self._call.request_id, self._call.limited_to), body)

    async def _stream(self) -> None:
        """Answer piece by piece. A client that goes away stops the provider, and is charged what was said until then."""
        stream = self._dialect.stream(self._request)
        body: bytes | None = None
        failure = b""
        try:
            async with self._exchange.until_gone():
                body = await self._converse(stream)
        except UpstreamError as error:
            if not self._exchange.started:
                await self._fail(error)
                raise
            UPSTREAM_ERRORS.labels(error.code).inc()
            failure = self._dialect.telling.error_event(error)
        except ClientGone:
            ABANDONED.inc()
            await self._part(stream)
            return
        except asyncio.CancelledError:
            self._break_off()
            self._settlements.settle_later(self._call, self._bill_of_stream(stream))
            raise
        answer = self._answer
        if answer is not None and body is not None:
            await self._deliver(answer, body)
            return
        try:
            receipt = await self._settle(self._bill_of_stream(stream), stream.answer_id)
            await self._exchange.finish(
                comment_of(receipt, self._call.request_id, self._call.limited_to) + (failure or stream.closing)
            )
        finally:
            if answer is not None:
                await answer.finish()

    async def _converse(self, stream: Stream) -> bytes | None:
        """Pass a streamed answer on; return its body where it was not streamed after all."""
        self._answer = answer = await self._ask()
        try:
            if answer.status != 200 or not answer.is_stream:
                return await answer.read()
            await self._relay(answer, stream)
        except asyncio.CancelledError:
            raise  # whether to break off depends on why
        except BaseException:
            self._break_off()
            raise
        return None

    async def _relay(self, answer: UpstreamAnswer, stream: Stream) -> None:
        """Pass a stream on up to its end. The answer begins with the first piece: until then an error is told by its status."""
        exchange, reservation = self._exchange, self._reservation
        ended = False
        while not ended and not stream.closing:
            data = await answer.read_some()
            ended = not data
            if stream.passed_bytes + len(data) >= reservation.look_at_bytes:
                if not await self._relay_looking(data, answer, stream):
                    return
                continue
            self._hear(data)
            passing = stream.end() if ended else stream.feed(data)
            if passing or stream.closing:
                if not exchange.started:
                    await self._start(answer)
                if passing:
                    await exchange.write(passing)
        if not exchange.started:
            raise UpstreamError("the AI provider answered with an empty stream")

    async def _relay_looking(self, data: bytes, answer: UpstreamAnswer, stream: Stream) -> bool:
        """Pass bytes on up to where the hold must be looked at, and so on; return whether the stream goes on after them.

        What may go on is written at once as a whole, unless the hold is being grown: that may take a while.
        """
        reservation = self._reservation
        ended = not data
        waiting: list[bytes] = []
        plain = stream.plain_bytes(data)
        if plain and reservation.takes(stream, data[:plain]):
            # Most streams never come near their hold: then nothing is cut, and looked at once.
            self._hear(data[:plain])
            self._logbook.say(self._call.request_id, reservation.said_tokens)
            waiting.append(data[:plain])
            data = data[plain:]
            if not self._exchange.started:
                await self._start(answer)
        while data or ended:
            # Up to the end of the event in which it is due: a piece of one passes nothing.
            end = EVENT_END.search(data, max(0, reservation.look_at_bytes - stream.passed_bytes - 1))
            due = len(data) if end is None else end.end()
            self._hear(data[:due])
            passing = stream.end() if ended else stream.feed(data[:due])
            data, ended = data[due:], False
            if passing:
                waiting.append(passing)
            if (waiting or stream.closing) and not self._exchange.started:
                await self._start(answer)
            if stream.closing:
                break
            if stream.passed_bytes >= reservation.look_at_bytes:
                if reservation.is_growing:
                    await self._write(waiting)
                covered = await reservation.covers(stream)
                self._logbook.say(self._call.request_id, reservation.said_tokens)
                if not covered:
                    await self._write(waiting)
                    await self._cut(stream)
                    return False
        await self._write(waiting)
        return True

    def _hear(self, data: bytes) -> None:
        """Note how much of a stream has come, for whoever has to charge it should this process be killed."""
        self._heard += data.count(b"data:")
        self._logbook.hear(self._call.request_id, self._heard)

    async def _write(self, waiting: list[bytes]) -> None:
        if waiting:
            await self._exchange.write(b"".join(waiting))
            waiting.clear()

    async def _start(self, answer: UpstreamAnswer) -> None:
        await self._exchange.start(200, [*answer.headers, (REQUEST_ID, self._call.request_id.encode())])

    async def _cut(self, stream: Stream) -> None:
        """End an answer that the balance does not cover any further, as the provider itself ends one that is too long."""
        CUT.inc()
        self._break_off()
        log.info("stream_cut", request_id=self._call.request_id)
        if passing := stream.cut(self._bill_of_stream(stream).usage):
            await self._exchange.write(passing)

    async def _part(self, stream: Stream) -> None:
        """Settle a stream whose client has left: by what was said until then, or by reading on if the provider is to be drained."""
        answer = self._answer
        if answer is not None and answer.drains and answer.status == 200 and answer.is_stream and not stream.closing:
            self._settlements.read_on(self._drain(answer, stream))
            return
        self._break_off()
        await self._settle(self._bill_of_stream(stream), stream.answer_id)

    async def _drain(self, answer: UpstreamAnswer, stream: Stream) -> None:
        """Read a stream to its end for nobody but the charge."""
        try:
            while not stream.closing and (data := await answer.read_some()):
                self._hear(data)
                stream.feed(data)
            stream.end()
            DRAINED.inc()
        except UpstreamError as error:
            UPSTREAM_ERRORS.labels(error.code).inc()
        except asyncio.CancelledError:
            answer.close()
            self._settlements.settle_later(self._call, self._bill_of_stream(stream))
            raise
        answer.close()
        await self._settle(self._bill_of_stream(stream), stream.answer_id)

    def _break_off(self) -> None:
        """Let the provider stop at once: nobody reads on."""
        if self._answer is not None:
            self._answer.close()

    async def _settle(self, bill: Bill, answer_id: str) -> Receipt | None:
        receipt = await self._settlements.settle(self._call, bill)
        if answer_id and self._request.stores and self._call.hold_id:
            call, tokens = self._call, bill.usage.prompt_tokens + bill.usage.completion_tokens
            served_by = self._answer.served_by if self._answer else ""
            try:
                await asyncio.to_thread(
                    self._answers.remember, call.organization_id, answer_id, model=call.model, tokens=tokens, served_by=served_by
                )
            except TokenwellError as error:
                log.warning("answer_not_remembered", request_id=call.request_id, answer_id=answer_id, cause=error.code)
        return receipt

    async def _fail(self, error: UpstreamError) -> None:
        UPSTREAM_ERRORS.labels(error.code).inc()
        log.info("upstream_failed", request_id=self._call.request_id, code=error.code, **error.details)
        await self._settlements.release(self._call)

    def _bill_of(self, reported: Reported | None, text_bytes: int = 0, pieces: int = 0) -> Bill:
        """Return what to charge: what the provider reported, else a count of our own, which is never zero."""
        if reported is not None:
            return Bill(usage=reported.usage, raw_usage=reported.raw, facts=self._facts())
        counted = Usage(input_tokens=self._request.prompt.charged_tokens, output_tokens=spoken_tokens(text_bytes, pieces))
        return Bill(usage=counted, facts=self._facts(), estimated=True)

    def _bill_of_stream(self, stream: Stream) -> Bill:
        if reported := stream.reported:
            return self._bill_of(reported)
        begun = stream.begun
        if begun is None:
            return self._bill_of(None, *stream.spoken())
        said = max(begun.usage.output_tokens, spoken_tokens(*stream.spoken()) - begun.usage.reasoning_tokens)
        usage = msgspec.structs.replace(begun.usage, output_tokens=said)
        return Bill(usage=usage, raw_usage=begun.raw, facts=self._facts(), estimated=True)

    def _facts(self) -> dict[str, Any] | None:
        """Return who answered, to be kept with the line."""
        answer = self._answer
        return {"served_by": answer.served_by} if answer is not None and answer.served_by else None
