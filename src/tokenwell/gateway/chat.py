"""Chat completions, and the completions that came before them, as OpenAI and most other providers have them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tokenwell.core.usage import Usage
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.asking import (
    NOTHING,
    UNLABELLED,
    AiRequest,
    BodyReader,
    Choices,
    Labels,
    Limit,
    Metadata,
    named_model,
    prompt_of,
    reason_of,
    session_of,
)
from tokenwell.gateway.completions import Choice, Completion, parse_completion
from tokenwell.gateway.dialects import JSON_ONLY, UNREADABLE, Reported
from tokenwell.gateway.openai import OPENAI
from tokenwell.gateway.streams import EventStream, Tally, array_of, data_of


class _Body(msgspec.Struct):
    """The fields of a request that matter here; the provider judges the rest."""

    model: str
    messages: msgspec.Raw
    stream: bool | None = None
    stream_options: msgspec.Raw = NOTHING
    n: Choices | None = None
    max_completion_tokens: Limit | None = None
    max_tokens: Limit | None = None
    tools: msgspec.Raw = NOTHING
    functions: msgspec.Raw = NOTHING
    response_format: msgspec.Raw = NOTHING
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_options = msgspec.json.Decoder(_StreamOptions | None).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_reader = BodyReader("model", "messages", "stream", "stream_options", "n", "max_completion_tokens", "max_tokens")


class ChatDialect:
    """POST /chat/completions."""

    path = "/chat/completions"
    telling = OPENAI
    media_types = JSON_ONLY

    def parse(self, body: bytes, labels: Labels = UNLABELLED, content_type: bytes = b"") -> AiRequest:
        """Return what a body asks for. The labels given go before the body's own. Raises RequestInvalid."""
        asked = _reader.read(body, _decode_body)
        if not bytes(asked.messages).startswith(b"["):
            raise RequestInvalid("messages: must be an array", field="messages")
        streams = bool(asked.stream)
        hides_usage = streams and not asks_usage(asked.stream_options)
        return AiRequest(
            body=ask_usage(body, asked.stream_options) if hides_usage else body,
            model=named_model(asked.model),
            prompt=prompt_of(asked.messages, asked.tools, asked.functions, asked.response_format),
            output_limit_tokens=asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens,
            choices=asked.n or 1,
            streams=streams,
            hides_usage=hides_usage,
            session=session_of(labels, asked.metadata, asked.user, asked.safety_identifier),
            reason=reason_of(labels, asked.metadata),
        )

    def read(self, body: bytes) -> Completion | None:
        """Return a completion, None if it is none."""
        return parse_completion(body)

    def stream(self, request: AiRequest) -> ChatStream:
        """Return what reads the streamed completion."""
        return ChatStream(hides_usage=request.hides_usage)


CHAT = ChatDialect()


class _PromptBody(msgspec.Struct):
    """The fields of a request from before there were messages."""

    model: str
    prompt: msgspec.Raw = NOTHING
    stream: bool | None = None
    stream_options: msgspec.Raw = NOTHING
    n: Choices | None = None
    best_of: Choices | None = None
    max_tokens: Limit | None = None
    suffix: msgspec.Raw = NOTHING
    metadata: Metadata | None = None
    user: str | None = None


_decode_prompt_body = msgspec.json.Decoder(_PromptBody).decode
_decode_prompts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_prompt_reader = BodyReader("model", "prompt", "stream", "stream_options", "n", "best_of", "max_tokens")


class CompletionsDialect(ChatDialect):
    """POST /completions. Its answers and its stream have a chat completion's shape."""

    path = "/completions"

    def parse(self, body: bytes, labels: Labels = UNLABELLED, content_type: bytes = b"") -> AiRequest:
        """Return what a body asks for. The labels given go before the body's own. Raises RequestInvalid."""
        asked = _prompt_reader.read(body, _decode_prompt_body)
        streams = bool(asked.stream)
        hides_usage = streams and not asks_usage(asked.stream_options)
        return AiRequest(
            body=ask_usage(body, asked.stream_options) if hides_usage else body,
            model=named_model(asked.model),
            prompt=prompt_of(asked.prompt, asked.suffix),
            output_limit_tokens=asked.max_tokens,
            choices=_prompts_in(asked.prompt) * max(asked.n or 1, asked.best_of or 1),
            streams=streams,
            hides_usage=hides_usage,
            session=session_of(labels, asked.metadata, asked.user),
            reason=reason_of(labels, asked.metadata),
        )


COMPLETIONS = CompletionsDialect()


def _prompts_in(prompt: msgspec.Raw) -> int:
    """Return how many prompts are given: a list of numbers is one, each of its tokens."""
    if not bytes(prompt).startswith(b"["):
        return 1
    parts = _decode_prompts(prompt)
    return len(parts) if parts and bytes(parts[0]).startswith((b'"', b"[")) else 1


def asks_usage(options: msgspec.Raw) -> bool:
    """Return whether these `stream_options` ask for the usage. Raises RequestInvalid where they are none."""
    if options is NOTHING:
        return False
    try:
        asked = _decode_options(options)
    except msgspec.ValidationError:
        raise RequestInvalid("stream_options: must be an object", field="stream_options") from None
    return asked is not None and bool(asked.include_usage)


def ask_usage(body: bytes, options: msgspec.Raw) -> bytes:
    """Return the body with `stream_options.include_usage` set; every other value keeps its bytes."""
    if options is NOTHING:
        brace = body.index(b"{") + 1
        return body[:brace] + b'"stream_options":{"include_usage":true},' + body[brace:]
    members = _decode_members(body)
    inner: dict[str, Any] = _decode_members(options) if bytes(options) != b"null" else {}
    inner["include_usage"] = True
    members["stream_options"] = msgspec.Raw(msgspec.json.encode(inner))
    return msgspec.json.encode(members)


_KEPT = ("id", "object", "created", "model", "system_fingerprint", "service_tier")


def like(data: bytes) -> dict[str, Any]:
    """Return what every chunk of a stream says, as one of them said it."""
    try:
        members: dict[str, Any] = msgspec.json.decode(data)
    except UNREADABLE:
        members = {"object": "chat.completion.chunk"}
    return {name: members[name] for name in _KEPT if name in members}


_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class _Chunk(msgspec.Struct):
    """A chunk of a stream, as far as it says something."""

    choices: list[Choice] | None = None


_decode_chunks = msgspec.json.Decoder(list[_Chunk]).decode


class ChatTally(Tally):
    """What a chat has said. `open` are the choices that have begun and not ended, `sample` is the first chunk."""

    open: frozenset[int] = frozenset()
    sample: bytes = b""

    def _read(self, datas: list[bytes]) -> None:
        chunks = _decode_chunks(array_of(datas))
        self.sample = self.sample or (datas[0] if datas else b"")
        for chunk in chunks:
            said = 0
            for choice in chunk.choices or ():
                said += choice.text_bytes()
                if bool(choice.finish_reason) is (choice.index in self.open):
                    self.open ^= {choice.index}
            if said:
                self.pieces += 1
                self.text_bytes += said


class ChatStream(EventStream[ChatTally]):
    """Reads a streamed chat completion as it passes. It ends with `[DONE]`; with `hides_usage` the chunk that only reports the
    usage is taken out."""

    __slots__ = ("_hides_usage", "reported")

    reported: Reported | None

    def __init__(self, *, hides_usage: bool) -> None:
        super().__init__(ChatTally())
        self.reported = None
        self._hides_usage = hides_usage

    def _border(self, data: bytes) -> int:
        done = data.find(b"[DONE]")
        usage = _USAGE.search(data, 0, done if done >= 0 else len(data))
        return usage.start() if usage else done if done >= 0 else len(data)

    def _look(self, event: bytes) -> bool:
        if b"[DONE]" in event and data_of(event).startswith(b"[DONE]"):
            self.closing = event
            return False
        chunk = parse_completion(data_of(event))
        reported = chunk.reported() if chunk is not None else None
        if chunk is None or reported is None:
            return True
        self.reported = reported
        return chunk.has_choices or not self._hides_usage

    def cut(self, used: Usage) -> bytes:
        """End every choice that is open with `length`, and tell the usage if it was asked for."""
        tally = self._count()
        told = like(tally.sample)
        is_text = told.get("object") == "text_completion"
        said: dict[str, Any] = {"text": ""} if is_text else {"delta": {}}
        ends = [{"index": index, **said, "logprobs": None, "finish_reason": "length"} for index in sorted(tally.open or {0})]
        passing = OPENAI.event(msgspec.json.encode(told | {"choices": ends}))
        if not self._hides_usage:
            usage = {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
            total = {"total_tokens": used.prompt_tokens + used.completion_tokens}
            passing += OPENAI.event(msgspec.json.encode(told | {"choices": [], "usage": usage | total}))
        self.closing = b"data: [DONE]\n\n"
        return passing
