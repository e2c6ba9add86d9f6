"""Passing: what goes through to the provider and back without a charge, as the providers do not charge it."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import quote

from tokenwell.core.identifiers import LABEL_LIMIT
from tokenwell.errors import NotFound
from tokenwell.gateway.anthropic import ANTHROPIC
from tokenwell.gateway.asking import model_in
from tokenwell.gateway.dialects import JSON_ONLY
from tokenwell.gateway.exchange import Exchange
from tokenwell.gateway.openai import OPENAI
from tokenwell.gateway.receipts import REQUEST_ID, record_of
from tokenwell.gateway.telling import JSON, Telling
from tokenwell.gateway.upstream import Upstream, UpstreamAnswer
from tokenwell.service.access.keys import GatewayKey, KeyScope, check_use
from tokenwell.service.answers import Answers
from tokenwell.service.meter import AsyncMeter

FREE = {"/v1/messages/count_tokens", "/v1/moderations", "/v1/responses/input_tokens"}
"""Calls that are not charged."""

_MODELS = re.compile(r"/v1/models(?:/(.*))?")
_REQUEST = re.compile(r"/v1/requests/([\w.:-]+)")
_RESPONSE = re.compile(r"/v1/responses/([\w-]+)(/cancel|/input_items)?")
_RESPONSE_METHODS = {None: ("GET", "DELETE"), "/cancel": ("POST",), "/input_items": ("GET",)}

_MODEL = re.compile(r"(?!\.+(?:/|$))[\w@~:+.-]+(?:/(?!\.+(?:/|$))[\w@~:+.-]+)*")
"""A model's name in an address. No segment is only dots: the provider's own paths must not be climbed."""


def is_passed(path: str) -> bool:
    """Return whether there is something at a path that is not charged."""
    return path in FREE or any(pattern.fullmatch(path) for pattern in (_MODELS, _RESPONSE, _REQUEST))


def scope_of(path: str) -> KeyScope:
    """Return what a key must be allowed for a call that is passed on."""
    return KeyScope.MODELS if _MODELS.fullmatch(path) else KeyScope.GENERATE


class Passing:
    """Passes calls on for holders of a key, and tells them what a request of theirs was charged."""

    def __init__(self, meter: AsyncMeter, upstream: Upstream, answers: Answers, *, body_limit_bytes: int) -> None:
        self._meter = meter
        self._upstream = upstream
        self._answers = answers
        self._body_limit_bytes = body_limit_bytes

    async def answer(self, key: GatewayKey, exchange: Exchange, request_id: str) -> None:
        """Answer a call to a path that is passed on. Raises Unspeakable, NotFound, RequestInvalid, UpstreamError."""
        path = exchange.path
        if request := _REQUEST.fullmatch(path):
            await self._tell(key, exchange, request[1], request_id)
            return
        if path in FREE:
            answer = await self._free(key, exchange)
        elif models := _MODELS.fullmatch(path):
            answer = await self._models(exchange, models[1])
        else:
            response = _RESPONSE.fullmatch(path)
            assert response is not None
            answer = await self._response(key, exchange, response[1], response[2])
        await _pass_back(answer, exchange, request_id)

    async def _tell(self, key: GatewayKey, exchange: Exchange, asked_id: str, request_id: str) -> None:
        """Tell what the ledger knows of a request, if it is the organization's own."""
        exchange.allow("GET")
        record = record_of(await self._meter.request(key.organization_id, asked_id))
        await exchange.answer(200, [JSON, (REQUEST_ID, request_id.encode())], record)

    async def _free(self, key: GatewayKey, exchange: Exchange) -> UpstreamAnswer:
        exchange.allow("POST")
        exchange.require(*JSON_ONLY)
        body = await exchange.read(self._body_limit_bytes)
        path = exchange.path.removeprefix("/v1")
        model = model_in(body)
        check_use(key, KeyScope.GENERATE, model)
        if model is not None:
            self._upstream.check(path, model)
        return await self._upstream.send("POST", exchange.under(path), body=body, headers=exchange.headers, model=model)

    async def _models(self, exchange: Exchange, name: str | None) -> UpstreamAnswer:
        exchange.allow("GET")
        path = "/models"
        if name:
            if not _MODEL.fullmatch(name) or len(name) > LABEL_LIMIT:
                raise NotFound("there is no such model")
            path += "/" + quote(name, safe="")
        return await self._upstream.send("GET", exchange.under(path), headers=exchange.headers)

    async def _response(self, key: GatewayKey, exchange: Exchange, answer_id: str, part: str | None) -> UpstreamAnswer:
        """Pass on what is asked of a stored response, if it is the organization's own."""
        exchange.allow(*_RESPONSE_METHODS[part])
        stored = await asyncio.to_thread(self._answers.find, key.organization_id, answer_id)
        path = exchange.under(exchange.path.removeprefix("/v1"))
        body = b"" if exchange.method == "POST" else None
        answer = await self._upstream.send(
            exchange.method, path, body=body, headers=exchange.headers, model=stored.model, served_by=stored.served_by
        )
        if exchange.method == "DELETE" and answer.status < 300:
            await asyncio.to_thread(self._answers.forget, key.organization_id, answer_id)
        return answer


def telling_for(exchange: Exchange) -> Telling:
    """Return how errors are told where the address is the same in every dialect."""
    return ANTHROPIC if b"anthropic-version" in exchange.headers else OPENAI


async def _pass_back(answer: UpstreamAnswer, exchange: Exchange, request_id: str) -> None:
    named = (REQUEST_ID, request_id.encode())
    body = await answer.read()
    if answer.status == 200 and answer.is_stream:
        await exchange.answer(200, [*answer.headers, named], body)
        return
    status, headers, body = telling_for(exchange).told_upstream(answer.status, answer.headers, body)
    await exchange.answer(status, [*headers, named], body)
