"""Serving: runs an application on a port, in this process or in several, until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from tokenwell.config import PREFIX, Settings
from tokenwell.errors import RequestInvalid, StoreUnavailable

DRAIN_SECONDS = 30
"""How long requests in progress are waited for after being told to stop."""

WORKER_START_SECONDS = 60
"""How long a worker process may take until it takes requests."""

_BACKLOG = 2048
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class ReadyServer(uvicorn.Server):
    """A server that tells when it takes requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then tell."""
        await super().startup(sockets=sockets)
        if self.started and not self.should_exit:
            self._ready()


class ReadyWorkers(Multiprocess):
    """Worker processes that tell when all of them take requests."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, ready: Callable[[], None]) -> None:
        super().__init__(config, sockets=[listener])
        self._ready = ready

    def init_processes(self) -> None:
        """Start the workers as uvicorn does, then tell."""
        super().init_processes()
        if all(process.wait_until_ready(WORKER_START_SECONDS, self.should_exit) for process in self.processes):
            self._ready()


def bind(settings: Settings) -> socket.socket:
    """Return a socket that listens where the settings say. Raises RequestInvalid if the address cannot be used."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            what = f"port {settings.port} is already in use; choose another one with --port or {PREFIX}PORT"
        else:
            what = f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}"
        raise RequestInvalid(what, field="port") from None
    listener.set_inheritable(True)
    return listener


def run_app(app: Any, listener: socket.socket, *, ready: Callable[[], None]) -> None:
    """Serve `app` in this process until SIGINT or SIGTERM, then finish the requests in progress. Raises StoreUnavailable if its
    lifespan does not start."""
    server = ReadyServer(_config(app), ready)
    server.run(sockets=[listener])
    if not server.started:
        raise StoreUnavailable("the server did not start; its log says why")


def run_workers(factory: str, listener: socket.socket, *, settings: Settings, workers: int, ready: Callable[[], None]) -> None:
    """Serve the application that `factory` ("module:function") makes in `workers` processes, which read `settings` from their
    environment; one that dies is replaced."""
    config = _config(factory, workers=workers, factory=True)
    with tempfile.TemporaryDirectory(prefix="tokenwell-metrics-") as directory, _environment(settings, directory):
        ReadyWorkers(config, listener, ready).run()


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Leave the block in order, and quietly, on SIGINT and SIGTERM."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def told_to_stop(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell`, on the running event loop, as soon as SIGINT or SIGTERM comes: before the requests in progress are waited for.

    What else listens to these signals hears them as before. Where nothing does, or in a thread that hears none, nothing is told.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in found.items() if callable(handler)}

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is hear:
                signal.signal(number, handler)


def _config(app: Any, *, workers: int = 1, factory: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=factory,
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


@contextmanager
def _environment(settings: Settings, metrics_directory: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(settings.to_env())
    os.environ[_METRICS_VARIABLE] = metrics_directory
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
