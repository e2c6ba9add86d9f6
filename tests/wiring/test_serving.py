"""Serving: taken ports, signals, worker processes, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.wiring.processes import Running, children_of, command_of, running, wait_until, wait_until_gone
from tokenwell.config import Settings
from tokenwell.errors import RequestInvalid
from tokenwell.serving import bind


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "tokenwell", "serve", "--port", str(port)]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"tokenwell: port {port} is already in use; choose another one with --port or TOKENWELL_PORT\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["256.1.1.1", "nowhere.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(RequestInvalid, match="cannot listen on"):
        bind(Settings(host=host, port=8099))


def test_ipv6_is_listened_on_where_it_is_asked_for() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as found:
        port = found.getsockname()[1]
    with bind(Settings(host="::1", port=port)) as listener:
        assert listener.family is socket.AF_INET6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_it_stops_in_order_when_told(number: int, tmp_path: Path) -> None:
    with running("serve", directory=tmp_path) as server:
        assert server.get("/healthz")[0] == 200
        code, _, err = server.stop(number)
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert code == 0
    assert events.index("started") < events.index("stopped")


def test_every_line_of_its_log_is_an_object_and_none_has_a_secret(tmp_path: Path) -> None:
    with running(
        "serve", directory=tmp_path, TOKENWELL_LOG_LEVEL="debug", TOKENWELL_UPSTREAM_API_KEY="sk-very-secret-key"
    ) as server:
        server.get("/v1/models", {"Authorization": "Bearer tw_live_" + "a" * 40})
        server.get("/sign-in")
        _, _, err = server.stop()
    lines = [json.loads(line) for line in err.splitlines()]
    answered = [line for line in lines if line["event"] == "answered"]
    assert [(line["part"], line["status"]) for line in answered] == [("gateway", 401), ("console", 200)]
    assert all(line["request_id"] for line in answered)
    assert "sk-very-secret-key" not in err
    assert "a" * 40 not in err


def workers_of(server: Running) -> list[int]:
    """Return the processes that answer for a server."""
    return [pid for pid in children_of(server.process.pid) if "spawn_main" in command_of(pid)]


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Let a process stand still, so that others answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # a worker that stands still for long is replaced
            os.kill(pid, signal.SIGCONT)


def test_worker_processes_share_the_port_and_their_metrics(tmp_path: Path) -> None:
    with running("serve", "--workers", "2", directory=tmp_path) as server:
        workers = workers_of(server)
        assert len(workers) == 2
        for worker in workers:
            with paused(worker):
                assert server.get("/v1/models")[0] == 401
        # A request is counted once its answer is out: another worker may tell of it a moment later.
        wait_until(lambda: _counted(server.get("/metrics")[2]) == ["2.0"])
        code, out, _ = server.stop()
    assert (code, out.count("Tokenwell answers at")) == (0, 1)
    wait_until_gone(workers)


def _counted(metrics: str) -> list[str]:
    return re.findall(r'^tokenwell_http_requests_total\{.*"401"\} (.+)$', metrics, re.MULTILINE)


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with running("serve", "--workers", "2", directory=tmp_path) as server:
        first, second = workers_of(server)
        os.kill(first, signal.SIGKILL)
        wait_until_gone([first])
        with paused(second):
            assert server.get("/healthz")[0] == 200
        assert server.stop()[0] == 0


def test_a_database_that_is_never_reached_ends_the_start(tmp_path: Path) -> None:
    """A file in the place of the database's directory: waiting would not help."""
    (tmp_path / "data").write_text("")
    command = [sys.executable, "-m", "tokenwell", "serve"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
