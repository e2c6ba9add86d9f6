"""The application: every part of Tokenwell joined to one ASGI application, opened and closed by its lifespan."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import structlog

from tokenwell.api.app import create_api
from tokenwell.api.webhooks import create_webhooks
from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.errors import StoreError, StoreUnavailable, TokenwellError
from tokenwell.gateway.app import create_gateway
from tokenwell.observability import METRICS_CONTENT_TYPE, render_metrics
from tokenwell.service.jobs import Runner
from tokenwell.service.ports import Clock, system_clock
from tokenwell.serving import told_to_stop
from tokenwell.wiring.answers import App, Message, Observed, Receive, Send, answer, not_open
from tokenwell.wiring.jobs import Parts, open_runner
from tokenwell.wiring.opening import open_patiently, open_suite, spool_directory
from tokenwell.wiring.upstreams import open_upstream

_PING_SECONDS = 5
_GATEWAY = re.compile(r"/v1/(?:chat|completions|responses|embeddings|moderations|images|audio|messages|models|requests)(?:/|\Z)")
"""What AI clients speak to; all else under `/v1/` is the REST API."""

_log = structlog.get_logger("tokenwell.server")


def create_app(settings: Settings, *, clock: Clock = system_clock) -> Application:
    """Return the whole of Tokenwell as one ASGI application. Its lifespan opens and closes everything."""
    return Application(settings, clock)


class Application:
    """Sends each request to its part: `/v1/` to the gateway or the REST API, `/webhooks/` to what hears them, `/healthz` and
    `/metrics` stay here, all else goes to the console."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._opened = AsyncExitStack()
        self._gateway: App = not_open
        self._api: App = not_open
        self._console: App = not_open
        self._webhooks: App = not_open
        self._ping: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path: str = scope["path"]
        if _GATEWAY.match(path):
            await self._gateway(scope, receive, send)
        elif path.startswith("/v1/"):
            await self._api(scope, receive, send)
        elif path.startswith("/webhooks/"):
            await self._webhooks(scope, receive, send)
        elif path == "/healthz":
            await self._tell_health(send)
        elif path == "/metrics":
            directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
            await answer(send, 200, METRICS_CONTENT_TYPE, await asyncio.to_thread(render_metrics, directory))
        else:
            await self._console(scope, receive, send)

    async def open(self) -> None:
        """Open everything, waiting for a database that cannot be reached yet. Raises StoreError."""
        settings = self._settings
        meter = await asyncio.to_thread(open_patiently, settings, self._clock)
        self._opened.callback(meter.close)
        suite = open_suite(meter, settings)
        self._opened.callback(suite.close)
        provider = open_upstream(settings, meter)
        gateway = create_gateway(meter, suite.keys, settings, provider, directory=spool_directory(settings))
        await gateway.startup()
        self._opened.push_async_callback(gateway.shutdown)
        self._gateway = Observed("gateway", gateway)
        self._api = Observed("api", create_api(suite, settings))
        self._webhooks = Observed("api", create_webhooks(suite))
        console = create_console(suite, settings)
        self._opened.enter_context(told_to_stop(console.state.hub.end))
        self._console = Observed("console", console)
        self._ping = meter.aio.ping
        if settings.run_jobs:
            self._run_jobs(open_runner(suite, settings))

    def _run_jobs(self, runner: Runner[Parts]) -> None:
        running = asyncio.create_task(runner.run(), name="jobs")

        async def stop() -> None:
            runner.stop()
            await running

        self._opened.push_async_callback(stop)

    async def close(self) -> None:
        """Close everything, the last opened first."""
        self._ping, self._gateway, self._api, self._webhooks, self._console = None, not_open, not_open, not_open, not_open
        await self._opened.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.open()
        except (TokenwellError, OSError) as error:
            _log.error("start_failed", error=str(error))
            await self._opened.aclose()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        _log.info("started", settings=repr(self._settings))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        _log.info("stopped")
        await send({"type": "lifespan.shutdown.complete"})

    async def _tell_health(self, send: Send) -> None:
        try:
            if self._ping is None:
                raise StoreUnavailable
            async with asyncio.timeout(_PING_SECONDS):
                await self._ping()
        except (StoreError, TimeoutError):
            await answer(send, 503, "application/json", b'{"status":"unavailable","store":"unreachable"}', retry=True)
        else:
            await answer(send, 200, "application/json", b'{"status":"ok","store":"ok"}')
