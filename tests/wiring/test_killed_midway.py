"""The real server, killed while answers are under way: what had been produced is charged once the next one has started."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import openai
import pytest

from tests.wiring.processes import running, wait_until
from tokenwell import Meter
from tokenwell.core.journal import ESTIMATED
from tokenwell.service.access.keys import Keys
from tokenwell.service.shapes import LedgerLine

WORDS = 7
"""So many words a stream has said when the server is killed."""


class Provider(BaseHTTPRequestHandler):
    """A provider that says some words and then no more, or, asked for a whole answer, nothing at all."""

    protocol_version = "HTTP/1.1"
    asked = 0
    over = threading.Event()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Provider.asked += 1
        if body.get("stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for _ in range(WORDS):
                choice = {"index": 0, "delta": {"content": "word"}, "finish_reason": None}
                event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
                self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        Provider.over.wait(timeout=120)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[str]:
    """The provider's base URL."""
    Provider.asked = 0
    Provider.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        Provider.over.set()
        server.shutdown()


def stream(client: openai.OpenAI, heard: threading.Semaphore) -> None:
    """Listen to a stream until it breaks off."""
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}], stream=True)

    def listen() -> None:
        for _ in answer:
            heard.release()

    with answer, pytest.raises((openai.APIError, httpx.HTTPError)):
        listen()


def whole(client: openai.OpenAI) -> None:
    """Wait for a whole answer until the connection breaks off."""
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}], max_tokens=40)


def in_background(*work: Callable[[], None]) -> list[threading.Thread]:
    """Start to do each by itself."""
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    return threads


def test_what_was_under_way_is_charged_by_what_it_had_come_to(database_url: str, provider: str, tmp_path: Path) -> None:
    with Meter(database_url) as meter:
        meter.create_organization("acme")
        meter.grant("acme", "10M")
        secret = Keys(meter.engine).create("acme", name="load").secret
    options = {"directory": tmp_path, "upstream": provider, "TOKENWELL_DATABASE_URL": database_url}
    with running("serve", **options) as server:  # type: ignore[arg-type]
        client = openai.OpenAI(base_url=f"{server.address}/v1", api_key=secret, max_retries=0)
        heard = threading.Semaphore(0)
        asking = in_background(lambda: stream(client, heard), lambda: stream(client, heard), lambda: whole(client))
        for _ in range(2 * WORDS):
            assert heard.acquire(timeout=120)
        wait_until(lambda: Provider.asked == 3)
        server.stop(signal.SIGKILL)
        for each in asking:
            each.join()
        client.close()
    with Meter(database_url) as meter:
        assert meter.balance("acme").balance_tokens == 10_000_000
    with running("serve", **options) as server, Meter(database_url) as meter:  # type: ignore[arg-type]
        lines = meter.ledger("acme").items
        assert sorted(line.entry.completion_tokens or 0 for line in lines) == [WORDS, WORDS, 40]
        assert all(_is_estimated(line) for line in lines)
        assert meter.balance("acme").held_tokens == 0
        assert [found.problems for found in meter.verify()] == [()]


def _is_estimated(line: LedgerLine) -> bool:
    entry = line.entry
    return bool(entry.flags & ESTIMATED) and (entry.prompt_tokens or 0) > 0 and '"recovered":true' in (entry.detail or "")
