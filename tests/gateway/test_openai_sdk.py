"""The official SDK, with nothing but its base URL and key changed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from tests.gateway.conftest import GRANTED, House, until
from tests.gateway.upstreams import plain, speaking
from tokenwell.core.journal import EntryKind

HELLO: Any = [{"role": "user", "content": "Say hello."}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


async def test_a_plain_call_is_answered_and_charged_what_the_provider_reported(house: House) -> None:
    answer = await house.openai().chat.completions.create(model="fake-1", messages=HELLO)
    assert answer.choices[0].message.content == "Hello there!"
    assert house.balance().balance_tokens == GRANTED - 15
    (line,) = house.lines()
    assert (line.entry.kind, line.entry.prompt_tokens, line.entry.completion_tokens) == (EntryKind.DEBIT, 12, 3)
    assert line.entry.model == "fake-1"
    house.verify()


async def test_the_synchronous_client_works_as_well(house: House) -> None:
    with openai.OpenAI(base_url=f"{house.address}/v1", api_key=house.secret) as client:
        answer = await asyncio.to_thread(client.chat.completions.create, model="fake-1", messages=HELLO)
        assert answer.choices[0].message.content == "Hello there!"
        house.upstream.answer = speaking("Good", " day")

        def streamed() -> list[str | None]:
            with client.chat.completions.create(model="fake-1", messages=HELLO, stream=True) as chunks:
                return [chunk.choices[0].delta.content for chunk in chunks]

        assert await asyncio.to_thread(streamed) == ["Good", " day"]
    assert house.balance().balance_tokens == GRANTED - 30


async def test_the_receipt_is_in_the_headers_of_a_plain_answer(house: House) -> None:
    raw = await house.openai().chat.completions.with_raw_response.create(model="fake-1", messages=HELLO)
    (line,) = house.lines()
    receipt = {name.removeprefix("x-tokenwell-"): value for name, value in raw.headers.items() if name.startswith("x-tokenwell-")}
    assert receipt == {
        "request-id": line.entry.request_id,
        "charged": "15",
        "prompt": "12",
        "completion": "3",
        "packs": f"{line.entry.pack_id}=15",
        "balance": str(GRANTED - 15),
        "state": "normal",
        "estimated": "false",
    }


async def test_a_stream_arrives_word_by_word_and_is_charged_what_the_provider_reported(house: House) -> None:
    house.upstream.answer = speaking("Good", " morning", " 你好")
    async with await house.openai().chat.completions.create(model="fake-1", messages=HELLO, stream=True) as stream:
        chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["Good", " morning", " 你好"]
    assert house.balance().balance_tokens == GRANTED - 15
    house.verify()


async def test_a_client_that_asks_for_the_usage_of_a_stream_gets_it(house: House) -> None:
    house.upstream.answer = speaking("Good", " morning")
    stream = await house.openai().chat.completions.create(
        model="fake-1", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 15


@pytest.mark.parametrize("streams", [False, True])
async def test_ai_stopped_is_raised_once_and_never_reaches_the_provider(house: House, streams: bool) -> None:
    house.meter.debit("acme", GRANTED - 50_000, already_used=True)
    client = house.openai(max_retries=3)
    with pytest.raises(openai.APIStatusError) as raised:
        await client.chat.completions.create(model="fake-1", messages=HELLO, stream=streams)
    assert raised.value.status_code == 402
    assert raised.value.code == "ai_stopped"
    assert raised.value.response.headers["x-tokenwell-balance"] == "50000"
    assert (house.hits, house.upstream.requests) == (1, [])


async def test_granting_a_pack_makes_the_next_call_work_at_once(house: House) -> None:
    house.meter.debit("acme", GRANTED, already_used=True)
    client = house.openai()
    with pytest.raises(openai.APIStatusError):
        await client.chat.completions.create(model="fake-1", messages=HELLO)
    house.meter.grant("acme", "1M")
    answer = await client.chat.completions.create(model="fake-1", messages=HELLO)
    assert answer.choices[0].message.content == "Hello there!"


async def test_tokens_held_by_others_are_waited_for_by_the_clients_own_retries(house: House) -> None:
    held = house.meter.open_hold("acme", GRANTED - 150_000)
    house.meter.debit("acme", 60_000, already_used=True)
    client = house.openai(max_retries=2)
    call = asyncio.ensure_future(client.chat.completions.create(model="fake-1", messages=HELLO))
    await until(lambda: house.statuses == [429])
    house.meter.release("acme", held.hold.id)
    answer = await call
    assert answer.choices[0].message.content == "Hello there!"
    assert house.statuses == [429, 200]


async def test_a_key_that_is_not_known_is_an_authentication_error(house: House) -> None:
    client = house.openai(api_key="tw_live_" + "a" * 40)
    with pytest.raises(openai.AuthenticationError) as raised:
        await client.chat.completions.create(model="fake-1", messages=HELLO)
    assert raised.value.code == "invalid_api_key"
    assert house.hits == 1


async def test_what_the_gateway_does_not_know_reaches_the_provider(house: House) -> None:
    await house.openai().chat.completions.create(
        model="fake-1", messages=HELLO, tools=[TOOL], extra_body={"from_the_future": {"depth": [1, None, "é"]}}
    )
    assert b'"from_the_future"' in house.upstream.requests[0].body
    assert b'"weather"' in house.upstream.requests[0].body


async def test_the_models_are_those_of_the_provider(house: House) -> None:
    model = {"id": "fake-1", "object": "model", "created": 1, "owned_by": "somebody"}

    async def answer(request: Any, reply: Any) -> None:
        told = {"object": "list", "data": [model]} if request.path.endswith("/models") else model
        await reply.whole(json.dumps(told).encode())

    house.upstream.answer = answer
    client = house.openai()
    assert [found.id async for found in client.models.list()] == ["fake-1"]
    assert (await client.models.retrieve("org/fake:1")).id == "fake-1"
    assert [request.path for request in house.upstream.requests] == ["/v1/models", "/v1/models/org%2Ffake%3A1"]
    assert house.lines() == []


async def test_concurrent_calls_never_get_more_than_the_balance_allows(house: House) -> None:
    # Of 260,000, four holds of 50,000 are admitted: the fifth would find less than the reserve of 100,000 available.
    house.meter.debit("acme", GRANTED - 260_000, already_used=True)
    gate = asyncio.Event()

    async def answer(request: Any, reply: Any) -> None:
        await gate.wait()
        await plain()(request, reply)

    house.upstream.answer = answer
    client = house.openai(max_retries=0)
    calls = [
        asyncio.ensure_future(client.chat.completions.create(model="fake-1", messages=HELLO, max_tokens=50_000)) for _ in range(20)
    ]
    await until(lambda: sum(call.done() for call in calls) + len(house.upstream.requests) == 20)
    gate.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, openai.RateLimitError)]
    assert {answer.code for answer in refused} == {"balance_held"}
    admitted = 20 - len(refused)
    assert admitted == len(house.upstream.requests) == 4
    assert house.balance().balance_tokens == 260_000 - 15 * admitted
    house.verify()
