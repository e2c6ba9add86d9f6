"""What others wrote for Python, in an environment of its own: LiteLLM as a client, llmock as a provider that also breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.conftest import House, house_on
from tests.gateway.peering import PLACE, answer_anything, environment_of_python_peers, listening, run
from tokenwell.core.journal import ESTIMATED
from tokenwell.gateway.models import parse_catalogue
from tokenwell.gateway.routing import Router

HELLO: Any = [{"role": "user", "content": "hello"}]
CALLS = 120
FAULTS = (
    "--error-rate",
    "429=0.1",
    "--error-rate",
    "503=0.1",
    "--stream-fault",
    "disconnect=0.15",
    "--stream-fault",
    "truncate=0.15",
)


@pytest.fixture(scope="module")
def programs() -> Path:
    """The directory with the programs of others."""
    return environment_of_python_peers() / "bin"


TWO_PROVIDERS = """
[providers.one]
kind = "openai_compatible"
base_url = "{address}/v1"
[providers.other]
kind = "anthropic"
base_url = "{address}/anthropic/v1"
api_key = "env:NONE"
[models.gpt-4o]
targets = [{{ provider = "one" }}]
[models.claude]
targets = [{{ provider = "other" }}]
"""


@asynccontextmanager
async def _mocked(database_url: str, programs: Path, *faults: str) -> AsyncIterator[House]:
    """Yield a house before llmock, which speaks both dialects and fails as it is told."""
    async with listening(programs / "llmock", "serve", *faults) as address:
        router = Router(parse_catalogue(TWO_PROVIDERS.format(address=address)), environ={"NONE": "none"})
        try:
            async with house_on(database_url, router=router) as house:
                yield house
        finally:
            await router.close()


async def test_litellm_is_answered_and_charged_by_every_kind_of_call(house: House, programs: Path) -> None:
    house.upstream.answer = answer_anything
    house.meter.create_organization("empty")
    empty = house.keys.create("empty", name="test").secret
    environ = {"GATEWAY": house.address, "KEY": house.secret, "EMPTY_KEY": empty, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    told: dict[str, Any] = json.loads((await run(programs / "python", PLACE / "calls.py", **environ)).splitlines()[-1])
    said = dict.fromkeys(("chat", "chat_stream", "chat_stream_async", "messages", "messages_stream", "responses"), "Hello there")
    assert told == said | {"tool": '{"city":"Bonn"}', "embedding": [0.5, 0.25], "refused": ["APIError", 402]}
    assert [line.entry.amount_tokens for line in reversed(house.lines())] == [15, 15, 15, 120, 120, 123, 15, 2]
    assert not any(line.entry.flags & ESTIMATED for line in house.lines())
    assert house.statuses.count(402) == 1
    house.verify()


async def test_a_provider_that_others_mocked_is_charged_what_it_reports(sqlite_url: str, programs: Path) -> None:
    async with _mocked(sqlite_url, programs) as house:
        client, other = house.openai(), house.anthropic()
        reported = []
        answer = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
        assert answer.usage is not None
        reported.append(answer.usage.total_tokens)
        told: Any = {"include_usage": True}
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, stream_options=told)
        reported += [piece.usage.total_tokens async for piece in stream if piece.usage]
        response = await client.responses.create(model="gpt-4o", input="hello")
        assert response.usage is not None
        reported.append(response.usage.total_tokens)
        message = await other.messages.create(model="claude", max_tokens=50, messages=HELLO)
        reported.append(message.usage.input_tokens + message.usage.output_tokens)
        async with other.messages.stream(model="claude", max_tokens=50, messages=HELLO) as events:
            last = await events.get_final_message()
        reported.append(last.usage.input_tokens + last.usage.output_tokens)
        assert len(reported) == 5
        assert [line.entry.amount_tokens for line in reversed(house.lines())] == reported
        assert not any(line.entry.flags & ESTIMATED for line in house.lines())
        house.verify()


async def _call(house: House, place: int) -> str:
    """Make one call; returns what came of it: `whole`, `cut` in the middle, or `refused` before it began."""
    client, other = house.openai(max_retries=0), house.anthropic(max_retries=0)
    try:
        if place % 4 == 0:
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
        elif place % 4 == 1:
            await other.messages.create(model="claude", max_tokens=50, messages=HELLO)
        elif place % 4 == 2:
            stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            reasons = [piece.choices[0].finish_reason async for piece in stream if piece.choices]
            return "whole" if reasons[-1:] == ["stop"] else "cut"
        else:
            async with other.messages.stream(model="claude", max_tokens=50, messages=HELLO) as events:
                ended = [event.type async for event in events][-1:] == ["message_stop"]
            return "whole" if ended else "cut"
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return "refused" if error.status_code >= 400 else "cut"
    except (openai.APIError, anthropic.APIError):
        return "cut"
    return "whole"


async def test_a_provider_that_breaks_at_random_leaves_no_hold_and_no_call_uncharged(sqlite_url: str, programs: Path) -> None:
    async with _mocked(sqlite_url, programs, *FAULTS) as house:
        came = [await asyncio.gather(*(_call(house, place) for place in range(first, first + 8))) for first in range(0, CALLS, 8)]
        outcomes = [outcome for some in came for outcome in some]
        await house.settled()
        lines = list(house.meter.ledger("acme", limit=500).items)
        charged, guessed = len(lines), sum(bool(line.entry.flags & ESTIMATED) for line in lines)
        # Every answer that began is one line, also where it was cut; one that was refused is none.
        assert outcomes.count("refused") > 0
        assert outcomes.count("cut") > 0
        assert charged == outcomes.count("whole") + outcomes.count("cut")
        assert guessed <= outcomes.count("cut")
        assert all(line.entry.amount_tokens > 0 for line in lines)
        house.verify()
