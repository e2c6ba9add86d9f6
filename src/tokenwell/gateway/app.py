"""The gateway's app: bare ASGI, from the request line to the metered answer."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from urllib.parse import quote

import structlog

from tokenwell.config import Settings
from tokenwell.core.identifiers import LABEL_LIMIT
from tokenwell.errors import BalanceRefused, CredentialsInvalid, NotFound, RequestInvalid, TokenwellError
from tokenwell.gateway.anthropic import ANTHROPIC
from tokenwell.gateway.asking import Labels, model_in
from tokenwell.gateway.chat import CHAT
from tokenwell.gateway.dialects import Dialect
from tokenwell.gateway.exchange import BodyTooLarge, ClientGone, Exchange, Message, Receive, Send
from tokenwell.gateway.messages import MESSAGES
from tokenwell.gateway.metering import Metering
from tokenwell.gateway.openai import OPENAI
from tokenwell.gateway.receipts import REQUEST_ID, refusal_headers
from tokenwell.gateway.settlement import Settlements
from tokenwell.gateway.telling import Telling
from tokenwell.gateway.upstream import Upstream, UpstreamAnswer
from tokenwell.service.keys import GatewayKey, Keys
from tokenwell.service.meter import Meter
from tokenwell.service.ports import new_id

DIALECTS: dict[str, Dialect] = {"/v1" + dialect.path: dialect for dialect in (CHAT, MESSAGES)}
"""What is metered, by its address."""

FREE = {"/v1/messages/count_tokens", "/v1/moderations"}
"""What is passed through and not charged, as the providers do not charge it."""

MODELS_PATH = "/v1/models"

_MODEL = re.compile(r"(?!\.+(?:/|$))[\w@~:+.-]+(?:/(?!\.+(?:/|$))[\w@~:+.-]+)*")
"""A model's name in an address. No segment is only dots: the provider's own paths must not be climbed."""

DRAIN_SECONDS = 10.0
"""How long a stopping gateway waits for charges that the database has not taken yet."""

log = structlog.get_logger("tokenwell.gateway")


def create_gateway(meter: Meter, keys: Keys, settings: Settings, upstream: Upstream) -> Gateway:
    """Return the gateway as an ASGI app; `startup` and `shutdown` run in its lifespan, or are called by what is around it."""
    return Gateway(meter, keys, settings, upstream)


class Gateway:
    """Serves POST /v1/chat/completions, GET /v1/models and GET /v1/models/{id} to holders of a gateway key."""

    def __init__(self, meter: Meter, keys: Keys, settings: Settings, upstream: Upstream) -> None:
        self._keys = keys
        self._upstream = upstream
        self._body_limit_bytes = settings.body_limit_bytes
        self._settlements = Settlements(meter)
        self._metering = Metering(
            meter,
            upstream,
            self._settlements,
            hold_ttl=timedelta(seconds=settings.hold_seconds),
            output_limit_tokens=settings.output_limit_tokens,
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's lifespan."""
        if scope["type"] == "http":
            await self._answer(Exchange(scope, receive, send))
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close"})

    async def startup(self) -> None:
        """Get ready on the running event loop."""
        await self._upstream.open()

    async def shutdown(self) -> None:
        """Finish the charges under way, at most DRAIN_SECONDS long, and close the connections to the provider."""
        await self._settlements.drain(DRAIN_SECONDS)
        await self._upstream.close()

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
        telling = _telling_for(exchange) if dialect is None else dialect.telling
        try:
            await (self._route(exchange, request_id) if dialect is None else self._meter(dialect, exchange, request_id))
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

    async def _route(self, exchange: Exchange, request_id: str) -> None:
        path = exchange.path
        if path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
            _allow(exchange, "GET")
            await self._models(exchange, request_id)
        elif path in FREE:
            _allow(exchange, "POST")
            await self._pass(exchange, request_id)
        else:
            raise Unspeakable(404, f"There is nothing at {path}.")

    async def _meter(self, dialect: Dialect, exchange: Exchange, request_id: str) -> None:
        _allow(exchange, "POST")
        key = await self._authenticate(exchange)
        _require_readable(exchange.headers)
        body = await exchange.read(self._body_limit_bytes)
        labels = Labels(_label(exchange, b"x-tokenwell-session"), _label(exchange, b"x-tokenwell-reason"))
        await self._metering.answer(key, dialect, dialect.parse(body, labels), exchange, request_id=request_id)

    async def _pass(self, exchange: Exchange, request_id: str) -> None:
        await self._authenticate(exchange)
        _require_readable(exchange.headers)
        body = await exchange.read(self._body_limit_bytes)
        path = exchange.path.removeprefix("/v1")
        model = model_in(body)
        if model is not None:
            self._upstream.check(path, model)
        answer = await self._upstream.send("POST", exchange.under(path), body=body, headers=exchange.headers, model=model)
        await self._pass_back(answer, exchange, request_id)

    async def _pass_back(self, answer: UpstreamAnswer, exchange: Exchange, request_id: str) -> None:
        status, headers, body = _telling_for(exchange).told_upstream(answer.status, answer.headers, await answer.read())
        await exchange.answer(status, [*headers, (REQUEST_ID, request_id.encode())], body)

    async def _models(self, exchange: Exchange, request_id: str) -> None:
        await self._authenticate(exchange)
        path = "/models"
        name = exchange.path.removeprefix(MODELS_PATH).removeprefix("/")
        if name:
            if not _MODEL.fullmatch(name) or len(name) > LABEL_LIMIT:
                raise NotFound("there is no such model")
            path += "/" + quote(name, safe="")
        answer = await self._upstream.send("GET", exchange.under(path), headers=exchange.headers)
        await self._pass_back(answer, exchange, request_id)

    async def _authenticate(self, exchange: Exchange) -> GatewayKey:
        scheme, _, secret = exchange.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            secret = exchange.headers.get(b"x-api-key", b"").decode("latin-1")
        if not secret:
            raise CredentialsInvalid("send a gateway key: Authorization: Bearer tw_live_…, or X-Api-Key")
        key = self._keys.recall(secret)
        return key if key is not None else await asyncio.to_thread(self._keys.authenticate, secret)


class Unspeakable(Exception):
    """A request that HTTP itself refuses, with the status and headers that say so."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def _telling_for(exchange: Exchange) -> Telling:
    """Return how errors are told where the address is the same in every dialect."""
    return ANTHROPIC if b"anthropic-version" in exchange.headers else OPENAI


def _allow(exchange: Exchange, method: str) -> None:
    if exchange.method != method:
        raise Unspeakable(405, f"Only {method} is understood here.", (b"allow", method.encode()))


def _require_readable(headers: dict[bytes, bytes]) -> None:
    """Raise Unspeakable unless a body of these headers can be read."""
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise Unspeakable(415, "Send JSON, with Content-Type: application/json.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Unspeakable(415, "Send the body uncompressed.")


def _label(exchange: Exchange, name: bytes) -> str | None:
    value = exchange.headers.get(name)
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RequestInvalid(f"{name.decode()} is not UTF-8", field=name.decode()) from None
