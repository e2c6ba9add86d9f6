"""The real server, killed in the middle of load on either database: what it acknowledged is charged, once, and it starts again."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest

from tests.wiring.processes import running
from tokenwell import Meter
from tokenwell.core.journal import ESTIMATED
from tokenwell.service.access.keys import Keys

CALLERS = 12
ROUNDS = 3
ACKNOWLEDGED = 80
"""So many answers are received before the kill, each round."""


class Provider(BaseHTTPRequestHandler):
    """A provider whose every answer cost five tokens."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[str]:
    """The provider's base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


class Load:
    """Callers that ask until the server is gone, and remember what they were told."""

    def __init__(self, address: str, secret: str, enough: int) -> None:
        self._client = openai.OpenAI(base_url=f"{address}/v1", api_key=secret, max_retries=0, timeout=30)
        self._enough = enough
        self.acknowledged: list[str] = []
        self.is_enough = threading.Event()

    def ask(self) -> None:
        """Ask until there is no answer any more."""
        while True:
            try:
                raw = self._client.chat.completions.with_raw_response.create(
                    model="m", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
                )
            except openai.APIConnectionError:
                return
            assert raw.headers["x-tokenwell-charged"] == "5"
            self.acknowledged.append(raw.headers["x-tokenwell-request-id"])
            if len(self.acknowledged) >= self._enough:
                self.is_enough.set()

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def test_a_killed_server_has_charged_every_answer_it_gave_exactly_once(database_url: str, provider: str, tmp_path: Path) -> None:
    with Meter(database_url) as meter:
        meter.create_organization("acme")
        meter.grant("acme", "10M")
        secret = Keys(meter.engine).create("acme", name="load").secret
    acknowledged: list[str] = []
    for _ in range(ROUNDS):
        with running("serve", directory=tmp_path, upstream=provider, TOKENWELL_DATABASE_URL=database_url) as server:
            load = Load(server.address, secret, ACKNOWLEDGED)
            with ThreadPoolExecutor(CALLERS) as callers:
                asking = [callers.submit(load.ask) for _ in range(CALLERS)]
                assert load.is_enough.wait(timeout=120)
                server.stop(signal.SIGKILL)
                for each in asking:
                    each.result()
            load.close()
            acknowledged += load.acknowledged
    with running("serve", directory=tmp_path, upstream=provider, TOKENWELL_DATABASE_URL=database_url) as server:
        server.stop()  # it has finished what the last one left
    with Meter(database_url) as meter:
        assert [found.problems for found in meter.verify()] == [()]
        lines = meter.journal("acme", limit=1_000).items
        debits = [entry for entry in lines if entry.kind == "debit"]
        charged = Counter(entry.request_id for entry in debits)
        assert all(charged[request_id] == 1 for request_id in acknowledged)
        assert set(charged.values()) == {1}
        assert len(charged) >= len(acknowledged) >= ROUNDS * ACKNOWLEDGED
        # What was under way, of which nobody had an answer, is charged what it was expected to come to.
        guessed = {entry.request_id for entry in debits if entry.flags & ESTIMATED}
        assert all(entry.amount_tokens == 5 for entry in debits if entry.request_id not in guessed)
        assert guessed.isdisjoint(acknowledged)
        assert len(guessed) <= ROUNDS * CALLERS
        # A hold that was opened as the kill came, and of which nobody had heard yet, lapses: its provider was not asked.
        assert meter.balance("acme").balance_tokens == 10_000_000 - sum(entry.amount_tokens for entry in debits)
