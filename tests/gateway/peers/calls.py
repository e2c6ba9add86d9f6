"""Calls of LiteLLM as a client, with nothing but the base URL and the key changed; prints what came of them as JSON."""

import asyncio
import json
import os

import litellm

address, key = os.environ["GATEWAY"], os.environ["KEY"]
at_openai = {"api_base": f"{address}/v1", "api_key": key, "num_retries": 0}
at_anthropic = {"api_base": address, "api_key": key, "num_retries": 0}
asked = [{"role": "user", "content": "Say hello."}]
weather = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def chat(model, **options):
    return litellm.completion(model=model, messages=asked, **options)


def streamed(model, **options):
    pieces = list(chat(model, stream=True, **options))
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


async def streamed_to_coroutines():
    pieces = await litellm.acompletion(model="openai/fake-1", messages=asked, stream=True, **at_openai)
    return "".join([piece.choices[0].delta.content or "" async for piece in pieces if piece.choices])


def refused():
    try:
        chat("openai/fake-1", **(at_openai | {"api_key": os.environ["EMPTY_KEY"]}))
    except Exception as error:  # which class it is, is told
        return [type(error).__name__, error.status_code]


told = {
    "chat": chat("openai/fake-1", **at_openai).choices[0].message.content,
    "chat_stream": streamed("openai/fake-1", **at_openai),
    "chat_stream_async": asyncio.run(streamed_to_coroutines()),
    "messages": chat("anthropic/fake-1", max_tokens=100, **at_anthropic).choices[0].message.content,
    "messages_stream": streamed("anthropic/fake-1", max_tokens=100, **at_anthropic),
    "responses": litellm.responses(model="openai/fake-1", input="Say hello.", **at_openai).output[0].content[0].text,
    "tool": chat("openai/tool-1", tools=[weather], **at_openai).choices[0].message.tool_calls[0].function.arguments,
    "embedding": litellm.embedding(model="openai/embed-1", input=["Hello"], **at_openai).data[0]["embedding"],
    "refused": refused(),
}
print(json.dumps(told))
