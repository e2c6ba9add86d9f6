"""The real server, killed while it serves without its database: everything it answered is charged, once, by the next one."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from tests.store.proxy import Proxy
from tests.wiring.processes import running
from tests.wiring.test_killed_server import provider
from tokenwell import Meter
from tokenwell.service.access.keys import Keys
from tokenwell.service.policies import Policies

CALLERS = 6
ANSWERS = (3, 11, 20)
"""So many answers are received before the kill, in each round."""

AMOUNT = 1_000_000

__all__ = ["provider"]


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    """What stands before the database, and can be stopped."""
    with Proxy(postgres_url) as opened:
        yield opened


class Callers:
    """Ask again and again until the server is gone. `acknowledged` are the ids of what was answered without the database."""

    def __init__(self, address: str, secret: str, enough: int) -> None:
        self._client = openai.OpenAI(base_url=f"{address}/v1", api_key=secret, max_retries=0)
        self._enough = enough
        self.acknowledged: list[str] = []

    def ask(self) -> str | None:
        """Ask once; return the id of an answer whose charge is still to come."""
        raw = self._client.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
        )
        return raw.headers["x-tokenwell-request-id"] if raw.headers.get("x-tokenwell-settlement") == "pending" else None

    def go_on(self, server: object) -> None:
        """Ask until there is no answer any more, and have the server killed once there were enough."""
        assert hasattr(server, "process")
        while True:
            try:
                answered = self.ask()
            except openai.APIConnectionError:
                return
            if answered:
                self.acknowledged.append(answered)
            if len(self.acknowledged) >= self._enough:
                server.process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def test_what_was_answered_without_the_database_is_charged_once_after_a_kill(
    proxy: Proxy, postgres_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    upstream = request.getfixturevalue("provider")
    with Meter(postgres_url) as meter:
        meter.create_organization("acme")
        meter.grant("acme", "10M")
        secret = Keys(meter.engine).create("acme", name="load").secret
        policies = Policies(meter.engine, meter.clock)
        policies.set("acme", when_away="serve", away_seconds=600, away_tokens=AMOUNT)
    acknowledged: list[str] = []
    for enough in ANSWERS:
        with running("serve", directory=tmp_path, upstream=upstream, TOKENWELL_DATABASE_URL=proxy.url) as server:
            callers = Callers(server.address, secret, enough)
            assert callers.ask() is None
            proxy.stop()
            with ThreadPoolExecutor(CALLERS) as threads:
                for each in [threads.submit(callers.go_on, server) for _ in range(CALLERS)]:
                    each.result()
            callers.close()
            proxy.start()
        assert len(callers.acknowledged) >= enough
        acknowledged += callers.acknowledged
    with running("serve", directory=tmp_path, upstream=upstream, TOKENWELL_DATABASE_URL=proxy.url), Meter(postgres_url) as meter:
        assert [found.problems for found in meter.verify()] == [()]
        lines = [entry for entry in meter.journal("acme", limit=1_000).items if entry.kind == "debit"]
        charged = Counter(entry.request_id for entry in lines)
        assert set(charged.values()) == {1}
        assert set(acknowledged) <= set(charged)
        exact = [entry for entry in lines if entry.request_id in acknowledged]
        assert {entry.amount_tokens for entry in exact} == {5}
        # Beside what was acknowledged there is only what was under way: one answer for each caller and round, and the first.
        assert len(charged) - len(acknowledged) <= len(ANSWERS) * (CALLERS + 1)
        assert meter.balance("acme").held_tokens == 0
        assert sorted(file.suffix for file in (tmp_path / "data" / "spool").iterdir()) == [".calls", ".charges", ".lock", ".lock"]
