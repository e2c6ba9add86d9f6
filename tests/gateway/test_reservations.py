"""Holds that grow while a stream runs, streams that end for want of balance, and holds kept from lapsing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.gateway import messages, responses
from tests.gateway.conftest import GRANTED, House, asked, house_on, until
from tests.gateway.outages import SqliteOutage
from tests.gateway.upstreams import DONE, USAGE, Answering, Reply, Request, chunk, plain, speaking, streaming
from tokenwell.config import Settings
from tokenwell.core.health import Thresholds
from tokenwell.core.journal import ESTIMATED
from tokenwell.core.usage import Usage
from tokenwell.gateway.chat import ChatStream
from tokenwell.gateway.messages import MessageStream
from tokenwell.gateway.responses import ResponseStream

HELLO: Any = [{"role": "user", "content": "Say hello."}]
BARE = Thresholds(0, 0)
ASKED_USAGE = Usage(input_tokens=7, output_tokens=5)


def endless(piece: bytes, begin: bytes = b"") -> tuple[Answering, list[int]]:
    """Answer with the same piece again and again, until the gateway goes away; and count the pieces."""
    sent = [0]

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(begin or b": begun\n\n")
        while not reply.gone.is_set():
            await reply.piece(piece)
            sent[0] += 1
            await asyncio.sleep(0)

    return answer, sent


async def test_a_hold_grows_as_the_answer_does_and_the_truth_is_charged(sqlite_url: str) -> None:
    async with house_on(sqlite_url, settings=Settings(output_limit_tokens=100)) as house:
        held: list[int] = []

        async def answer(_request: Request, reply: Reply) -> None:
            await reply.begin_stream()
            for number in range(900):
                await reply.piece(chunk(f" {number}"))
                if number % 300 == 299:
                    await until(lambda number=number: house.balance().held_tokens > number)  # type: ignore[misc]
                    held.append(house.balance().held_tokens)
            await reply.piece(chunk(usage=USAGE | {"completion_tokens": 900, "total_tokens": 912}) + DONE)
            await reply.end_stream()

        house.upstream.answer = answer
        async with house.ask(asked(stream=True)) as got:
            body = await got.read()
        assert b'"charged":912' in body
        assert b'"estimated":false' in body
        assert held == sorted(held)
        assert held[-1] > held[0] > 300
        house.verify()


async def test_a_chat_that_the_balance_does_not_cover_ends_with_length(sqlite_url: str) -> None:
    async with house_on(sqlite_url, settings=Settings(output_limit_tokens=100), granted=500, thresholds=BARE) as house:
        house.upstream.answer, _ = endless(chunk(" x"))
        stream = await house.openai().chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [each async for each in stream]
        assert chunks[-2].choices[0].finish_reason == "length"
        assert chunks[-2].id == chunks[0].id == "chatcmpl-1"
        assert chunks[-1].usage is not None
        said = sum(1 for each in chunks if each.choices and each.choices[0].delta.content)
        assert 400 < said <= 500
        await house.settled()
        (line,) = house.lines()
        assert line.entry.flags & ESTIMATED
        assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (chunks[-1].usage.prompt_tokens, said)
        assert house.balance().overage_tokens == 0
        house.verify()


async def test_a_message_that_the_balance_does_not_cover_ends_with_max_tokens(sqlite_url: str) -> None:
    async with house_on(sqlite_url, granted=1_000, thresholds=BARE) as house:
        delta = messages.event("content_block_delta", index=0, delta={"type": "text_delta", "text": " x"})
        opened = messages.event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        usage = {"input_tokens": 12, "output_tokens": 1}
        house.upstream.answer, _ = endless(delta, messages.begin(usage) + opened)
        async with house.anthropic().messages.stream(model="m", max_tokens=100, messages=HELLO) as stream:
            said = [text async for text in stream.text_stream]
            final = await stream.get_final_message()
        assert final.stop_reason == "max_tokens"
        assert final.usage.output_tokens == len(said)
        assert 800 < len(said) <= 1_000
        await house.settled()
        (line,) = house.lines()
        assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (12, len(said))
        assert house.balance().overage_tokens == 0
        house.verify()


async def test_a_response_that_the_balance_does_not_cover_is_incomplete(sqlite_url: str) -> None:
    async with house_on(sqlite_url, granted=1_000, thresholds=BARE) as house:
        begin = b"".join(responses.events()[:4])
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        house.upstream.answer, _ = endless(
            responses.event("response.output_text.delta", 9, delta=" x", logprobs=[], **place), begin
        )
        stream = await house.openai().responses.create(model="m", input="Say hello.", stream=True, max_output_tokens=100)
        told = [each async for each in stream]
        last = told[-1]
        assert last.type == "response.incomplete"
        assert last.sequence_number == 10
        assert last.response.incomplete_details is not None
        assert last.response.incomplete_details.reason == "max_output_tokens"
        said = sum(each.type == "response.output_text.delta" for each in told)
        assert last.response.usage is not None
        assert last.response.usage.output_tokens == said
        await house.settled()
        assert house.lines()[0].entry.completion_tokens == said
        assert house.balance().overage_tokens == 0
        house.verify()


async def test_the_provider_is_stopped_when_the_balance_ends(sqlite_url: str) -> None:
    async with house_on(sqlite_url, settings=Settings(output_limit_tokens=64), granted=200, thresholds=BARE) as house:
        stopped = asyncio.Event()

        async def answer(_request: Request, reply: Reply) -> None:
            await reply.begin_stream()
            await reply.piece(chunk(" x") * 150)
            await reply.gone.wait()
            stopped.set()

        house.upstream.answer = answer
        async with house.ask(asked(stream=True)) as got:
            assert b'"length"' in await got.read()
        await until(stopped.is_set)
        house.verify()


async def test_many_words_at_once_are_passed_as_long_as_the_balance_has_them(house: House) -> None:
    house.upstream.answer = streaming([chunk("word " * 50_000), chunk(usage=USAGE), DONE])
    async with house.ask(asked(stream=True)) as got:
        assert b'"length"' not in await got.read()
    house.verify()


async def test_a_growth_that_the_database_does_not_take_ends_the_stream(sqlite_url: str) -> None:
    async with house_on(sqlite_url, settings=Settings(output_limit_tokens=64)) as house:
        outage = SqliteOutage(sqlite_url)

        async def answer(_request: Request, reply: Reply) -> None:
            await asyncio.to_thread(outage.begin)
            await reply.begin_stream()
            while not reply.gone.is_set():
                await reply.piece(chunk(" x"))
                await asyncio.sleep(0)

        house.upstream.answer = answer
        async with house.ask(asked(stream=True)) as got:
            assert b'"length"' in await got.read()
        await asyncio.to_thread(outage.end)
        await house.settled()
        house.verify()


@pytest.mark.parametrize("streams", [False, True])
async def test_a_hold_does_not_lapse_while_its_call_goes_on(sqlite_url: str, streams: bool) -> None:
    async with house_on(sqlite_url, settings=Settings(hold_seconds=1)) as house:

        async def answer(request: Request, reply: Reply) -> None:
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < began + 1.8:
                await asyncio.sleep(0.1)
                assert house.balance().held_tokens > 0
            await (speaking("Hello") if streams else plain())(request, reply)

        house.upstream.answer = answer
        async with house.ask(asked(stream=streams)) as got:
            await got.read()
            assert got.status == 200
        assert house.balance().balance_tokens == GRANTED - 15
        house.verify()


async def test_a_client_that_leaves_is_charged_the_truth_where_the_provider_is_drained(house: House) -> None:
    gate = asyncio.Event()

    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(chunk("one"))
        await gate.wait()
        await reply.piece(chunk("two") + chunk(usage=USAGE) + DONE)
        await reply.end_stream()

    house.upstream.answer = answer
    house.provider.drains = True
    stream = await house.openai().chat.completions.create(model="a", messages=HELLO, stream=True)
    async for _ in stream:
        break
    await stream.close()
    await until(lambda: len(house.gateway._settlements._readings) == 1)
    gate.set()
    await house.settled()
    (line,) = house.lines()
    assert not line.entry.flags & ESTIMATED
    assert line.entry.completion_tokens == 3
    house.verify()


async def test_a_stopping_gateway_charges_what_it_was_still_reading_by_count(house: House) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(chunk("one") + chunk("two"))
        await reply.gone.wait()

    house.upstream.answer = answer
    house.provider.drains = True
    stream = await house.openai().chat.completions.create(model="a", messages=HELLO, stream=True)
    async for _ in stream:
        break
    await stream.close()
    await until(lambda: len(house.gateway._settlements._readings) == 1)
    await house.gateway._settlements.drain(0.5)
    (line,) = house.lines()
    assert line.entry.flags & ESTIMATED
    assert line.entry.completion_tokens == 2
    house.verify()


def test_every_open_choice_is_ended_and_no_other() -> None:
    stream = ChatStream(hides_usage=True)
    stream.feed(chunk(choices=[{"index": 0, "delta": {"content": "a"}}]) + chunk(choices=[{"index": 2, "delta": {"content": "b"}}]))
    stream.feed(chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    ended = json.loads(stream.cut(ASKED_USAGE).removeprefix(b"data: "))
    assert [(choice["index"], choice["finish_reason"]) for choice in ended["choices"]] == [(2, "length")]
    assert stream.closing == DONE


def test_a_completion_of_old_is_ended_in_its_own_shape() -> None:
    stream = ChatStream(hides_usage=True)
    stream.feed(b'data: {"id":"c","object":"text_completion","model":"t","choices":[{"index":0,"text":"a"}]}\n\n')
    ended = json.loads(stream.cut(ASKED_USAGE).removeprefix(b"data: "))
    assert ended["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]
    assert ended["id"] == "c"


def test_a_stream_of_nothing_known_is_ended_all_the_same() -> None:
    for stream in (ChatStream(hides_usage=False), MessageStream(), ResponseStream()):
        stream.feed(b"data: {broken\n\n")
        stream.cut(ASKED_USAGE)
        assert stream.closing
