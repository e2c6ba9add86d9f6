"""What a provider of the Anthropic dialect answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.gateway.upstreams import Answering, Reply, Request, failing, streaming

USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 100,
    "output_tokens": 3,
    "service_tier": "standard",
}
"""120 tokens: those of the cache are not among the input's."""


def message(text: str = "Hello there!", usage: Any = USAGE, **fields: Any) -> bytes:
    """Return a message as JSON; without `usage` where it is None."""
    told: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "fake-1",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }
    return json.dumps(told | ({} if usage is None else {"usage": usage}) | fields).encode()


def event(kind: str, **fields: Any) -> bytes:
    """Return one event of a stream."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields, ensure_ascii=False)}\n\n".encode()


def begin(usage: Any = USAGE) -> bytes:
    """Return the first event: it knows the prompt."""
    return event("message_start", message=json.loads(message("", usage | {"output_tokens": 1}, content=[], stop_reason=None)))


def words(*said: str, index: int = 0) -> list[bytes]:
    """Return the events of a block of text."""
    opened = event("content_block_start", index=index, content_block={"type": "text", "text": ""})
    deltas = [event("content_block_delta", index=index, delta={"type": "text_delta", "text": word}) for word in said]
    return [opened, event("ping"), *deltas, event("content_block_stop", index=index)]


def finish(stop_reason: str = "end_turn", **usage: Any) -> list[bytes]:
    """Return the last two events: the first of them knows the output."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage={"output_tokens": 3} | usage), event("message_stop")]


def saying(*said: str) -> Answering:
    """Answer with a message that says these words, streamed where that is asked for."""

    async def answer(request: Request, reply: Reply) -> None:
        if json.loads(request.body).get("stream"):
            await streaming([begin(), *words(*said), *finish()])(request, reply)
        else:
            await failing(200, message("".join(said)), request_id="req_upstream")(request, reply)

    return answer


def streamed(events: Iterable[bytes]) -> Answering:
    """Answer with these events."""
    return streaming(events)
