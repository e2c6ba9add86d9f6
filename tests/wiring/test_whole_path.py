"""The whole path: `tokenwell demo` as a new user starts it, a real model, the official SDK, the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.wiring.processes import Running, running
from tokenwell import LedgerLine, Meter
from tokenwell.localmodel import MODEL

QUESTION: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello in one sentence."}]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The demo, with the model that answers where no provider is configured."""
    with running("demo", directory=tmp_path_factory.mktemp("demo"), upstream="") as server:
        yield server
        code, out, err = server.stop()
    assert (code, err) == (0, "")
    assert f"AI        {MODEL}" in out


@pytest.fixture
def client(demo: Running) -> Iterator[openai.OpenAI]:
    """The official client: only its base URL and its key are ours."""
    key = (demo.directory / "data" / "demo-key").read_text().strip()
    with openai.OpenAI(base_url=f"{demo.address}/v1", api_key=key, timeout=120) as client:
        yield client


@pytest.fixture
def meter(demo: Running) -> Iterator[Meter]:
    """The same ledger, from another process."""
    with Meter(f"sqlite:///{demo.directory / 'data' / 'tokenwell.db'}") as meter:
        yield meter


def last_line(meter: Meter) -> LedgerLine:
    """Return the latest line of the demo's ledger."""
    return meter.ledger("acme", limit=1).items[0]


def test_a_real_answer_is_charged_by_its_real_usage(client: openai.OpenAI, meter: Meter) -> None:
    before = meter.balance("acme").balance_tokens
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION, max_tokens=16)
    reply = raw.parse()
    line = last_line(meter)
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert line.entry.amount_tokens == reply.usage.total_tokens == before - meter.balance("acme").balance_tokens
    assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (reply.usage.prompt_tokens, reply.usage.completion_tokens)
    assert int(raw.headers["x-tokenwell-charged"]) == line.entry.amount_tokens
    assert raw.headers["x-request-id"] == line.entry.request_id
    assert line.entry.model == MODEL


def test_a_real_stream_is_charged_by_its_real_usage(client: openai.OpenAI, meter: Meter) -> None:
    before = meter.balance("acme")
    words = []
    with client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, stream=True) as stream:
        for chunk in stream:
            words += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    line = last_line(meter)
    assert "".join(words).strip()
    assert line.entry.seq == before.seq + 1
    assert line.entry.completion_tokens
    assert line.entry.amount_tokens == before.balance_tokens - meter.balance("acme").balance_tokens


def test_ai_that_is_stopped_is_told_once_and_a_grant_resumes_it(client: openai.OpenAI, meter: Meter) -> None:
    balance = meter.balance("acme")
    meter.set_thresholds("acme", warning=balance.balance_tokens + 2, reserve=balance.balance_tokens + 1)
    try:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=MODEL, messages=QUESTION)
        assert (caught.value.status_code, caught.value.code) == (402, "ai_stopped")
        assert meter.balance("acme").seq == balance.seq
        meter.grant("acme", "1M", note="Resumes it")
        assert client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4).choices
    finally:
        meter.clear_thresholds("acme")


def test_the_console_asks_who_is_there(demo: Running) -> None:
    status, headers, body = demo.get("/")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert "<form" in body
    assert demo.get("/o/acme")[2] == demo.get("/sign-in")[2] or 'name="password"' in demo.get("/o/acme")[2]


def test_the_ledger_is_sound_after_it_all(meter: Meter, demo: Running) -> None:
    assert [found.problems for found in meter.verify()] == [()]
    assert Path(demo.directory / "data" / "demo-key").stat().st_mode & 0o077 == 0
