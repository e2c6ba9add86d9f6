"""An AI provider that misbehaves on command, and remembers what it produced.

A request's own field `simulate` is the command. Its tokens are four bytes long: every word is one, and so are every four bytes of
the prompt. So what the gateway counts where no usage is told can be compared with the truth.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec

from tests.gateway import messages, responses
from tests.gateway.upstreams import DONE, FakeUpstream, Reply, Request, chunk, completion

WORD = " xö"
"""A word: one token, four bytes, one character of two bytes."""

HTML = b"<html><body>Bad gateway</body></html>"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen. `at` is the word at which it `ends` badly; −1 is before the answer has begun."""

    name: str
    prompt_tokens: int
    words: int = 3
    status: int = 200
    html: bool = False
    usage: Literal["once", "never", "twice"] = "once"
    slow_head: bool = False
    slow: bool = False
    slice_bytes: int = 0
    line_end: Literal["lf", "crlf"] = "lf"
    comments: bool = False
    huge: bool = False
    gzip: bool = False
    http10: bool = False
    ends: Literal["well", "reset", "hang", "early"] = "well"
    at: int = 0


class Produced:
    """What one request was answered: the words said, and whether its usage was told in full."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.words = 0
        self.usage_told = False
        self.is_broken = False


class Simulator(FakeUpstream):
    """A provider of every dialect. `produced` has what each request was answered, by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.produced: dict[str, Produced] = {}
        self.answer = self._simulate

    async def _simulate(self, request: Request, reply: Reply) -> None:
        body = json.loads(request.body)
        plan = msgspec.convert(body["simulate"], Plan)
        told = self.produced[plan.name] = Produced(plan)
        if plan.slow_head:
            await asyncio.sleep(0.05)
        if plan.ends in ("reset", "hang") and plan.at < 0:
            await self._break(plan, told, reply)
        elif plan.status != 200 or plan.html:
            await self._refuse(plan, reply)
        elif body.get("stream"):
            await self._stream(request.path, plan, told, reply)
        else:
            await self._plain(request.path, plan, told, reply)

    async def _break(self, plan: Plan, told: Produced, reply: Reply) -> None:
        told.is_broken = True
        if plan.ends == "hang":
            await reply.gone.wait()
        elif plan.ends == "early":
            reply.close()
        else:
            reply.reset()

    async def _refuse(self, plan: Plan, reply: Reply) -> None:
        if plan.html:
            await reply.whole(HTML, status=plan.status, kind="text/html")
        else:
            body = json.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}).encode()
            await reply.whole(body, status=plan.status, retry_after="1")

    async def _plain(self, path: str, plan: Plan, told: Produced, reply: Reply) -> None:
        body = _whole(path, plan)
        told.words = plan.words
        if plan.ends in ("reset", "hang"):
            await reply.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:40]
            )
            await self._break(plan, told, reply)
        elif plan.gzip:
            told.is_broken = True  # nobody had asked for it
            await reply.whole(gzip.compress(body), content_encoding="gzip")
        elif plan.http10:
            told.usage_told = plan.usage != "never"
            await reply.send(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + body)
            reply.close()
        else:
            told.usage_told = plan.usage != "never"
            await reply.whole(body)

    async def _stream(self, path: str, plan: Plan, told: Produced, reply: Reply) -> None:
        kind = b"content-type: text/event-stream\r\n"
        if plan.http10:
            await reply.send(b"HTTP/1.0 200 OK\r\n" + kind + b"\r\n")
        else:
            await reply.send(b"HTTP/1.1 200 OK\r\n" + kind + b"transfer-encoding: chunked\r\n\r\n")
        async for event, words, is_usage in _events(path, plan):
            if plan.ends != "well" and words and told.words == plan.at:
                await self._break(plan, told, reply)
                return
            told.words += words
            for piece in _sliced(event, plan):
                await (reply.send(piece) if plan.http10 else reply.piece(piece))
            told.usage_told = told.usage_told or is_usage
        if plan.http10:
            reply.close()
        else:
            await reply.end_stream()


def _sliced(event: bytes, plan: Plan) -> list[bytes]:
    if plan.line_end == "crlf":
        event = event.replace(b"\n", b"\r\n")
    size = plan.slice_bytes if plan.slice_bytes and len(event) < 10_000 else len(event)
    return [event[at : at + size] for at in range(0, len(event), size)]


def _usage(path: str, plan: Plan) -> dict[str, Any]:
    prompt, said = plan.prompt_tokens, plan.words
    if path.endswith("/messages"):
        return {"input_tokens": prompt - prompt // 2, "cache_read_input_tokens": prompt // 2, "output_tokens": said}
    if path.endswith("/responses"):
        details = {"input_tokens_details": {"cached_tokens": prompt // 2}, "output_tokens_details": {"reasoning_tokens": said // 3}}
        return {"input_tokens": prompt, "output_tokens": said, "total_tokens": prompt + said, **details}
    details = {"prompt_tokens_details": {"cached_tokens": prompt // 2}}
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said, **details}


def _whole(path: str, plan: Plan) -> bytes:
    text = WORD * plan.words
    usage = None if plan.usage == "never" else _usage(path, plan)
    if path.endswith("/messages"):
        return messages.message(text, usage)
    if path.endswith("/responses"):
        return json.dumps(responses.response(text, usage)).encode()
    return completion(text, usage)


async def _events(path: str, plan: Plan) -> AsyncIterator[tuple[bytes, int, bool]]:
    """Give every event, how many words it says, and whether it tells the whole usage."""
    first, said, last = _script(path, plan)
    padding = {"padding": "p" * 200_000}
    for event in first:
        yield event, 0, False
    for number in range(plan.words):
        if plan.comments:
            yield b": keep-alive\n\n", 0, False
        if plan.slow:
            await asyncio.sleep(0.01)
        yield said(padding if plan.huge and number == 1 else {}), 1, False
    # An end that is to be early or broken comes before the usage.
    if plan.ends != "well":
        yield b": never\n\n", 1, False
    for event, is_usage in last:
        yield event, 0, is_usage


def _script(path: str, plan: Plan) -> tuple[list[bytes], Any, list[tuple[bytes, bool]]]:
    usage = _usage(path, plan)
    times = {"never": 0, "once": 1, "twice": 2}[plan.usage]
    if path.endswith("/messages"):
        opened = messages.event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        stopped = messages.event("content_block_stop", index=0)

        def say(extra: dict[str, Any]) -> bytes:
            return messages.event("content_block_delta", index=0, delta={"type": "text_delta", "text": WORD}, **extra)

        told = {"stop_reason": "end_turn", "stop_sequence": None}
        deltas = [(messages.event("message_delta", delta=told, usage={"output_tokens": plan.words}), True)] * times
        return [messages.begin(usage), opened], say, [(stopped, False), *deltas, (messages.event("message_stop"), False)]
    if path.endswith("/responses"):
        told_events = responses.events(usage=None if not times else usage)
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}

        def say_response(extra: dict[str, Any]) -> bytes:
            return responses.event("response.output_text.delta", 4, delta=WORD, logprobs=[], **place, **extra)

        return told_events[:4], say_response, [*((each, False) for each in told_events[4:-1]), (told_events[-1], times > 0)]

    def say_chat(extra: dict[str, Any]) -> bytes:
        return chunk(WORD, **extra)

    return [], say_chat, [*[(chunk(usage=usage), True)] * times, (DONE, False)]
