"""The local model answers for real, comes back when it dies, and never outlives the server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.wiring.processes import PATIENCE_SECONDS, children_of, wait_until_gone
from tokenwell.localmodel import MODEL, LocalModel, find_model
from tokenwell.simulation import REPLY, SIMULATED

SERVER = """
import time
from tokenwell.localmodel import LocalModel

with LocalModel() as model:
    print(model.served.model, flush=True)
    time.sleep(600)
"""
QUESTION = [{"role": "user", "content": "Say hello in one sentence."}]


def ask(address: str, api_key: str, body: object, path: str = "/v1/chat/completions") -> tuple[int, str]:
    """Ask a model, return the status and the body."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE_SECONDS)
    text = body if isinstance(body, str) else json.dumps(body)
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {api_key}"}
        connection.request("POST" if body else "GET", path, text or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def events_of(body: str) -> list[Any]:
    """Return the events of a stream, without its end."""
    events = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def answers(address: str, api_key: str) -> bool:
    """Return whether a model answers: not while there is none, nor while it is loaded."""
    try:
        return ask(address, api_key, "", "/v1/models")[0] == 200
    except OSError:
        return False


@contextmanager
def simulation() -> Iterator[str]:
    """Run the simulation in a process, as the supervisor does; gives its address, its key is "secret"."""
    command = [sys.executable, "-m", "tokenwell.localmodel", SIMULATED, "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("secret\n")
        process.stdin.flush()
        served = json.loads(process.stdout.readline())
        assert served["model"] == SIMULATED
        yield served["address"]
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0


def test_the_model_is_installed_where_tests_run() -> None:
    path = find_model()
    assert path is not None
    assert path.suffix == ".gguf"


def test_it_answers_and_counts_its_tokens_for_real() -> None:
    with LocalModel() as model:
        assert model.served.model == MODEL
        status, body = ask(model.served.address, model.api_key, {"model": "any", "messages": QUESTION, "max_tokens": 12})
        answer = json.loads(body)
        assert status == 200
        assert answer["choices"][0]["message"]["content"].strip()
        assert answer["usage"]["prompt_tokens"] > 20
        assert 0 < answer["usage"]["completion_tokens"] <= 12
        assert ask(model.served.address, "another", {"messages": QUESTION})[0] == 401


def test_it_comes_back_at_the_same_address_when_it_dies_and_ends_with_its_block() -> None:
    before = set(children_of(os.getpid()))
    with LocalModel() as model:
        (process,) = set(children_of(os.getpid())) - before
        address = model.served.address
        os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not answers(address, model.api_key):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert model.served.address == address
        successors = set(children_of(os.getpid())) - before
        assert successors
    wait_until_gone(list(successors))


def test_it_does_not_outlive_a_server_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == MODEL
        children = children_of(server.pid)
        assert children
        server.kill()
    wait_until_gone(children)


def test_the_simulation_says_that_it_is_one() -> None:
    with simulation() as address:
        status, body = ask(address, "secret", {"model": "gpt", "messages": QUESTION})
        models = json.loads(ask(address, "secret", "", "/v1/models")[1])
    answer = json.loads(body)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == REPLY
    assert "simulated" in REPLY
    assert answer["model"] == SIMULATED
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    assert [model["id"] for model in models["data"]] == [SIMULATED]


def test_the_simulation_streams_and_counts_only_if_asked() -> None:
    with simulation() as address:
        request = {"messages": QUESTION, "stream": True}
        plain = events_of(ask(address, "secret", request)[1])
        counted = events_of(ask(address, "secret", request | {"stream_options": {"include_usage": True}})[1])
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in plain) == REPLY
    assert not any("usage" in event for event in plain)
    assert counted[:-1] == plain
    assert counted[-1]["usage"]["completion_tokens"] == len(REPLY.split())


def test_the_simulation_keeps_to_the_limit_of_the_output() -> None:
    with simulation() as address:
        answer = json.loads(ask(address, "secret", {"messages": QUESTION, "max_tokens": 3})[1])
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["message"]["content"] == " ".join(REPLY.split()[:3])


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"messages": 5}', '{"messages": ["x"]}', '{"messages": [], "max_tokens": "x"}'])
def test_the_simulation_refuses_what_it_cannot_read(body: str) -> None:
    with simulation() as address:
        status, text = ask(address, "secret", body)
    assert (status, json.loads(text)["error"]["type"]) == (400, "invalid_request_error")


def test_the_simulation_is_for_the_server_alone() -> None:
    with simulation() as address:
        assert ask(address, "another", {"messages": QUESTION})[0] == 401
        assert ask(address, "secret", {"messages": QUESTION}, "/v1/nothing")[0] == 404
