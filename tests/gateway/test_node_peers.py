"""What others wrote for node, locked by its hashes: the Vercel AI SDK as a client, aimock and mock-llm as providers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import House, house_on
from tests.gateway.peering import answer_anything, install_node_peers, run, told_address
from tokenwell.core.journal import ESTIMATED
from tokenwell.gateway.upstream import HttpUpstream

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packages."""
    place = tmp_path_factory.mktemp("peers")
    install_node_peers(place)
    return place


async def test_the_ai_sdk_is_answered_and_charged_by_every_kind_of_call(house: House, peers: Path) -> None:
    house.upstream.answer = answer_anything
    house.meter.create_organization("empty")
    empty = house.keys.create("empty", name="test").secret
    told: dict[str, Any] = json.loads(
        await run("node", "calls.mjs", cwd=peers, GATEWAY=house.address, KEY=house.secret, EMPTY_KEY=empty)
    )
    assert told.pop("chatStream") == {"text": "Hello there", "tokens": 3, "reason": "stop"}
    assert told.pop("responsesStream") == {"text": "Hello there", "tokens": 87, "reason": "stop"}
    assert told.pop("messagesStream") == {"text": "Hello there", "tokens": 3, "reason": "stop"}
    assert told == {
        "chat": "Hello there",
        "responses": "Hello there",
        "messages": "Hello there",
        "tool": {"city": "Bonn"},
        "object": {"city": "Bonn"},
        "embedding": [0.5, 0.25],
        "refused": 402,
    }
    assert [line.entry.amount_tokens for line in reversed(house.lines())] == [15, 15, 123, 123, 120, 120, 15, 15, 2]
    assert house.statuses.count(402) == 1
    house.verify()


async def test_a_provider_that_others_mocked_is_charged_what_it_reports(sqlite_url: str, peers: Path) -> None:
    async with (
        told_address("node", "mock.mjs", cwd=peers) as address,
        house_on(sqlite_url, router=HttpUpstream(f"{address}/v1")) as house,
    ):
        client = house.openai()
        answer = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        said = [each.choices[0].delta.content or "" async for each in stream]
        assert "".join(said) == answer.choices[0].message.content
        assert answer.usage is not None
        lines = house.lines()
        assert [line.entry.amount_tokens for line in lines] == [answer.usage.total_tokens] * 2
        assert not any(line.entry.flags & ESTIMATED for line in lines)
        # It reports nothing in the other dialect, so that is counted here.
        async with house.anthropic().messages.stream(model="claude", max_tokens=50, messages=HELLO) as events:
            assert await events.get_final_text() == "".join(said)
        assert house.lines()[0].entry.flags & ESTIMATED
        assert house.lines()[0].entry.completion_tokens
        house.verify()


async def test_a_provider_that_never_tells_its_usage_is_charged_what_is_counted_here(sqlite_url: str, peers: Path) -> None:
    async with (
        told_address("node", "echo.mjs", cwd=peers) as address,
        house_on(sqlite_url, router=HttpUpstream(f"{address}/v1")) as house,
    ):
        client = house.openai()
        told = "Tokens are counted here where nobody else has counted them."
        asked: Any = [{"role": "user", "content": told}]
        answer = await client.chat.completions.create(model="gpt-4o", messages=asked)
        stream = await client.chat.completions.create(model="gpt-4o", messages=asked, stream=True)
        said = [each.choices[0].delta.content or "" async for each in stream if each.choices]
        assert "".join(said) == answer.choices[0].message.content == told
        streamed, plain = (line.entry for line in house.lines())
        assert plain.flags & streamed.flags & ESTIMATED
        # A token for every four of the 59 bytes; the prompt has its JSON around them.
        assert (plain.completion_tokens, streamed.completion_tokens) == (15, 15)
        assert 15 < (plain.prompt_tokens or 0) == streamed.prompt_tokens < 30
        house.verify()
