"""Pictures and sound, as OpenAI has them: charged the tokens that are reported, else by the unit."""

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
    Metadata,
    named_model,
    prompt_of,
    reason_of,
    session_of,
)
from tokenwell.gateway.counting import Prompt
from tokenwell.gateway.dialects import FORM, JSON_ONLY, UNREADABLE, Reported
from tokenwell.gateway.multipart import MULTIPART, parts_in
from tokenwell.gateway.openai import OPENAI
from tokenwell.gateway.responses import usage_in
from tokenwell.gateway.streams import EventStream, Tally, array_of, data_of

PICTURE_TOKENS = 1_000
"""What a picture is charged where no tokens are reported: a rate for the model's output says what that costs."""

PICTURE_HELD_TOKENS = 6_500
"""What is held for a picture: about the largest in the best quality."""

SECOND_TOKENS = 10
"""What a second of sound is charged where no tokens are reported: a rate for the model's input says what that costs."""

SOUND_BYTES_PER_SECOND_HELD, SOUND_BYTES_PER_SECOND_CHARGED = 4_000, 16_000
"""What a second of sound takes: at least, for what is held; in the middle, where nobody says how long it was."""

_Pictures = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Sound(Prompt):
    """A recording, beside a prompt's text: it counts by its length."""

    __slots__ = ("sound_bytes",)

    def __init__(self, text: bytes, sound_bytes: int) -> None:
        super().__init__([text])
        self.sound_bytes = sound_bytes

    @property
    def held_tokens(self) -> int:
        """What to hold for it, rather too much than too little."""
        return super().held_tokens + SECOND_TOKENS * -(-self.sound_bytes // SOUND_BYTES_PER_SECOND_HELD)

    @property
    def charged_tokens(self) -> int:
        """What to charge for it when the provider reports nothing."""
        return max(1, SECOND_TOKENS * -(-self.sound_bytes // SOUND_BYTES_PER_SECOND_CHARGED))


class _Body(msgspec.Struct):
    """The fields of a request that matter here; the provider judges the rest."""

    model: str
    prompt: msgspec.Raw = NOTHING
    input: msgspec.Raw = NOTHING
    instructions: msgspec.Raw = NOTHING
    n: _Pictures | None = None
    stream: bool | None = None
    stream_format: str | None = None
    metadata: Metadata | None = None
    user: str | None = None


class _Duration(msgspec.Struct):
    seconds: Annotated[float, msgspec.Meta(ge=0, le=10**9)]


class _Shape(msgspec.Struct):
    usage: msgspec.Raw = NOTHING
    data: list[msgspec.Raw] | None = None
    error: msgspec.Raw = NOTHING


class _Event(msgspec.Struct):
    type: str = ""
    usage: msgspec.Raw = NOTHING
    delta: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_shape = msgspec.json.Decoder(_Shape).decode
_decode_duration = msgspec.json.Decoder(_Duration).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_events = msgspec.json.Decoder(list[_Event]).decode
_reader = BodyReader("model", "prompt", "input", "n", "stream", "stream_format")


class MediaAnswer:
    """A whole answer: JSON, or bytes of any kind."""

    answer_id = ""

    def __init__(self, shape: _Shape | None, *, counts_pictures: bool) -> None:
        self._shape = shape
        self._counts_pictures = counts_pictures

    @property
    def has_failed(self) -> bool:
        """Whether it is an error told in place of an answer."""
        shape = self._shape
        return shape is not None and shape.error is not NOTHING and bytes(shape.error) != b"null" and shape.data is None

    def reported(self) -> Reported | None:
        """Return the usage it reports, in tokens or seconds; else the pictures it has, where it has some."""
        if self._shape is None:
            return None
        reported = reported_in(self._shape.usage)
        if reported is None and self._counts_pictures and self._shape.data:
            pictures = len(self._shape.data)
            return Reported(Usage(output_tokens=pictures * PICTURE_TOKENS), {"pictures": pictures})
        return reported

    def text_bytes(self) -> int:
        """Return 0: what is made is not charged by its text."""
        return 0


def reported_in(raw: msgspec.Raw) -> Reported | None:
    """Return a usage in tokens, or in seconds of sound; None where it makes no sense."""
    if raw is NOTHING:
        return None
    reported = usage_in(raw)
    if reported is not None:
        return reported
    try:
        seconds = _decode_duration(raw).seconds
        raw_usage = msgspec.json.decode(raw)
    except UNREADABLE:
        return None
    tokens = min(-int(-seconds * SECOND_TOKENS // 1), MAX_CHARGE_TOKENS)
    return Reported(Usage(input_tokens=tokens), raw_usage) if tokens else None


class MediaDialect:
    """One of OpenAI's calls that make or read pictures or sound."""

    telling = OPENAI

    def __init__(self, path: str, *, reads_forms: bool = False, makes_pictures: bool = False) -> None:
        self.path = path
        self.media_types = FORM if reads_forms else JSON_ONLY
        self._makes_pictures = makes_pictures

    def parse(self, body: bytes, labels: Labels = UNLABELLED, content_type: bytes = b"application/json") -> AiRequest:
        """Return what a body asks for. The labels given go before the body's own. Raises RequestInvalid."""
        if content_type.lower().startswith(MULTIPART):
            return self._parse_form(body, labels, content_type)
        asked = _reader.read(body, _decode_body)
        return AiRequest(
            body=body,
            model=named_model(asked.model),
            prompt=prompt_of(asked.prompt, asked.input, asked.instructions),
            output_limit_tokens=PICTURE_HELD_TOKENS if self._makes_pictures else None,
            choices=asked.n or 1,
            streams=bool(asked.stream) or asked.stream_format == "sse",
            session=session_of(labels, asked.metadata, asked.user),
            reason=reason_of(labels, asked.metadata),
        )

    def _parse_form(self, body: bytes, labels: Labels, content_type: bytes) -> AiRequest:
        fields: dict[str, str] = {}
        file_bytes = 0
        for part in parts_in(body, content_type):
            if part.is_file:
                file_bytes += part.end - part.begin
            elif part.name in fields:
                raise RequestInvalid(f"{part.name}: given more than once", field=part.name)
            elif part.name in ("model", "prompt", "n", "stream", "user"):
                fields[part.name] = body[part.begin : part.end].decode("utf-8", "replace")
        number = fields.get("n", "1")
        if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= 100:
            raise RequestInvalid("n: must be between 1 and 100", field="n")
        text = fields.get("prompt", "").encode()
        return AiRequest(
            body=body,
            model=named_model(fields.get("model", "")),
            prompt=Prompt([text]) if self._makes_pictures else Sound(text, file_bytes),
            output_limit_tokens=PICTURE_HELD_TOKENS if self._makes_pictures else None,
            choices=int(number),
            streams=fields.get("stream", "").lower() in ("true", "1"),
            session=session_of(labels, None, fields.get("user")),
            reason=reason_of(labels, None),
        )

    def read(self, body: bytes) -> MediaAnswer:
        """Return a whole answer; sound, subtitles and plain text are answers as well."""
        try:
            shape = _decode_shape(body)
        except UNREADABLE:
            shape = None
        return MediaAnswer(shape, counts_pictures=self._makes_pictures)

    def stream(self, request: AiRequest) -> MediaStream:
        """Return what reads the streamed answer."""
        return MediaStream()


MEDIA = (
    MediaDialect("/images/generations", makes_pictures=True),
    MediaDialect("/images/edits", reads_forms=True, makes_pictures=True),
    MediaDialect("/images/variations", reads_forms=True, makes_pictures=True),
    MediaDialect("/audio/speech"),
    MediaDialect("/audio/transcriptions", reads_forms=True),
    MediaDialect("/audio/translations", reads_forms=True),
)

_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class TranscriptTally(Tally):
    """What a transcript has said; of pictures and sound that is nothing."""

    def _read(self, datas: list[bytes]) -> None:
        for event in _decode_events(array_of(datas)):
            if event.type == "transcript.text.delta" and event.delta:
                self._add(len(event.delta.encode()))


class MediaStream(EventStream[TranscriptTally]):
    """Reads a streamed picture, sound or transcript as it passes. It ends with the event that has its usage."""

    __slots__ = ("reported",)

    reported: Reported | None

    def __init__(self) -> None:
        super().__init__(TranscriptTally())
        self.reported = None

    def _border(self, data: bytes) -> int:
        usage = _USAGE.search(data)
        return usage.start() if usage else len(data)

    def _look(self, event: bytes) -> bool:
        try:
            reported = reported_in(_decode_event(data_of(event)).usage)
        except UNREADABLE:
            return True
        if reported is None:
            return True
        self.reported = reported
        self.closing = event
        return False

    def cut(self, used: Usage) -> bytes:
        """End the answer with an error: there is no other end that is too early here."""
        told: dict[str, Any] = {"type": "insufficient_quota", "code": "ai_stopped", "param": None}
        told["message"] = "The balance covers no more of this answer."
        self.closing = b"event: error\n" + OPENAI.event(msgspec.json.encode({"error": told}))
        return b""
