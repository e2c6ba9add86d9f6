"""Embeddings, moderations and the completions of old: the rest of what the official SDK asks for in text."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.gateway.conftest import GRANTED, House
from tests.gateway.upstreams import DONE, USAGE, Reply, Request, chunk, failing, streaming
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.chat import COMPLETIONS
from tokenwell.gateway.embeddings import EMBEDDINGS

VECTORS = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,0.2]}],"model":"e","usage":%s}'
TEXTS = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "t"}


def _text(text: str, **fields: Any) -> dict[str, Any]:
    return TEXTS | {"choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": "stop"}]} | fields


async def test_embeddings_are_charged_their_prompt(house: House) -> None:
    house.upstream.answer = failing(200, VECTORS % b'{"prompt_tokens":8,"total_tokens":8}')
    answer = await house.openai().embeddings.create(model="e", input=["one", "two"], encoding_format="float")
    assert answer.data[0].embedding == [0.1, 0.2]
    (line,) = house.lines()
    assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (8, 0)
    house.verify()


async def test_embeddings_hold_their_prompt_alone_and_count_it_where_no_usage_comes(house: House) -> None:
    held: list[int] = []

    async def answer(request: Request, reply: Reply) -> None:
        held.append(house.balance().held_tokens)
        await failing(200, VECTORS % b"null")(request, reply)

    house.upstream.answer = answer
    async with house.ask({"model": "e", "input": "x" * 394}, path="/v1/embeddings") as got:
        assert got.headers["x-tokenwell-estimated"] == "true"
        assert got.headers["x-tokenwell-charged"] == "99"
    assert 0 < held[0] <= 132  # a third of its bytes at most, and nothing for an answer


async def test_moderations_are_passed_on_and_not_charged(house: House) -> None:
    house.upstream.answer = failing(200, b'{"id":"modr-1","model":"omni","results":[]}')
    assert (await house.openai().moderations.create(input="x")).model == "omni"
    assert (house.upstream.requests[0].path, house.lines()) == ("/v1/moderations", [])
    with pytest.raises(openai.AuthenticationError):
        await house.openai(api_key="tw_live_wrong").moderations.create(input="x")


async def test_a_completion_of_old_is_answered_plain_and_streamed(house: House) -> None:
    house.upstream.answer = failing(200, json.dumps(_text("Hello", usage=USAGE)).encode())
    client = house.openai()
    answer = await client.completions.create(model="t", prompt="Say hello.", max_tokens=10)
    assert answer.choices[0].text == "Hello"
    pieces = [b"data: " + json.dumps(_text(word)).encode() + b"\n\n" for word in ("Hel", "lo")]
    usage = b"data: " + json.dumps(TEXTS | {"choices": [], "usage": USAGE}).encode() + b"\n\n"
    house.upstream.answer = streaming([*pieces, usage, DONE])
    stream = await client.completions.create(model="t", prompt="Say hello.", max_tokens=10, stream=True)
    assert [each.choices[0].text async for each in stream] == ["Hel", "lo"]
    assert json.loads(house.upstream.requests[1].body)["stream_options"] == {"include_usage": True}
    assert house.balance().balance_tokens == GRANTED - 30
    house.verify()


async def test_a_completion_of_old_without_usage_is_counted(house: House) -> None:
    house.upstream.answer = failing(200, json.dumps(_text("x" * 40)).encode())
    async with house.ask({"model": "t", "prompt": "a"}, path="/v1/completions") as got:
        assert got.headers["x-tokenwell-completion"] == "10"
    house.upstream.answer = streaming([b"data: " + json.dumps(_text("word")).encode() + b"\n\n"] * 3 + [chunk(), DONE])
    async with house.ask({"model": "t", "prompt": "a", "stream": True}, path="/v1/completions") as got:
        assert b'"completion":3' in await got.read()


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": ["a", "b", "c"], "n": 2}, 6),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]], "best_of": 5, "n": 2}, 10),
        ({"prompt": []}, 1),
        ({}, 1),
    ],
)
def test_every_prompt_is_answered_as_often_as_asked(fields: dict[str, Any], choices: int) -> None:
    assert COMPLETIONS.parse(json.dumps({"model": "t"} | fields).encode()).choices == choices


@pytest.mark.parametrize("dialect", [COMPLETIONS, EMBEDDINGS])
def test_a_request_without_a_model_is_invalid(dialect: Any) -> None:
    for body in (b"{}", b'{"model":""}', b"[]", b'{"model":"a","model":"b"}'):
        with pytest.raises(RequestInvalid):
            dialect.parse(body)
