"""The gateway's app: bare ASGI, from the request line to the metered answer."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

import structlog

from tokenwell.config import Settings
from tokenwell.errors import BalanceRefused, CredentialsInvalid, RequestInvalid, StoreError, StoreUnavailable, TokenwellError
from tokenwell.gateway.admission import Admission
from tokenwell.gateway.asking import Labels
from tokenwell.gateway.chat import CHAT, COMPLETIONS
from tokenwell.gateway.dialects import Dialect
from tokenwell.gateway.embeddings import EMBEDDINGS
from tokenwell.gateway.exchange import BodyTooLarge, ClientGone, Exchange, Message, Receive, Send, Unspeakable
from tokenwell.gateway.expecting import OTHERS, Expectations
from tokenwell.gateway.keeping import Keeping
from tokenwell.gateway.media import MEDIA
from tokenwell.gateway.messages import MESSAGES
from tokenwell.gateway.metering import Metering
from tokenwell.gateway.outages import Outages
from tokenwell.gateway.passing import Passing, is_passed, scope_of, telling_for
from tokenwell.gateway.receipts import REQUEST_ID, refusal_headers
from tokenwell.gateway.recovery import Recovery
from tokenwell.gateway.responses import RESPONSES
from tokenwell.gateway.settlement import Settlements
from tokenwell.gateway.tokenizers import tokenizer
from tokenwell.gateway.upkeep import Upkeep
from tokenwell.gateway.upstream import Upstream
from tokenwell.service.access.keys import GatewayKey, Keys, KeyScope, check_use
from tokenwell.service.answers import Answers
from tokenwell.service.estimates import Estimates
from tokenwell.service.meter import Meter
from tokenwell.service.policies import Policies
from tokenwell.service.ports import new_id

DIALECTS: dict[str, Dialect] = {
    "/v1" + dialect.path: dialect for dialect in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES, *MEDIA)
}
"""What is metered, by its address."""

LET_GO_SECONDS = 2.0
"""How long a stopping gateway waits for calls that the server has broken off."""

DRAIN_SECONDS = 10.0
"""How long a stopping gateway waits for charges that the database has not taken yet."""

log = structlog.get_logger("tokenwell.gateway")


def create_gateway(meter: Meter, keys: Keys, settings: Settings, upstream: Upstream, *, directory: Path | None = None) -> Gateway:
    """Return the gateway as an ASGI app; `startup` and `shutdown` run in its lifespan, or are called by what is around it.

    In `directory` it writes down what a process that is killed would leave undone; without one that is lost.
    """
    return Gateway(meter, keys, settings, upstream, Keeping.opened(directory))


class Gateway:
    """Serves holders of a gateway key: what is in DIALECTS is metered, what `Passing` knows is passed on."""

    def __init__(self, meter: Meter, keys: Keys, settings: Settings, upstream: Upstream, keeping: Keeping) -> None:
        self._keys = keys
        self._keeping = keeping
        self._calls = 0
        self._idle = asyncio.Event()
        self._upstream = upstream
        self._body_limit_bytes = settings.body_limit_bytes
        self._estimates = Estimates(meter.reading)
        expectations = Expectations(self._estimates, default_output_tokens=settings.output_limit_tokens)
        policies = Policies(meter.engine, meter.clock)
        self._outages = outages = Outages(meter, policies, keeping)
        self._settlements = Settlements(meter, expectations=expectations, keeping=keeping, outages=outages)
        self._upkeep = Upkeep(meter.aio, outages, self._settlements, Recovery(keeping.directory, self._settlements))
        self._answers = Answers(meter.engine, meter.clock)
        self._passing = Passing(meter.aio, upstream, self._answers, body_limit_bytes=settings.body_limit_bytes)
        admission = Admission(
            meter,
            self._answers,
            expectations,
            policies,
            outages=outages,
            logbook=keeping.logbook,
            hold_ttl=timedelta(seconds=settings.hold_seconds),
        )
        self._metering = Metering(admission, upstream, self._settlements, self._answers)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's lifespan."""
        if scope["type"] == "http":
            self._calls += 1
            self._idle.clear()
            try:
                await self._answer(Exchange(scope, receive, send))
            finally:
                self._calls -= 1
                if not self._calls:
                    self._idle.set()
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close"})

    async def startup(self) -> None:
        """Get ready on the running event loop."""
        await self._upstream.open()
        await self._upkeep.start()
        await asyncio.to_thread(tokenizer, OTHERS[0])  # ahead of the first request: it takes a moment
        try:
            await asyncio.to_thread(self._answers.forget_old)
        except StoreError as error:
            log.warning("answers_not_forgotten", cause=error.code)

    async def shutdown(self) -> None:
        """Finish the charges under way, at most DRAIN_SECONDS long, and close the connections to the provider."""
        if self._calls:
            # What the server has just broken off is still to hand over its charge.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), LET_GO_SECONDS)
        await self._settlements.drain(DRAIN_SECONDS)
        await self._upkeep.stop()
        await asyncio.to_thread(self._estimates.close)
        await self._upstream.close()
        self._keeping.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await (self.startup() if message["type"] == "lifespan.startup" else self.shutdown())
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _answer(self, exchange: Exchange) -> None:
        request_id = new_id("req")
        dialect = DIALECTS.get(exchange.path)
        telling = telling_for(exchange) if dialect is None else dialect.telling
        try:
            await (self._pass(exchange, request_id) if dialect is None else self._meter(dialect, exchange, request_id))
            return
        except TokenwellError as error:
            status, headers, body = telling.told(error)
            if isinstance(error, BalanceRefused):
                headers += refusal_headers(error)
        except Unspeakable as refusal:
            status, headers, body = telling.told_plainly(refusal.status, refusal.message)
            headers += refusal.headers
        except BodyTooLarge:
            status, headers, body = telling.told_plainly(413, f"The body may be at most {self._body_limit_bytes:,} bytes.")
        except ClientGone:
            return
        except Exception:
            log.exception("gateway_failed", request_id=request_id)
            status, headers, body = telling.told_plainly(500, "The gateway failed; its log says why.")
        if exchange.started:
            raise ConnectionAbortedError("the answer had begun")
        await exchange.answer(status, [*headers, (REQUEST_ID, request_id.encode())], body)

    async def _meter(self, dialect: Dialect, exchange: Exchange, request_id: str) -> None:
        exchange.allow("POST")
        scope = KeyScope.EMBED if dialect is EMBEDDINGS else KeyScope.GENERATE
        key = await self._authenticate(exchange, scope)
        content_type = exchange.require(*dialect.media_types)
        body = await exchange.read(self._body_limit_bytes)
        labels = Labels(_label(exchange, b"x-tokenwell-session"), _label(exchange, b"x-tokenwell-reason"))
        request = dialect.parse(body, labels, content_type)
        check_use(key, scope, request.model)
        await self._metering.answer(key, dialect, request, exchange, request_id=request_id)

    async def _pass(self, exchange: Exchange, request_id: str) -> None:
        if not is_passed(exchange.path):
            raise Unspeakable(404, f"There is nothing at {exchange.path}.")
        await self._passing.answer(await self._authenticate(exchange, scope_of(exchange.path)), exchange, request_id)

    async def _authenticate(self, exchange: Exchange, scope: KeyScope) -> GatewayKey:
        scheme, _, secret = exchange.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            secret = exchange.headers.get(b"x-api-key", b"").decode("latin-1")
        if not secret:
            raise CredentialsInvalid("send a gateway key: Authorization: Bearer tw_live_…, or X-Api-Key")
        known = self._keys.recall(secret)
        key = known if known is not None else await self._look_up(secret)
        check_use(key, scope)
        return key

    async def _look_up(self, secret: str) -> GatewayKey:
        """Return the key of a secret from the database; while that is away, one that was valid just before and is served then."""
        key = self._outages.remembered(self._keys, secret)
        if key is not None:
            return key
        try:
            return await asyncio.to_thread(self._keys.authenticate, secret)
        except StoreUnavailable:
            self._outages.fail()
            key = self._outages.remembered(self._keys, secret)
            if key is None:
                raise
            return key


def _label(exchange: Exchange, name: bytes) -> str | None:
    value = exchange.headers.get(name)
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RequestInvalid(f"{name.decode()} is not UTF-8", field=name.decode()) from None
