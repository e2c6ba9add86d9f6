"""Routing: which provider answers a request, and which one is asked when that one fails."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote

import structlog

from tokenwell.errors import ModelNotFound, UpstreamError
from tokenwell.gateway.breaker import Breaker, BreakerState
from tokenwell.gateway.listing import WholeAnswer, model_page, models_page
from tokenwell.gateway.metrics import PROVIDER_BREAKERS, PROVIDER_REQUESTS
from tokenwell.gateway.models import REFUSE, Catalogue, Kind, Provider, Target
from tokenwell.gateway.providers import AiProvider, speaks
from tokenwell.gateway.upstream import HttpAnswer, UpstreamAnswer

MODELS = "/models"

log = structlog.get_logger("tokenwell.gateway")


class Lane:
    """A target as it is asked: its provider, the model's name there, and its breaker."""

    __slots__ = ("_answered", "_failed", "_refused", "_spared", "breaker", "model", "priority", "provider", "served_by", "weight")

    def __init__(self, provider: AiProvider, breaker: Breaker, model: str, *, target: Target) -> None:
        self.provider = provider
        self.breaker = breaker
        self.model = model
        self.weight = target.weight
        self.priority = target.priority
        self.served_by = f"{provider.name}/{model}"
        outcomes = [PROVIDER_REQUESTS.labels(provider.name, outcome) for outcome in ("answered", "refused", "failed", "spared")]
        self._answered, self._refused, self._failed, self._spared = outcomes

    def spare(self) -> None:
        """Note that it was not asked, since its breaker is open."""
        self._spared.inc()

    def note(self, status: int, now: float) -> None:
        """Note the status that was answered; 0 for none at all."""
        if status >= 500 or not status:
            (self._refused if status else self._failed).inc()
            if self.breaker.fail(now):
                PROVIDER_BREAKERS.labels(self.provider.name).inc()
                log.warning("provider_left_alone", provider=self.provider.name, model=self.model, status=status)
            return
        (self._refused if status == 429 else self._answered).inc()
        # Too many requests are no sign of illness; but whoever says so is there.
        if status != 429 or self.breaker.state(now) is not BreakerState.CLOSED:
            self.breaker.succeed()


class Router:
    """Sends each request to a provider of its model, the next one where it fails before the first byte of its answer.

    `clock` counts seconds, `draw` gives numbers from 0 to 1. `listed` says whether it answers for /models itself. Raises
    RequestInvalid for a provider that cannot be used.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        environ: Mapping[str, str] = os.environ,
        listed: bool = True,
        clock: Callable[[], float] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._catalogue = catalogue
        self._listed = listed
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._draw = draw
        self._providers = {name: AiProvider(name, each, environ) for name, each in catalogue.providers.items()}
        self._breakers: dict[str, Breaker] = {}
        self._lanes = {
            name: sorted((self._lane(target, name) for target in model.targets), key=lambda lane: lane.priority)
            for name, model in catalogue.models.items()
        }
        unknown = catalogue.unknown_models
        self._fallback = None if unknown == REFUSE else self._lane(Target(provider=unknown), "")

    async def open(self) -> None:
        """Get ready, on the event loop that will use it."""
        for provider in self._providers.values():
            await provider.open()

    async def close(self) -> None:
        """Close every connection."""
        for provider in self._providers.values():
            await provider.close()

    def check(self, path: str, model: str) -> None:
        """Return if a model can be asked under a path. Raises ModelNotFound."""
        self._lanes_for(path, model)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        model: str | None = None,
        served_by: str = "",
    ) -> UpstreamAnswer:
        """Send a request to a provider of its model; returns as the answer begins, or as the last provider has failed.

        Where `served_by` names one of them, only that one is asked: nobody else keeps what the request is about.
        Raises ModelNotFound, UpstreamError, UpstreamTimeout.
        """
        headers = headers or {}
        if model is None and self._listed and path.partition("?")[0].startswith(MODELS):
            return self._list(path, headers)
        lanes = self._lanes_for(path, model or "")
        if served_by:
            lanes = [lane for lane in lanes if lane.served_by == served_by] or lanes
        if len(lanes) > 1:
            lanes = list(self._drawn(lanes))
        answer: HttpAnswer | None = None
        failure: UpstreamError | None = None
        for lane in lanes:
            if not lane.breaker.admit(self._clock()):
                lane.spare()
                continue
            if answer is not None:
                await answer.finish()
            answer = failure = None
            try:
                answer = await self._ask(lane, method, path, body=body, headers=headers, model=model)
            except UpstreamError as error:
                failure = error
                continue
            if answer.status != 429 and answer.status < 500:
                return answer
        if answer is not None:
            return answer
        raise failure or UpstreamError("the AI provider keeps failing and is left alone for a while")

    async def _ask(
        self, lane: Lane, method: str, path: str, *, body: bytes | None, headers: Mapping[bytes, bytes], model: str | None
    ) -> HttpAnswer:
        there = lane.model or model or ""
        try:
            answer = await lane.provider.send(
                method,
                lane.provider.path_of(path, there),
                body=body,
                headers=headers,
                model=there if there != model else None,
            )
        except UpstreamError as error:
            lane.note(0, self._clock())
            log.info("provider_failed", provider=lane.provider.name, model=there, code=error.code, reason=error.message)
            raise
        lane.note(answer.status, self._clock())
        answer.served_by = lane.served_by if lane.model else f"{lane.served_by}{there}"
        return answer

    def _lanes_for(self, path: str, model: str) -> list[Lane]:
        lanes = self._lanes.get(model)
        if lanes is None:
            lanes = [] if self._fallback is None else [self._fallback]
        usable = [lane for lane in lanes if speaks(lane.provider.kind, path)]
        if not usable:
            why = f"cannot be asked at {path}" if lanes else "does not exist"
            raise ModelNotFound(f"the model {model} {why}", model=model)
        return usable

    def _drawn(self, lanes: list[Lane]) -> Iterator[Lane]:
        """Give lanes by priority, equals in an order drawn by their weights."""
        waiting = list(lanes)
        while waiting:
            equals = [lane for lane in waiting if lane.priority == waiting[0].priority]
            mark = self._draw() * sum(lane.weight for lane in equals)
            chosen = equals[-1]
            for lane in equals:
                mark -= lane.weight
                if mark < 0:
                    chosen = lane
                    break
            waiting.remove(chosen)
            yield chosen

    def _lane(self, target: Target, name: str) -> Lane:
        provider = self._providers[target.provider]
        model = target.model or name
        settings = self._catalogue.providers[target.provider]
        fresh = Breaker(failure_limit=settings.breaker_failures, open_seconds=settings.breaker_seconds)
        return Lane(provider, self._breakers.setdefault(f"{target.provider}/{model}", fresh), model, target=target)

    def _list(self, path: str, headers: Mapping[bytes, bytes]) -> WholeAnswer:
        names = list(self._catalogue.models)
        name = unquote(path.partition("?")[0].removeprefix(MODELS).removeprefix("/"))
        is_anthropic = b"anthropic-version" in headers
        if not name:
            return models_page(names, is_anthropic=is_anthropic)
        if name not in self._lanes:
            raise ModelNotFound(f"the model {name} does not exist", model=name)
        return model_page(name, is_anthropic=is_anthropic)


def single_provider(url: str, api_key: str, *, timeout_seconds: float) -> Router:
    """Return the way to one provider that is asked for every model, as the settings name it."""
    host = url.partition("://")[2].partition("/")[0].partition(":")[0].lower()
    kind = Kind.OPENAI_COMPATIBLE
    if host == "api.openai.com":
        kind = Kind.OPENAI
    elif host == "api.anthropic.com":
        kind = Kind.ANTHROPIC
    elif host.endswith((".openai.azure.com", ".services.ai.azure.com")):
        kind = Kind.AZURE
    provider = Provider(
        kind=kind,
        base_url=url,
        api_key="env:KEY" if api_key else "",
        first_byte_seconds=timeout_seconds,
        silence_seconds=timeout_seconds,
        breaker_failures=0,
    )
    catalogue = Catalogue(providers={"upstream": provider}, unknown_models="upstream")
    return Router(catalogue, environ={"KEY": api_key}, listed=False)
