"""Wiring: the composition root. Opens the store, the services, the gateway and the console, and joins them to one application."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy
import structlog
from alembic.util import CommandError
from prometheus_client import Counter

from tokenwell.config import Settings
from tokenwell.console.app import create_console
from tokenwell.core.health import Thresholds
from tokenwell.errors import AccessDenied, StoreError, StoreUnavailable, TokenwellError, UpstreamError
from tokenwell.gateway.app import create_gateway
from tokenwell.gateway.upstream import HttpUpstream, Upstream, UpstreamAnswer
from tokenwell.localmodel import LocalModel
from tokenwell.observability import (
    HTTP_OPEN,
    HTTP_REQUESTS,
    HTTP_SECONDS,
    METRICS_CONTENT_TYPE,
    configure_logging,
    render_metrics,
    request_id_in,
)
from tokenwell.service.demo import make_demo
from tokenwell.service.keys import Keys
from tokenwell.service.meter import Meter
from tokenwell.service.people import People
from tokenwell.service.ports import Clock, new_id, system_clock
from tokenwell.serving import bind, run_app, run_workers, stopped_by_signals
from tokenwell.store.dialects import parse_database, translate
from tokenwell.store.migration import revision_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN_ATTEMPTS = 30
"""How often a database that cannot be reached is tried as the server starts, a second apart."""

DEMO_EMAIL = "admin@acme.example"
"""Who signs in to the demo."""

_PING_SECONDS = 5
_log = structlog.get_logger("tokenwell.server")
_std_log = logging.getLogger("tokenwell.server")


def open_meter(settings: Settings, *, create: bool = False, clock: Clock = system_clock) -> Meter:
    """Open the ledger, its schema brought up to date. Raises StoreUnavailable where it cannot be reached.

    An SQLite file that does not exist is made only if `create` says so: elsewhere its name is most likely misspelt.
    """
    database = parse_database(settings.database_url)
    if database.is_sqlite:
        file = Path(str(database.url.database))
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        elif not file.exists():
            raise StoreUnavailable(f"there is no database at {file}; tokenwell migrate makes one")
    try:
        return Meter(
            settings.database_url,
            thresholds=Thresholds(settings.warning_threshold_tokens, settings.minimum_reserve_tokens),
            clock=clock,
            queue_limit=settings.queue_limit,
            batch_limit=settings.batch_limit,
        )
    except CommandError as error:
        raise StoreUnavailable(f"the database is not one of this version of Tokenwell: {error}") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise translate(error) or error from error


def open_people(meter: Meter, settings: Settings) -> People:
    """Return the people in the meter's database."""
    return People(meter.engine, meter.clock, session_lifetime=timedelta(hours=settings.session_hours))


@contextmanager
def open_keys(meter: Meter) -> Iterator[Keys]:
    """Give the gateway keys in the meter's database."""
    keys = Keys(meter.engine, meter.clock)
    try:
        yield keys
    finally:
        keys.close()


def revision_in(meter: Meter) -> str | None:
    """Return the revision that the database's schema is at."""
    return revision_of(meter.engine)


def create_app(settings: Settings, *, clock: Clock = system_clock) -> Application:
    """Return the whole of Tokenwell as one ASGI application. Its lifespan opens and closes everything."""
    return Application(settings, clock)


def create_worker_app() -> Application:
    """Return the application of a worker process, whose settings are in its environment."""
    settings = Settings.from_env(os.environ)
    configure_logging(level=settings.log_level, form=settings.log_format)
    return create_app(settings)


def serve(settings: Settings, *, workers: int = 1, ready: Callable[[str], None] = lambda model: None) -> None:
    """Serve until SIGINT or SIGTERM. `ready` is called with the model's name once requests are taken.

    With no provider configured a local model is run beside it. Raises RequestInvalid if the port is taken.
    """
    configure_logging(level=settings.log_level, form=settings.log_format)
    with stopped_by_signals(), bind(settings) as listener:
        _open_patiently(settings, system_clock).close()
        if settings.upstream_url:
            _serve(settings, listener, workers, lambda: ready(""))
            return
        with LocalModel() as model:
            beside = msgspec.structs.replace(settings, upstream_url=model.url, upstream_api_key=model.api_key)
            _serve(beside, listener, workers, lambda: ready(model.served.model))


def _serve(settings: Settings, listener: Any, workers: int, ready: Callable[[], None]) -> None:
    if workers == 1:
        run_app(create_app(settings), listener, ready=ready)
    else:
        run_workers(f"{__name__}:{create_worker_app.__name__}", listener, settings=settings, workers=workers, ready=ready)


class DemoAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How to get into the demo. `password` is None unless it was made just now."""

    email: str
    password: str | None
    secret: str
    key_file: Path


def prepare_demo(settings: Settings, *, now: datetime | None = None) -> DemoAccess:
    """Make the demo's organization, its history up to `now`, an administrator and a gateway key, or what of these is missing.

    The key is kept in a file beside the database that only its owner can read.
    """

    def open_at(clock: Clock) -> Meter:
        return open_meter(settings, create=True, clock=clock)

    organization = make_demo(open_at, now=now or system_clock())
    with open_meter(settings) as meter, open_keys(meter) as keys:
        people = open_people(meter, settings)
        password = None
        if people.find(DEMO_EMAIL) is None:
            password = secrets.token_urlsafe(15)
            people.create_admin(email=DEMO_EMAIL, password=password, name="Demo Administrator")
        key_file = _demo_directory(settings) / "demo-key"
        secret = key_file.read_text(encoding="ascii").strip() if key_file.exists() else ""
        try:
            keys.authenticate(secret)
        except AccessDenied:
            secret = keys.create(organization.id, name="Demo").secret
            with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
                file.write(secret + "\n")
    return DemoAccess(email=DEMO_EMAIL, password=password, secret=secret, key_file=key_file)


def _demo_directory(settings: Settings) -> Path:
    database = parse_database(settings.database_url)
    directory = Path(str(database.url.database)).parent if database.is_sqlite else Path("data").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory


class MissingUpstream:
    """Stands where no AI provider is configured: every request fails and says so."""

    async def open(self) -> None:
        """Do nothing."""

    async def send(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[bytes, bytes] | None = None
    ) -> UpstreamAnswer:
        """Raise UpstreamError."""
        raise UpstreamError("no AI provider is configured: TOKENWELL_UPSTREAM_URL names one")

    async def close(self) -> None:
        """Do nothing."""


class Application:
    """Sends each request to its part: `/v1/` to the gateway, `/healthz` and `/metrics` here, all else to the console."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._opened = AsyncExitStack()
        self._gateway: App = _not_open
        self._console: App = _not_open
        self._ping: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path: str = scope["path"]
        if path.startswith("/v1/"):
            await self._gateway(scope, receive, send)
        elif path == "/healthz":
            await self._tell_health(send)
        elif path == "/metrics":
            directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
            await _answer(send, 200, METRICS_CONTENT_TYPE, await asyncio.to_thread(render_metrics, directory))
        else:
            await self._console(scope, receive, send)

    async def open(self) -> None:
        """Open everything, waiting for a database that cannot be reached yet. Raises StoreError."""
        settings = self._settings
        meter = await asyncio.to_thread(_open_patiently, settings, self._clock)
        self._opened.callback(meter.close)
        keys = Keys(meter.engine, self._clock)
        self._opened.callback(keys.close)
        provider: Upstream = MissingUpstream()
        if settings.upstream_url:
            timeout_seconds = settings.upstream_timeout_seconds
            provider = HttpUpstream(settings.upstream_url, settings.upstream_api_key, timeout_seconds=timeout_seconds)
        gateway = create_gateway(meter, keys, settings, provider)
        await gateway.startup()
        self._opened.push_async_callback(gateway.shutdown)
        self._gateway = Observed("gateway", gateway)
        self._console = Observed("console", create_console(meter, open_people(meter, settings), settings))
        self._ping = meter.aio.ping

    async def close(self) -> None:
        """Close everything, the last opened first."""
        self._ping, self._gateway, self._console = None, _not_open, _not_open
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
            await _answer(send, 503, "application/json", b'{"status":"unavailable","store":"unreachable"}', retry=True)
        else:
            await _answer(send, 200, "application/json", b'{"status":"ok","store":"ok"}')


class Observed:
    """A part of the application, counted and timed, its answers with a request id; a failure before an answer began is a 500."""

    def __init__(self, part: str, app: App) -> None:
        self._part = part
        self._app = app
        self._open = HTTP_OPEN.labels(part)
        self._seconds = HTTP_SECONDS.labels(part)
        self._answered: dict[int, Counter] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        request_id = request_id_in(scope["headers"])
        status = 0

        async def send_known(message: Message) -> None:
            nonlocal request_id, status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message["headers"])
                request_id = headers.get(b"x-tokenwell-request-id") or request_id or new_id("req").encode()
                if b"x-request-id" not in headers:
                    message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        self._open.inc()
        try:
            await self._app(scope, receive, send_known)
        except ConnectionAbortedError:
            raise  # an answer that broke off midway: the server closes the connection, so that the client sees it
        except Exception:
            request_id = request_id or new_id("req").encode()
            _log.exception("request_failed", part=self._part, path=scope["path"], request_id=request_id.decode())
            if not status:
                await _answer(send_known, 500, "text/plain; charset=utf-8", b"Something went wrong; the log says what.\n")
        finally:
            self._open.dec()
            self._count(scope, status, time.perf_counter() - began, request_id or b"")

    def _count(self, scope: Message, status: int, seconds: float, request_id: bytes) -> None:
        answered = self._answered.get(status)
        if answered is None:
            answered = self._answered[status] = HTTP_REQUESTS.labels(self._part, str(status))
        answered.inc()
        self._seconds.observe(seconds)
        if _std_log.isEnabledFor(logging.DEBUG):
            what = {"part": self._part, "method": scope["method"], "path": scope["path"], "status": status}
            _log.debug("answered", **what, request_id=request_id.decode(), seconds=round(seconds, 6))


async def _not_open(scope: Message, receive: Receive, send: Send) -> None:
    await _answer(send, 503, "text/plain; charset=utf-8", b"Tokenwell is not open.\n", retry=True)


async def _answer(send: Send, status: int, content_type: str, body: bytes, *, retry: bool = False) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    if retry:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _open_patiently(settings: Settings, clock: Clock) -> Meter:
    for _ in range(OPEN_ATTEMPTS - 1):
        try:
            return open_meter(settings, create=True, clock=clock)
        except StoreError as error:
            if not error.retryable:
                raise
            _log.warning("database_not_reached", error=error.message)
            time.sleep(1)
    return open_meter(settings, create=True, clock=clock)
