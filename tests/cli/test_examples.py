"""Every command has examples, and each runs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import click
import pytest

from tests.cli.shell import Shell
from tokenwell import cli

SERVING = ("serve", "demo")


def commands(group: click.Group = cli.root, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Give every command that is not a group, with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


def examples_of(command: click.Command) -> list[str]:
    """Return the examples in a command's help."""
    return re.findall(r"^ +(tokenwell .+)$", command.help or "", re.MULTILINE)


def serves(words: list[str]) -> bool:
    """Return whether a command goes on until it is stopped."""
    return words[1] in SERVING and "--prepare" not in words


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_examples_of_itself(path: tuple[str, ...]) -> None:
    examples = examples_of(COMMANDS[path])
    assert examples
    assert all(shlex.split(example)[1 : len(path) + 1] == list(path) for example in examples)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_takes_json_and_database(path: tuple[str, ...]) -> None:
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert {"--json", "--database"} <= options


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_examples_run(path: tuple[str, ...], shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (key,) = shell("key", "list", "acme", "--json").answer["items"]
    platform_key = shell("platform-key", "create", "--name", "Billing", "--scope", "ledger:read", "--json").answer
    (schedule,) = shell("schedule", "list", "acme", "--json").answer["items"]
    dispute = shell("dispute", "open", "acme", "demo-8", "--note", "Why?", "--json").answer
    batch = shell("code", "create", "5", "1", "--json").answer
    offer = shell("offer", "create", "Some", "5", "--price", "1", "--currency", "eur", "--json").answer
    there = {
        "sch": schedule["id"],
        "bat": batch["batch"]["id"],
        "dsp": dispute["id"],
        "off": offer["id"],
        "key": key["id"],
        "pkey": platform_key["id"],
        "svc": "support-agent",
    }
    if path[0] == "emergency":
        monkeypatch.setenv("TOKENWELL_EMERGENCY_LIMIT_TOKENS", "50000")
        assert shell("org", "thresholds", "acme", "--warning", "1000M").code == 0
    if path[0] == "alert":
        hook = ("--kind", "webhook", "--target", "https://hooks.example.com/in")
        there["chn"] = shell("alert", "add", "acme", *hook, "--json").answer["id"]
        there["dlv"] = shell("alert", "test", "acme", there["chn"], "--json").answer["delivery"]
    for example in examples_of(COMMANDS[path]):
        words = shlex.split(re.sub(r"\b(p?key|bat|chn|dlv|dsp|off|sch|svc)_\w{26}", lambda match: there[match[1]], example))
        words = [batch["codes"][0] if re.fullmatch(r"(2{5}-?){4}", word) else word for word in words]
        if not serves(words):
            ended = shell(*words[1:])
            assert (ended.code, ended.err) == (0, ""), example
            assert ended.out


@pytest.mark.parametrize("example", [e for c in COMMANDS.values() for e in examples_of(c) if serves(shlex.split(e))])
def test_examples_that_serve_answer_and_stop_when_told(example: str, shell: Shell) -> None:
    port = free_port()
    words = [str(port) if re.fullmatch(r"\d{4}", word) else word for word in shlex.split(example)]
    environment = {**os.environ, "TOKENWELL_PORT": str(port), "TOKENWELL_UPSTREAM_URL": "http://127.0.0.1:9/v1"}
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(
        command, cwd=shell.directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}/healthz", server)
            server.send_signal(signal.SIGTERM)
            out, err = server.communicate(timeout=30)
        finally:
            server.kill()
    assert server.returncode == 0, err
    assert f"http://127.0.0.1:{port}" in out


def wait_until_healthy(url: str, server: subprocess.Popen[str]) -> None:
    """Return once the server answers; fail if it ends before, or takes a minute."""
    for _ in range(600):
        assert server.poll() is None, server.stderr.read() if server.stderr else ""
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")
