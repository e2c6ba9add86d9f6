"""Pictures and sound: charged the tokens that are reported, else by the unit; forms pass byte for byte."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import openai
import pytest

from tests.gateway.conftest import GRANTED, House
from tests.gateway.responses import event
from tests.gateway.upstreams import failing, streaming
from tokenwell.core.usage import Usage
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.media import MEDIA, PICTURE_TOKENS, SECOND_TOKENS, MediaStream, reported_in
from tokenwell.gateway.multipart import parts_in, set_field

PICTURES = {dialect.path: dialect for dialect in MEDIA}
USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens": 4160,
    "total_tokens": 4210,
}
FORM = b"multipart/form-data; boundary=xyz"


def form(*fields: tuple[str, bytes], file: bytes | None = b"RIFF\r\n--xy\r\n\x00") -> bytes:
    """Return a form with a file."""
    parts = [b'--xyz\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value) for name, value in fields]
    if file is not None:
        head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="model"\r\nContent-Type: audio/wav\r\n\r\n'
        parts.insert(1, head + file + b"\r\n")
    return b"".join(parts) + b"--xyz--\r\n"


async def test_a_picture_is_charged_the_tokens_it_took(house: House) -> None:
    house.upstream.answer = failing(200, json.dumps({"created": 1, "data": [{"b64_json": "AAAA"}], "usage": USAGE}).encode())
    answer = await house.openai().images.generate(model="gpt-image-1", prompt="A fox")
    assert answer.data is not None
    (line,) = house.lines()
    assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (50, 4160)
    house.verify()


async def test_pictures_without_a_usage_are_charged_by_the_piece(house: House) -> None:
    house.upstream.answer = failing(200, b'{"created":1,"data":[{"url":"https://example.org/1"},{"url":"https://example.org/2"}]}')
    raw = await house.openai().images.with_raw_response.generate(model="dall-e-3", prompt="A fox", n=2)
    assert raw.headers["x-tokenwell-charged"] == str(2 * PICTURE_TOKENS)
    assert raw.headers["x-tokenwell-estimated"] == "false"
    assert json.loads(house.lines()[0].entry.detail or "")["raw"] == {"pictures": 2}


async def test_a_streamed_picture_is_charged_with_its_last_event(house: House) -> None:
    parts = [
        event("image_generation.partial_image", b64_json="A" * 5_000, partial_image_index=0),
        event("image_generation.completed", b64_json="A" * 5_000, usage=USAGE),
    ]
    house.upstream.answer = streaming(parts)
    stream = await house.openai().images.generate(model="gpt-image-1", prompt="A fox", stream=True, partial_images=1)
    assert [each.type async for each in stream] == ["image_generation.partial_image", "image_generation.completed"]
    assert house.balance().balance_tokens == GRANTED - 4_210
    house.verify()


async def test_speech_is_charged_what_is_spoken_and_passes_as_bytes(house: House) -> None:
    house.upstream.answer = failing(200, b"ID3\x04\x00\xff" * 100, kind="audio/mpeg")
    answer = await house.openai().audio.speech.create(model="tts-1", voice="alloy", input="four" * 25)
    assert answer.content == b"ID3\x04\x00\xff" * 100
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert answer.response.headers["x-tokenwell-charged"] == "26"
    house.verify()


async def test_a_recording_passes_byte_for_byte_and_is_charged_by_the_second(house: House) -> None:
    house.upstream.answer = failing(200, b'{"text":"Hello","usage":{"type":"duration","seconds":2.31}}')
    body = form(("model", b"whisper-1"), ("response_format", b"json"))
    async with house.ask(body, path="/v1/audio/transcriptions", content_type=FORM.decode()) as answer:
        assert answer.headers["x-tokenwell-charged"] == str(-(-231 * SECOND_TOKENS // 100))
    (sent,) = house.upstream.requests
    assert sent.body == body
    assert sent.headers["content-type"] == FORM.decode()
    house.verify()


async def test_a_transcript_is_charged_the_tokens_it_took_plain_streamed_or_as_subtitles(house: House) -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"audio_tokens": 14},
        "output_tokens": 45,
        "total_tokens": 59,
    }
    house.upstream.answer = failing(200, json.dumps({"text": "Hello", "usage": usage}).encode())
    client = house.openai()
    recording = ("a.wav", b"RIFF" * 100)
    assert (await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=recording)).text == "Hello"
    assert house.lines()[0].entry.completion_tokens == 45
    house.upstream.answer = streaming(
        [event("transcript.text.delta", delta="Hello"), event("transcript.text.done", text="Hello", usage=usage)]
    )
    stream: Any = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=recording, stream=True)
    assert [each.type async for each in stream] == ["transcript.text.delta", "transcript.text.done"]
    assert house.balance().balance_tokens == GRANTED - 2 * 59
    house.upstream.answer = failing(200, b"1\n00:00:00,000 --> 00:00:01,000\nHello\n", kind="text/plain")
    body = form(("model", b"whisper-1"), ("response_format", b"srt"))
    async with house.ask(body, path="/v1/audio/translations", content_type=FORM.decode()) as answer:
        assert "Hello" in await answer.text()
    assert house.lines()[0].entry.amount_tokens == SECOND_TOKENS
    house.verify()


async def test_an_edited_picture_is_a_form_too_and_an_error_charges_nothing(house: House) -> None:
    house.upstream.answer = failing(200, json.dumps({"created": 1, "data": [{"b64_json": "AAAA"}], "usage": USAGE}).encode())
    client = house.openai(max_retries=0)
    await client.images.edit(model="gpt-image-1", image=("a.png", b"\x89PNG"), prompt="A fox")
    assert len(house.lines()) == 1
    house.upstream.answer = failing(400, b'{"error":{"message":"no"}}')
    with pytest.raises(openai.BadRequestError):
        await client.images.generate(model="gpt-image-1", prompt="A fox")
    assert len(house.lines()) == 1
    house.verify()


def test_a_form_is_read_for_what_decides_and_holds_by_the_length_of_its_file() -> None:
    body = form(("model", b"m"), ("stream", b"true"), ("prompt", b"x" * 30), ("user", b"u-1"), file=b"\x00" * 40_000)
    request = PICTURES["/audio/transcriptions"].parse(body, content_type=FORM)
    assert (request.model, request.streams, request.session) == ("m", True, "u-1")
    assert request.body is body
    assert request.prompt.held_tokens == 10 + 10 * SECOND_TOKENS
    assert request.prompt.charged_tokens == 3 * SECOND_TOKENS
    pictures = PICTURES["/images/edits"].parse(form(("model", b"m"), ("n", b"3")), content_type=FORM)
    assert pictures.choices == 3


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(("prompt", b"x")), FORM),
        (form(("model", b"a"), ("model", b"b")), FORM),
        (form(("model", b"a"), ("n", b"x")), FORM),
        (form(("model", b"a"), ("n", b"0")), FORM),
        (form(("model", b"a"))[:-20], FORM),
        (b"", FORM),
        (b"--xyz--\r\n", FORM),
        (form(("model", b"a")), b"multipart/form-data"),
        (form(("model", b"a")), b"multipart/form-data; boundary=other"),
    ],
)
def test_a_form_that_cannot_be_used_is_invalid(body: bytes, kind: bytes) -> None:
    with pytest.raises(RequestInvalid):
        PICTURES["/images/edits"].parse(body, content_type=kind)


def test_a_field_of_a_form_is_changed_where_it_stands() -> None:
    body = form(("language", b"de"), ("model", b"alias"), ("prompt", b"model"))
    assert set_field(body, FORM, "model", b"real-name") == body.replace(b"alias", b"real-name")
    assert set_field(body, FORM, "other", b"x") == body
    assert [part.name for part in parts_in(body, b'multipart/form-data; boundary="xyz"')] == ["language", "file", "model", "prompt"]


def test_seconds_are_rounded_up_to_whole_tokens() -> None:
    for seconds, tokens in ((0.01, 1), (1, 10), (1.05, 11)):
        reported = reported_in(msgspec.Raw(json.dumps({"type": "duration", "seconds": seconds}).encode()))
        assert reported is not None
        assert reported.usage == Usage(input_tokens=tokens)
    for raw in (b'{"seconds":0}', b'{"seconds":-1}', b'{"seconds":"x"}', b"null", b"7"):
        assert reported_in(msgspec.Raw(raw)) is None


def test_a_transcript_that_the_balance_does_not_cover_ends_with_an_error() -> None:
    stream = MediaStream()
    stream.feed(event("transcript.text.delta", delta="four") + event("speech.audio.delta", audio="A" * 100))
    assert stream.spoken() == (4, 1)
    assert stream.cut(Usage(output_tokens=1)) == b""
    assert b"insufficient_quota" in stream.closing
