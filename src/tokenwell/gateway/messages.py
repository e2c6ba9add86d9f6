"""Messages, as Anthropic has them: what a request asks for, what a message used, and its streamed events."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.usage import Usage
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.anthropic import ANTHROPIC
from tokenwell.gateway.asking import (
    NOTHING,
    UNLABELLED,
    AiRequest,
    BodyReader,
    Labels,
    Limit,
    Metadata,
    named_model,
    prompt_of,
    reason_of,
    session_of,
)
from tokenwell.gateway.dialects import JSON_ONLY, UNREADABLE, Reported
from tokenwell.gateway.streams import EventStream, Tally, array_of, data_of

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_CHARGE_TOKENS)]


class _Metadata(Metadata):
    user_id: str | None = None


class _Body(msgspec.Struct):
    """The fields of a request that matter here; the provider judges the rest."""

    model: str
    messages: msgspec.Raw
    stream: bool | None = None
    max_tokens: Limit | None = None
    system: msgspec.Raw = NOTHING
    tools: msgspec.Raw = NOTHING
    output_config: msgspec.Raw = NOTHING
    metadata: _Metadata | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    """A usage, or what an event adds to it. Unlike elsewhere, cached tokens are not part of the input's."""

    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    output_tokens_details: _OutputDetails | None = None


class _Block(msgspec.Struct):
    """A block of content, or what a delta adds to one."""

    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    name: str | None = None
    input: msgspec.Raw = NOTHING

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it."""
        texts = (self.text, self.thinking, self.partial_json, self.name)
        return sum(len(text.encode()) for text in texts if text) + (len(self.input) if bytes(self.input) != b"{}" else 0)


class Message(msgspec.Struct):
    """A whole message."""

    usage: msgspec.Raw = NOTHING
    content: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING

    @property
    def answer_id(self) -> str:
        """Nothing: it cannot be asked for again."""
        return ""

    @property
    def has_failed(self) -> bool:
        """Whether it is an error told in place of an answer."""
        return self.error is not NOTHING and bytes(self.error) != b"null" and self.content is NOTHING

    def reported(self) -> Reported | None:
        """Return the usage it reports, None where there is none that makes sense."""
        return usage_in(_members(self.usage))

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it."""
        try:
            return sum(block.text_bytes() for block in _decode_blocks(self.content))
        except UNREADABLE:
            return 0


class _Event(msgspec.Struct):
    """An event of a stream."""

    type: str = ""
    message: Message | None = None
    usage: msgspec.Raw = NOTHING
    index: int = 0
    delta: _Block | None = None
    content_block: _Block | None = None

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it."""
        return sum(block.text_bytes() for block in (self.delta, self.content_block) if block)


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_blocks = msgspec.json.Decoder(list[_Block]).decode
_decode_message = msgspec.json.Decoder(Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_events = msgspec.json.Decoder(list[_Event]).decode
_decode_members = msgspec.json.Decoder(dict[str, Any]).decode
_reader = BodyReader("model", "messages", "stream", "max_tokens")


class MessagesDialect:
    """POST /messages."""

    path = "/messages"
    telling = ANTHROPIC
    media_types = JSON_ONLY

    def parse(self, body: bytes, labels: Labels = UNLABELLED, content_type: bytes = b"") -> AiRequest:
        """Return what a body asks for. The labels given go before the body's own. Raises RequestInvalid."""
        asked = _reader.read(body, _decode_body)
        if not bytes(asked.messages).startswith(b"["):
            raise RequestInvalid("messages: must be an array", field="messages")
        return AiRequest(
            body=body,
            model=named_model(asked.model),
            prompt=prompt_of(asked.messages, asked.system, asked.tools, asked.output_config),
            output_limit_tokens=asked.max_tokens,
            streams=bool(asked.stream),
            session=session_of(labels, asked.metadata, asked.metadata.user_id if asked.metadata else None),
            reason=reason_of(labels, asked.metadata),
        )

    def read(self, body: bytes) -> Message | None:
        """Return a message, None if it is none."""
        try:
            return _decode_message(body)
        except UNREADABLE:
            return None

    def stream(self, request: AiRequest) -> MessageStream:
        """Return what reads the streamed message."""
        return MessageStream()


MESSAGES = MessagesDialect()


def usage_in(told: dict[str, Any]) -> Reported | None:
    """Return a usage object in pools that do not overlap; None where it makes no sense or counts nothing.

    Tokens read from the cache and written to it come on top of the input's; what was thought is part of the output.
    """
    try:
        usage = msgspec.convert(told, _Usage)
    except msgspec.ValidationError:
        return None
    output = usage.output_tokens or 0
    thought = min((usage.output_tokens_details or _OutputDetails()).thinking_tokens or 0, output)
    pools = Usage(
        input_tokens=usage.input_tokens or 0,
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        cache_write_tokens=usage.cache_creation_input_tokens or 0,
        output_tokens=output - thought,
        reasoning_tokens=thought,
    )
    return Reported(pools, told) if pools.prompt_tokens + pools.completion_tokens else None


def _members(raw: msgspec.Raw) -> dict[str, Any]:
    try:
        return _decode_members(raw)
    except UNREADABLE:
        return {}


class MessageTally(Tally):
    """What a message has said, and the block that is open."""

    open_block: int | None = None

    def _read(self, datas: list[bytes]) -> None:
        for event in _decode_events(array_of(datas)):
            if event.type == "content_block_start":
                self.open_block = event.index
            elif event.type == "content_block_stop":
                self.open_block = None
            self._add(event.text_bytes())


class MessageStream(EventStream[MessageTally]):
    """Reads a streamed message as it passes. It ends with `message_stop`.

    The usage comes in two parts: what the prompt was with `message_start`, what was said with `message_delta`; what the latter
    repeats replaces the former. Until then, the output that `message_start` names is only a beginning.
    """

    __slots__ = ("_is_told", "_told")

    def __init__(self) -> None:
        super().__init__(MessageTally())
        self._told: dict[str, Any] = {}
        self._is_told = False

    @property
    def reported(self) -> Reported | None:
        """The usage that has been reported, once all of it is."""
        return usage_in(self._told) if self._is_told else None

    @property
    def begun(self) -> Reported | None:
        """The usage as far as it was reported before the answer's end."""
        return usage_in(self._told)

    def _border(self, data: bytes) -> int:
        border = data.find(b'"message_')
        return border if border >= 0 else len(data)

    def _look(self, event: bytes) -> bool:
        try:
            read = _decode_event(data_of(event))
        except UNREADABLE:
            return True
        if read.type == "message_stop":
            self.closing = event
            return False
        if read.type == "message_start" and read.message is not None:
            self._told = _members(read.message.usage)
        elif read.type == "message_delta":
            told = _members(read.usage)
            if usage_in(self._told | told) is not None:
                self._told |= {name: value for name, value in told.items() if value is not None}
                self._is_told = "output_tokens" in self._told
        return True

    def cut(self, used: Usage) -> bytes:
        """End the block that is open and the message, with `max_tokens`."""
        tally = self._count()
        passing = b"" if tally.open_block is None else _event("content_block_stop", index=tally.open_block)
        delta = {"stop_reason": "max_tokens", "stop_sequence": None}
        passing += _event("message_delta", delta=delta, usage={"output_tokens": used.completion_tokens})
        self.closing = _event("message_stop")
        return passing


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **fields}))
