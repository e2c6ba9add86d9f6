"""What a provider answers to OpenAI's responses."""

from __future__ import annotations

import json
from typing import Any

from tests.gateway.upstreams import Answering, Reply, Request, failing, streaming

USAGE = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 0},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 60},
    "total_tokens": 123,
}


def response(text: str = "Hello there!", usage: Any = USAGE, **fields: Any) -> dict[str, Any]:
    """Return a response; `usage` is null where it is None."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "fake-1",
        "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    } | fields


def event(kind: str, number: int = 0, **fields: Any) -> bytes:
    """Return one event of a stream."""
    told = {"type": kind, "sequence_number": number} | fields
    return f"event: {kind}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n".encode()


def events(*words: str, last: str = "completed", **final: Any) -> list[bytes]:
    """Return the events of a response that says these words; the last has its usage."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    item = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}
    begun = response(usage=None, status="in_progress", output=[])
    ended = response("".join(words), **({"status": last} | final))
    told: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": item}),
        ("response.content_part.added", place | {"part": empty}),
        *(("response.output_text.delta", place | {"delta": word, "logprobs": []}) for word in words),
        ("response.output_text.done", place | {"text": "".join(words), "logprobs": []}),
        ("response.content_part.done", place | {"part": empty | {"text": "".join(words)}}),
        ("response.output_item.done", {"output_index": 0, "item": ended["output"][0]}),
        (f"response.{last}", {"response": ended}),
    ]
    return [event(kind, number, **fields) for number, (kind, fields) in enumerate(told)]


def responding(*words: str) -> Answering:
    """Answer with a response that says these words, streamed where that is asked for."""

    async def answer(request: Request, reply: Reply) -> None:
        if request.body and json.loads(request.body).get("stream"):
            await streaming(events(*words))(request, reply)
        else:
            await failing(200, json.dumps(response("".join(words))).encode())(request, reply)

    return answer
