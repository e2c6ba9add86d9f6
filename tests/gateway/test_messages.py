"""Messages: what requests ask for, what a usage is, and a stream on its way through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.messages import USAGE, begin, event, finish, message, words
from tokenwell.core.usage import Usage
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.asking import UNLABELLED, Labels
from tokenwell.gateway.messages import MESSAGES, MessageStream, usage_in

USED = Usage(input_tokens=12, cache_write_tokens=5, cache_read_tokens=100, output_tokens=3)
EVENTS = [begin(), *words("Gut", 'en "message_stop" {"usage": {', "你好"), *finish()]
STREAM = b"".join(EVENTS)
FORMS = {
    "LF": STREAM,
    "CRLF": STREAM.replace(b"\n", b"\r\n"),
    "without the space": STREAM.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
    "without event names": b"".join(line + b"\n" for line in STREAM.split(b"\n") if not line.startswith(b"event:"))[:-1],
    "data over two lines": STREAM.replace(b', "', b',\ndata: "'),
}


def _asked(**fields: Any) -> dict[str, Any]:
    return {"model": "fake-1", "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}], **fields}


def _parse(labels: Labels = UNLABELLED, **fields: Any) -> Any:
    return MESSAGES.parse(json.dumps(_asked(**fields)).encode(), labels)


def test_a_request_is_forwarded_byte_for_byte_streamed_or_not() -> None:
    for stream in (b"true", b"false"):
        body = b' {"messages" : [ ] ,\n "x":1.50e3, "model":"a","deep":{"\\u00e9":[1E2]},"stream":%s } ' % stream
        request = MESSAGES.parse(body)
        assert request.body is body
        assert request.streams is (stream == b"true")
        assert not request.hides_usage


def test_what_is_no_text_hides_nothing_of_what_is_said_around_it() -> None:
    said = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "four"})
    odd = said.replace(b"four", b"\xff")
    stream = MessageStream()
    assert stream.feed(said + odd + said) == said + odd + said
    assert stream.spoken() == (8, 2)


def test_system_prompt_tools_and_pictures_count_as_prompt() -> None:
    plain = _parse().prompt
    assert _parse(system="x" * 300).prompt.text_bytes == plain.text_bytes + 302
    assert _parse(tools=[{"name": "x" * 300}]).prompt.text_bytes > plain.text_bytes + 300
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 90_000}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    prompt = _parse(messages=[{"role": "user", "content": [picture, linked]}]).prompt
    assert prompt.text_bytes < 1_000
    assert _parse(messages=[{"role": "user", "content": [linked, linked]}]).prompt.attachments == 2
    assert prompt.attachments >= 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", ""), ("model", None), ("messages", "x"), ("max_tokens", -1), ("max_tokens", "9"), ("stream", 1), ("metadata", 7)],
)
def test_a_field_that_cannot_be_used_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestInvalid) as raised:
        _parse(**{field: value})
    assert raised.value.details["field"] == field


def test_a_field_that_decides_is_given_once() -> None:
    with pytest.raises(RequestInvalid, match="more than once"):
        MESSAGES.parse(b'{"model":"a","messages":[],"max_tokens":1,"max_tokens":2}')


def test_the_session_is_the_headers_else_the_users_id() -> None:
    assert _parse(metadata={"user_id": "u-1"}).session == "u-1"
    assert _parse(metadata={"user_id": "x" * 500}).session is None
    assert _parse(Labels("head", "why"), metadata={"user_id": "u-1"}).session == "head"
    assert _parse(Labels("head", "why")).reason == "why"


@pytest.mark.parametrize("told", [{}, {"input_tokens": -1}, {"output_tokens": "3"}, {"input_tokens": 0, "output_tokens": 0}])
def test_a_usage_that_makes_no_sense_is_none(told: dict[str, Any]) -> None:
    assert usage_in(told) is None


def test_what_was_thought_is_part_of_the_output() -> None:
    reported = usage_in({"input_tokens": 1, "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 40}})
    assert reported is not None
    assert reported.usage == Usage(input_tokens=1, output_tokens=10, reasoning_tokens=40)


def test_a_message_is_read_for_its_usage_its_text_and_its_failure() -> None:
    read = MESSAGES.read(message())
    assert read is not None
    assert not read.has_failed
    reported = read.reported()
    assert reported is not None
    assert (reported.usage, reported.raw) == (USED, USAGE)
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "xxx"}, {"type": "tool_use", "name": "now", "input": {"a": 1}}]
    silent = MESSAGES.read(message(usage=None, content=blocks))
    assert silent is not None
    assert silent.reported() is None
    assert silent.text_bytes() == 2 + 3 + len('{"a": 1}')
    failed = MESSAGES.read(b'{"type":"error","error":{"type":"api_error","message":"no"}}')
    assert failed is not None
    assert failed.has_failed


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_broken_at_any_byte_passes_unchanged_up_to_its_last_event(form: str) -> None:
    whole = FORMS[form]
    for border in range(len(whole) + 1):
        stream = MessageStream()
        passed = stream.feed(whole[:border]) + stream.feed(whole[border:]) + stream.end()
        # Of CR and LF the last event's end needs only the CR: its LF is never waited for.
        assert (passed + stream.closing).rstrip() == whole.rstrip(), border
        assert b"message_stop" in stream.closing
        assert stream.reported is not None, border
        assert stream.reported.usage == USED
        assert stream.reported.raw == USAGE


def test_a_stream_that_breaks_off_knows_its_prompt_and_counts_what_was_said() -> None:
    stream = MessageStream()
    stream.feed(b"".join(EVENTS[:-3]))
    assert stream.reported is None
    assert stream.begun is not None
    assert stream.begun.usage.prompt_tokens == 117
    assert stream.spoken()[1] == 3


def test_what_the_last_usage_repeats_replaces_the_first() -> None:
    stream = MessageStream()
    stream.feed(begin() + b"".join(finish(output_tokens=9, input_tokens=20, cache_read_input_tokens=None)))
    assert stream.reported is not None
    assert stream.reported.usage == Usage(input_tokens=20, cache_write_tokens=5, cache_read_tokens=100, output_tokens=9)


def test_tools_and_thoughts_are_counted_and_signatures_are_not() -> None:
    stream = MessageStream()
    stream.feed(event("content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "now", "input": {}}))
    stream.feed(event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"a"'}))
    stream.feed(event("content_block_delta", index=1, delta={"type": "thinking_delta", "thinking": "hm"}))
    stream.feed(event("content_block_delta", index=1, delta={"type": "signature_delta", "signature": "A" * 100}))
    assert stream.spoken() == (3 + 4 + 2, 3)


def test_what_is_no_event_of_ours_passes() -> None:
    odd = b'data: {broken "message_\n\n' + event("message_delta", usage=None) + event("message_delta") + b"event: ping\n\n"
    stream = MessageStream()
    assert stream.feed(odd) == odd
    assert stream.reported is None
    assert stream.begun is None
