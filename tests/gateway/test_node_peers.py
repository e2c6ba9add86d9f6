"""What others wrote for node: the Vercel AI SDK as a client, and aimock as a provider; from packages locked by their hashes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import messages, responses
from tests.gateway.conftest import House, house_on
from tests.gateway.upstreams import DONE, USAGE, Reply, Request, chunk, failing, plain, streaming
from tokenwell.core.journal import ESTIMATED
from tokenwell.gateway.upstream import HttpUpstream

PLACE = Path(__file__).parent / "peers"
HELLO: Any = [{"role": "user", "content": "hello"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}


async def _answer(request: Request, reply: Reply) -> None:
    """Answer whatever the script asks for."""
    body = json.loads(request.body)
    if request.path == "/v1/messages":
        answering = messages.saying("Hello", " there")
    elif request.path == "/v1/responses":
        answering = responses.responding("Hello", " there")
    elif request.path == "/v1/embeddings":
        vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        told = {"object": "list", "data": [vector], "model": "e", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
        answering = failing(200, json.dumps(told).encode())
    elif body["model"] == "tool-1":
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        answering = plain(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    elif body["model"] == "object-1":
        answering = plain('{"city":"Bonn"}')
    else:
        ended = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        said = [chunk("Hello"), chunk(" there"), ended, chunk(usage=USAGE), DONE]
        answering = streaming(said) if body.get("stream") else plain("Hello there")
    await answering(request, reply)


@asynccontextmanager
async def _mock(peers: Path) -> AsyncIterator[str]:
    """Yield the address of the mock, which runs for as long as the block."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("node", "mock.mjs", cwd=peers, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 60)


async def _run(*command: str, cwd: Path, **environ: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=os.environ | environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await asyncio.wait_for(process.communicate(), 240)
    assert process.returncode == 0, error.decode()
    return out.decode()


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packages."""
    place = tmp_path_factory.mktemp("peers")
    for file in PLACE.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"]
    subprocess.run(command, cwd=place, check=True, timeout=240)
    return place


async def test_the_ai_sdk_is_answered_and_charged_by_every_kind_of_call(house: House, peers: Path) -> None:
    house.upstream.answer = _answer
    house.meter.create_organization("empty")
    empty = house.keys.create("empty", name="test").secret
    told: dict[str, Any] = json.loads(
        await _run("node", "calls.mjs", cwd=peers, GATEWAY=house.address, KEY=house.secret, EMPTY_KEY=empty)
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
    async with _mock(peers) as address, house_on(sqlite_url, router=HttpUpstream(f"{address}/v1")) as house:
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
