"""The official SDK of the Anthropic dialect, with nothing but its base URL and key changed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import pytest

from tests.gateway.conftest import GRANTED, House, house_on, until
from tests.gateway.messages import begin, event, finish, message, saying, streamed, words
from tests.gateway.upstreams import Reply, Request, failing
from tokenwell.core.journal import ESTIMATED

HELLO: Any = [{"role": "user", "content": "Say hello."}]
ASKED: Any = {"model": "fake-1", "max_tokens": 1_000, "messages": HELLO}
TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}


async def test_a_message_is_answered_and_its_cached_tokens_are_charged_as_well(house: House) -> None:
    house.upstream.answer = saying("Hello there!")
    answer = await house.anthropic().messages.create(**ASKED)
    assert answer.content[0].text == "Hello there!"  # type: ignore[union-attr]
    assert house.balance().balance_tokens == GRANTED - 120
    (line,) = house.lines()
    assert (line.entry.prompt_tokens, line.entry.completion_tokens, line.entry.model) == (117, 3, "fake-1")
    assert json.loads(line.entry.detail or "")["raw"]["cache_read_input_tokens"] == 100
    assert house.upstream.requests[0].path == "/v1/messages"
    house.verify()


async def test_a_bearer_token_does_as_well_and_raw_answers_carry_the_receipt(house: House) -> None:
    house.upstream.answer = saying("Hello")
    client = house.anthropic(api_key=None, auth_token=house.secret)
    raw = await client.messages.with_raw_response.create(**ASKED)
    assert raw.headers["x-tokenwell-charged"] == "120"
    assert raw.headers["x-tokenwell-estimated"] == "false"
    assert (await raw.parse()).usage.output_tokens == 3
    assert house.upstream.requests[0].headers["anthropic-version"]


async def test_the_synchronous_client_works_as_well(house: House) -> None:
    house.upstream.answer = saying("Hello")

    def ask() -> Any:
        with anthropic.Anthropic(base_url=house.address, api_key=house.secret) as client:
            with client.messages.stream(**ASKED) as stream:
                text = "".join(stream.text_stream)
            return client.messages.create(**ASKED), text

    answer, text = await asyncio.to_thread(ask)
    assert answer.usage.input_tokens == 12
    assert text == "Hello"
    assert house.balance().balance_tokens == GRANTED - 240


async def test_a_stream_is_passed_on_event_by_event_with_its_usage(house: House) -> None:
    house.upstream.answer = saying("Hello", " there")
    async with house.anthropic().messages.stream(**ASKED) as stream:
        said = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert said == ["Hello", " there"]
    assert (final.usage.output_tokens, final.usage.cache_read_input_tokens, final.stop_reason) == (3, 100, "end_turn")
    assert house.balance().balance_tokens == GRANTED - 120
    house.verify()


async def test_a_stream_passes_byte_for_byte_with_the_receipt_before_its_last_event(house: House) -> None:
    events = [begin(), *words("a"), *finish()]
    house.upstream.answer = streamed(events)
    async with house.ask(ASKED | {"stream": True}, path="/v1/messages") as answer:
        body: bytes = await answer.read()
    before, comment, last = body.partition(b": tokenwell ")
    assert before == b"".join(events[:-1])
    assert (comment + last).partition(b"\n\n")[2] == events[-1]
    assert b'"charged":120' in last


async def test_tools_thoughts_and_unknown_blocks_pass(house: House) -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}},
    ]
    house.upstream.answer = failing(200, message(content=blocks, stop_reason="tool_use"))
    asked = ASKED | {"tools": [TOOL], "thinking": {"type": "enabled", "budget_tokens": 500}}
    answer = await house.anthropic().messages.create(**asked, extra_body={"new": {"x": 1}})
    assert answer.content[1].input == {"city": "Bonn"}  # type: ignore[union-attr]
    sent = json.loads(house.upstream.requests[0].body)
    assert (sent["tools"], sent["new"], sent["thinking"]["budget_tokens"]) == ([TOOL], {"x": 1}, 500)


async def test_streamed_tools_are_put_together_by_the_client(house: House) -> None:
    tool = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    parts = [
        event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": p})
        for p in ('{"city"', ': "Bonn"}')
    ]
    opened = event("content_block_start", index=0, content_block=tool)
    house.upstream.answer = streamed([begin(), opened, *parts, event("content_block_stop", index=0), *finish("tool_use")])
    async with house.anthropic().messages.stream(**ASKED, tools=[TOOL]) as stream:
        final = await stream.get_final_message()
    assert final.content[0].input == {"city": "Bonn"}  # type: ignore[union-attr]


async def test_counting_tokens_is_not_charged(house: House) -> None:
    house.upstream.answer = failing(200, b'{"input_tokens": 14}')
    counted = await house.anthropic().messages.count_tokens(model="fake-1", messages=HELLO)
    assert counted.input_tokens == 14
    assert house.upstream.requests[0].path == "/v1/messages/count_tokens"
    assert house.lines() == []
    with pytest.raises(anthropic.AuthenticationError):
        await house.anthropic(api_key="tw_live_wrong").messages.count_tokens(model="fake-1", messages=HELLO)


async def test_the_beta_client_sends_its_query_and_its_betas_on(house: House) -> None:
    house.upstream.answer = saying("Hello")
    await house.anthropic().beta.messages.create(**ASKED, betas=["new-1"], extra_query={"beta": "true"})
    (sent,) = house.upstream.requests
    assert sent.path == "/v1/messages?beta=true"
    assert sent.headers["anthropic-beta"] == "new-1"


async def test_without_balance_the_sdk_raises_its_own_error_once(sqlite_url: str) -> None:
    async with house_on(sqlite_url, granted=0) as house:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await house.anthropic().messages.create(**ASKED)
        assert raised.value.status_code == 402
        error = raised.value.body["error"]  # type: ignore[index]
        assert (error["type"], error["code"]) == ("billing_error", "ai_stopped")
        assert house.hits == 1
        assert house.upstream.requests == []


async def test_what_is_held_by_others_is_tried_again(house: House) -> None:
    with pytest.raises(anthropic.RateLimitError):
        await house.anthropic(max_retries=1).messages.create(**ASKED | {"max_tokens": 9_000_000}, timeout=60)
    assert house.statuses == [429, 429]


@pytest.mark.parametrize("streams", [False, True])
async def test_an_error_of_the_provider_passes_and_charges_nothing(house: House, streams: bool) -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_x"}'
    house.upstream.answer = failing(529, body)
    with pytest.raises(anthropic.APIStatusError) as raised:
        await house.anthropic(max_retries=0).messages.create(**ASKED, stream=streams)
    assert raised.value.status_code == 529
    assert raised.value.body == json.loads(body)
    assert house.lines() == []
    house.verify()


async def test_an_error_within_a_stream_is_the_providers_event_and_charges_what_came(house: House) -> None:
    failed = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    house.upstream.answer = streamed([begin(), *words("one", "two"), failed])
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async with house.anthropic().messages.stream(**ASKED) as stream:
            await stream.get_final_message()
    await house.settled()
    (line,) = house.lines()
    assert line.entry.flags & ESTIMATED
    assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (117, 2)
    house.verify()


async def test_a_stream_that_breaks_off_ends_with_an_error_in_the_dialects_shape(house: House) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(b"".join([begin(), *words("one", "two")]) + b"event: content")
        reply.reset()

    house.upstream.answer = answer
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        async with house.anthropic().messages.stream(**ASKED) as stream:
            await stream.get_final_message()
    await house.settled()
    (line,) = house.lines()
    assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (117, 2)


async def test_a_client_that_leaves_pays_the_prompt_exactly_and_what_was_said_by_count(house: House) -> None:
    stopped = asyncio.Event()

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(b"".join([begin(), *words(*["word"] * 10)]))
        await reply.gone.wait()
        stopped.set()

    house.upstream.answer = answer
    async with house.anthropic().messages.stream(**ASKED) as stream:
        heard = 0
        async for _ in stream.text_stream:
            heard += 1
            if heard == 10:
                break
    await until(stopped.is_set)
    await house.settled()
    (line,) = house.lines()
    assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (117, 10)
    assert line.entry.flags & ESTIMATED
    house.verify()


async def test_models_are_listed_in_the_dialect_of_who_asks(house: House) -> None:
    house.upstream.answer = failing(
        200, b'{"data":[{"type":"model","id":"m","display_name":"M","created_at":"2025-01-01T00:00:00Z"}],"has_more":false}'
    )
    page = await house.anthropic().models.list()
    assert page.data[0].id == "m"
    with pytest.raises(anthropic.AuthenticationError):
        await house.anthropic(api_key="tw_live_wrong").models.list()
