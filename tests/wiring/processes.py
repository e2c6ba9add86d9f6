"""Processes: Tokenwell run as it is run for real, and looked at from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

PATIENCE_SECONDS = 120
"""How long anything is waited for: a model starts within seconds, on a machine that does nothing else."""


class Running:
    """A Tokenwell that runs, at `address`."""

    def __init__(self, process: subprocess.Popen[str], address: str, directory: Path) -> None:
        self.process = process
        self.address = address
        self.directory = directory

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
        """Return the status, the headers and the body of a page."""
        request = urllib.request.Request(self.address + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, _lowered(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lowered(error.headers), error.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Stop it and return its exit code and what it printed."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, out, err


@contextmanager
def running(*words: str, directory: Path, upstream: str = "http://127.0.0.1:9/v1", **variables: str) -> Iterator[Running]:
    """Run a `tokenwell` command that serves; given once it answers, killed at the end if it still runs."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment |= {"TOKENWELL_PORT": str(port), "TOKENWELL_UPSTREAM_URL": upstream, **variables}
    command = [sys.executable, "-m", "tokenwell", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=directory, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            wait_until_answered(f"http://127.0.0.1:{port}/healthz", process)
            yield Running(process, f"http://127.0.0.1:{port}", directory)
        finally:
            if process.poll() is None:
                process.kill()


def wait_until_answered(url: str, process: subprocess.Popen[str]) -> None:
    """Return once there is an answer; fail if the process ends before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def _lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started and that still run."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [int(child) for child, parent, name in rows if int(parent) == pid and not name.endswith("ps")]


def command_of(pid: int) -> str:
    """Return the whole command line of a process, however narrow the terminal is said to be."""
    return subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once a condition is true; fail if it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def wait_until_gone(pids: list[int]) -> None:
    """Return once none of the processes runs any more."""
    wait_until(lambda: not [pid for pid in pids if is_running(pid)])


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits to be fetched does not."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()[:1] not in ("", "Z")
