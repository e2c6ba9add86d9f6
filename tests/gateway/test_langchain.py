"""LangChain's clients, with nothing but their base URL and key changed."""

from __future__ import annotations

import json
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.gateway import messages, responses
from tests.gateway.conftest import GRANTED, House
from tests.gateway.upstreams import USAGE, failing, plain, speaking

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}


def weather(city: str) -> str:
    """Tell the weather."""
    return city


def _openai(house: House, **options: Any) -> ChatOpenAI:
    chat = ChatOpenAI(model="fake-1", base_url=f"{house.address}/v1", api_key=house.secret, max_retries=0, **options)  # type: ignore[arg-type]
    house.closes(chat.root_async_client)
    return chat


def _anthropic(house: House) -> ChatAnthropic:
    chat = ChatAnthropic(model="fake-1", base_url=house.address, api_key=house.secret, max_retries=0, max_tokens=500)  # type: ignore[call-arg, arg-type]
    house.closes(chat._async_client)
    return chat


async def test_a_chat_is_answered_plain_and_streamed(house: House) -> None:
    house.upstream.answer = speaking("Hello", " there")
    said = [piece async for piece in _openai(house).astream("Say hello.")]
    assert "".join(str(piece.content) for piece in said) == "Hello there"
    house.upstream.answer = plain("Hello there!")
    answer = await _openai(house).ainvoke("Say hello.")
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 15
    assert house.balance().balance_tokens == GRANTED - 30
    house.verify()


async def test_tools_and_structured_answers_work(house: House) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    house.upstream.answer = plain(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    called = await _openai(house).bind_tools([weather]).ainvoke("How is it in Bonn?")
    assert called.tool_calls[0]["args"] == {"city": "Bonn"}
    house.upstream.answer = plain('{"city": "Bonn"}')
    form = {"title": "City", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    structured = _openai(house).with_structured_output(form, method="json_schema")
    assert await structured.ainvoke("Where?") == {"city": "Bonn"}
    house.verify()


async def test_responses_and_embeddings_work(house: House) -> None:
    house.upstream.answer = responses.responding("Hello")
    answer = await _openai(house, use_responses_api=True).ainvoke("Say hello.")
    assert answer.text == "Hello"
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}], "model": "e", "usage": USAGE}
    house.upstream.answer = failing(200, json.dumps(vectors).encode())
    embeddings = OpenAIEmbeddings(
        model="e",
        base_url=f"{house.address}/v1",
        api_key=house.secret,
        check_embedding_ctx_length=False,  # type: ignore[arg-type]
    )
    house.closes(embeddings.async_client._client)
    assert await embeddings.aembed_query("Hello") == [0.1]
    assert len(house.lines()) == 2
    house.verify()


async def test_messages_are_answered_plain_and_streamed(house: House) -> None:
    house.upstream.answer = messages.saying("Hello", " there")
    said = [piece async for piece in _anthropic(house).astream("Say hello.")]
    assert "".join(str(piece.text) for piece in said) == "Hello there"
    answer = await _anthropic(house).ainvoke("Say hello.")
    assert answer.text == "Hello there"
    assert house.balance().balance_tokens == GRANTED - 240
    house.verify()
