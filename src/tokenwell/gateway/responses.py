"""Responses, as OpenAI has them: what a request asks for, what a response used, and its streamed events."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.usage import Usage
from tokenwell.errors import RequestInvalid
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
from tokenwell.gateway.openai import OPENAI
from tokenwell.gateway.streams import EventStream, Tally, array_of, data_of

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_CHARGE_TOKENS)]


class _Body(msgspec.Struct):
    """The fields of a request that matter here; the provider judges the rest."""

    model: str
    input: msgspec.Raw = NOTHING
    instructions: msgspec.Raw = NOTHING
    tools: msgspec.Raw = NOTHING
    text: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    max_output_tokens: Limit | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = NOTHING
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    input_tokens: _Count
    output_tokens: _Count | None = None
    total_tokens: _Count | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Content(msgspec.Struct):
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    """An item of the output: a message, a call, reasoning."""

    content: list[_Content] | None = None
    summary: list[_Content] | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    code: str | None = None

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it."""
        texts = [self.name, self.arguments, self.input, self.code]
        for each in (*(self.content or ()), *(self.summary or ())):
            texts += [each.text, each.refusal]
        return sum(len(text.encode()) for text in texts if text)


class Response(msgspec.Struct):
    """A whole response."""

    answer_id: str = msgspec.field(default="", name="id")
    usage: msgspec.Raw = NOTHING
    output: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING

    @property
    def has_failed(self) -> bool:
        """Whether it is an error told in place of an answer. A response that failed on its way is an answer, perhaps with usage."""
        return self.error is not NOTHING and bytes(self.error) != b"null" and self.output is NOTHING

    def reported(self) -> Reported | None:
        """Return the usage it reports, None where there is none that makes sense."""
        return None if self.usage is NOTHING else usage_in(self.usage)

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it."""
        total = 0
        for item in _list_in(self.output):
            try:
                total += _decode_item(item).text_bytes()
            except UNREADABLE:
                continue
        return total


class _Event(msgspec.Struct):
    """An event of a stream."""

    type: str = ""
    response: Response | None = None
    delta: str | None = None
    sequence_number: int = 0

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it: sound and pictures are no text."""
        told = self.type.endswith(".delta") and ("audio" not in self.type or "transcript" in self.type)
        return len(self.delta.encode()) if told and self.delta else 0


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_response = msgspec.json.Decoder(Response).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_events = msgspec.json.Decoder(list[_Event]).decode
_reader = BodyReader("model", "input", "stream", "store", "background", "max_output_tokens", "previous_response_id", "conversation")


class ResponsesDialect:
    """POST /responses."""

    path = "/responses"
    telling = OPENAI
    media_types = JSON_ONLY

    def parse(self, body: bytes, labels: Labels = UNLABELLED, content_type: bytes = b"") -> AiRequest:
        """Return what a body asks for. The labels given go before the body's own. Raises RequestInvalid."""
        asked = _reader.read(body, _decode_body)
        if asked.background:
            # It would be answered before it is known what it costs.
            raise RequestInvalid("background: is not offered; stream the response instead", field="background")
        if asked.conversation is not NOTHING and bytes(asked.conversation) != b"null":
            # Conversations belong to the operator's account: whose they are within it, nobody could say.
            raise RequestInvalid("conversation: is not offered; name the previous_response_id instead", field="conversation")
        return AiRequest(
            body=body,
            model=named_model(asked.model),
            prompt=prompt_of(asked.input, asked.instructions, asked.tools, asked.text, asked.prompt),
            output_limit_tokens=asked.max_output_tokens,
            streams=bool(asked.stream),
            session=session_of(labels, asked.metadata, asked.user, asked.safety_identifier),
            reason=reason_of(labels, asked.metadata),
            follows=asked.previous_response_id,
            stores=asked.store is not False,
        )

    def read(self, body: bytes) -> Response | None:
        """Return a response, None if it is none."""
        try:
            return _decode_response(body)
        except UNREADABLE:
            return None

    def stream(self, request: AiRequest) -> ResponseStream:
        """Return what reads the streamed response."""
        return ResponseStream()


RESPONSES = ResponsesDialect()


def usage_in(raw: msgspec.Raw) -> Reported | None:
    """Return a usage object in pools that do not overlap; None where it makes no sense or counts nothing.

    Cached tokens are part of the input's, reasoning tokens of the output's, except where the total shows that they come on top.
    """
    try:
        told = _decode_usage(raw)
        raw_usage: dict[str, Any] = msgspec.json.decode(raw)
    except UNREADABLE:
        return None
    within = told.input_tokens_details or _InputDetails()
    cache_read = min(within.cached_tokens or 0, told.input_tokens)
    cache_write = min(within.cache_write_tokens or 0, told.input_tokens - cache_read)
    output = told.output_tokens or 0
    output += max(0, (told.total_tokens or 0) - told.input_tokens - output)
    reasoning = min((told.output_tokens_details or _OutputDetails()).reasoning_tokens or 0, output)
    if told.input_tokens + output == 0:
        return None
    usage = Usage(
        input_tokens=told.input_tokens - cache_read - cache_write,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        output_tokens=output - reasoning,
        reasoning_tokens=reasoning,
    )
    return Reported(usage, raw_usage)


def _list_in(raw: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _decode_list(raw) or []
    except UNREADABLE:
        return []


_DECISIVE = re.compile(rb'"response\.(?:created|completed|incomplete|failed)"')
_LAST = ("response.completed", "response.incomplete", "response.failed")


class ResponseTally(Tally):
    """What a response has said, and the number of its last event."""

    number: int = 0

    def _read(self, datas: list[bytes]) -> None:
        for event in _decode_events(array_of(datas)):
            self.number = max(self.number, event.sequence_number)
            self._add(event.text_bytes())


class ResponseStream(EventStream[ResponseTally]):
    """Reads a streamed response as it passes. It ends with the event that has the whole response, and its usage."""

    __slots__ = ("_begun", "reported")

    reported: Reported | None

    def __init__(self) -> None:
        super().__init__(ResponseTally())
        self.reported = None
        self._begun = b""

    def _border(self, data: bytes) -> int:
        decisive = _DECISIVE.search(data)
        return decisive.start() if decisive else len(data)

    def _look(self, event: bytes) -> bool:
        try:
            read = _decode_event(data_of(event))
        except UNREADABLE:
            return True
        if read.response is not None and read.response.answer_id:
            self.answer_id = read.response.answer_id
        if read.type == "response.created":
            self._begun = data_of(event)
        if read.type not in _LAST:
            return True
        self.reported = read.response.reported() if read.response is not None else None
        self.closing = event
        return False

    def cut(self, used: Usage) -> bytes:
        """End the response as incomplete, with `max_output_tokens`. What was said is in the events before, and not repeated."""
        number = self._count().number
        try:
            response: dict[str, Any] = msgspec.json.decode(self._begun)["response"]
        except (*UNREADABLE, LookupError, TypeError):
            response = {"object": "response", "output": []}
        response |= {
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "usage": {
                "input_tokens": used.prompt_tokens,
                "input_tokens_details": {"cached_tokens": used.cache_read_tokens},
                "output_tokens": used.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
                "total_tokens": used.prompt_tokens + used.completion_tokens,
            },
        }
        last = {"type": "response.incomplete", "sequence_number": number + 1, "response": response}
        self.closing = b"event: response.incomplete\ndata: " + msgspec.json.encode(last) + b"\n\n"
        return b""
