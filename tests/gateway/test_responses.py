"""Responses: what requests ask for, what a usage is, a stream on its way through, and whose a stored response is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import openai
import pytest

from tests.gateway.conftest import GRANTED, House
from tests.gateway.responses import USAGE, event, events, responding, response
from tests.gateway.upstreams import Reply, Request, failing, streaming
from tokenwell.core.journal import ESTIMATED
from tokenwell.core.usage import Usage
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.responses import RESPONSES, ResponseStream, usage_in

USED = Usage(input_tokens=6, cache_read_tokens=30, output_tokens=27, reasoning_tokens=60)
EVENTS = events("Gut", 'en "response.completed" [DONE]', "你好")
STREAM = b"".join(EVENTS)
FORMS = {
    "LF": STREAM,
    "CRLF": STREAM.replace(b"\n", b"\r\n"),
    "without event names": b"".join(line + b"\n" for line in STREAM.split(b"\n") if not line.startswith(b"event:"))[:-1],
    "data over two lines": STREAM.replace(b', "', b',\ndata: "'),
}
HELLO = "Say hello."


def _parse(**fields: Any) -> Any:
    return RESPONSES.parse(json.dumps({"model": "fake-1", "input": HELLO} | fields).encode())


def test_a_request_is_forwarded_byte_for_byte() -> None:
    body = b' {"input" : [ ] ,\n "x":1.50e3, "model":"a","deep":{"\\u00e9":[1E2]},"stream":true } '
    request = RESPONSES.parse(body)
    assert request.body is body
    assert (request.streams, request.stores, request.output_limit_tokens) == (True, True, None)


def test_what_is_stored_and_what_is_gone_on_from_is_known() -> None:
    assert not _parse(store=False).stores
    assert _parse(store=None).stores
    assert _parse(previous_response_id="resp_0").follows == "resp_0"
    assert _parse(max_output_tokens=7).output_limit_tokens == 7
    assert _parse(conversation=None, background=False).streams is False


@pytest.mark.parametrize(("field", "value"), [("background", True), ("conversation", "conv_1"), ("conversation", {"id": "conv_1"})])
def test_what_could_not_be_charged_or_kept_apart_is_not_offered(field: str, value: Any) -> None:
    with pytest.raises(RequestInvalid) as raised:
        _parse(**{field: value})
    assert raised.value.details["field"] == field


def test_what_is_no_text_hides_nothing_of_what_is_said_around_it() -> None:
    delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    said = event("response.output_text.delta", 3, delta="four", **delta)
    odd = said.replace(b"four", b"\xff")
    stream = ResponseStream()
    assert stream.feed(said + odd + said) == said + odd + said
    assert stream.spoken() == (8, 2)
    assert usage_in(msgspec.Raw(b'{"input_tokens": 12, "note": "\xff"}')) is None


@pytest.mark.parametrize("told", [None, 7, {}, {"input_tokens": -1}, {"input_tokens": 0, "output_tokens": 0}])
def test_a_usage_that_makes_no_sense_is_none(told: Any) -> None:
    assert usage_in(msgspec.Raw(json.dumps(told).encode())) is None


def test_cached_and_reasoning_tokens_are_taken_out_of_what_contains_them() -> None:
    reported = usage_in(msgspec.Raw(json.dumps(USAGE).encode()))
    assert reported is not None
    assert (reported.usage, reported.raw) == (USED, USAGE)


def test_a_response_without_usage_is_counted_by_its_words_calls_and_reasoning() -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "name": "now", "arguments": "{}"},
        {"type": "message", "content": [{"type": "output_text", "text": "Grüße"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "web_search_call", "action": {"type": "search"}},
        7,
    ]
    read = RESPONSES.read(json.dumps(response(usage=None, output=output)).encode())
    assert read is not None
    assert read.reported() is None
    assert read.text_bytes() == 2 + 3 + 2 + 7 + 2


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_broken_at_any_byte_passes_unchanged_up_to_its_last_event(form: str) -> None:
    whole = FORMS[form]
    for border in range(len(whole) + 1):
        stream = ResponseStream()
        passed = stream.feed(whole[:border]) + stream.feed(whole[border:]) + stream.end()
        assert (passed + stream.closing).rstrip() == whole.rstrip(), border
        assert b"response.completed" in stream.closing
        assert stream.answer_id == "resp_1"
        assert stream.reported is not None, border
        assert stream.reported.usage == USED


@pytest.mark.parametrize("last", ["incomplete", "failed"])
def test_a_response_that_ends_early_is_charged_what_it_reports(last: str) -> None:
    stream = ResponseStream()
    stream.feed(b"".join(events("a", "b", last=last)))
    assert stream.reported is not None
    assert stream.spoken() == (2, 2)


def test_sound_and_pictures_are_no_text() -> None:
    stream = ResponseStream()
    stream.feed(event("response.audio.delta", delta="A" * 1_000) + event("response.audio_transcript.delta", delta="four"))
    stream.feed(event("response.function_call_arguments.delta", delta="{}"))
    assert stream.spoken() == (6, 2)


async def test_the_sdk_is_answered_and_charged(house: House) -> None:
    house.upstream.answer = responding("Hello there!")
    raw = await house.openai().responses.with_raw_response.create(model="fake-1", input=HELLO)
    assert raw.headers["x-tokenwell-charged"] == "123"
    assert raw.parse().output_text == "Hello there!"
    (line,) = house.lines()
    assert (line.entry.prompt_tokens, line.entry.completion_tokens) == (36, 87)
    assert json.loads(line.entry.detail or "")["raw"] == USAGE
    house.verify()


async def test_a_stream_is_told_event_by_event_and_charged_before_its_last(house: House) -> None:
    house.upstream.answer = responding("Hello", " there")
    async with house.openai().responses.stream(model="fake-1", input=HELLO) as stream:
        said = [each.delta async for each in stream if each.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert said == ["Hello", " there"]
    assert final.usage is not None
    assert final.usage.total_tokens == 123
    assert house.balance().balance_tokens == GRANTED - 123
    house.verify()


async def test_a_stream_passes_byte_for_byte_with_the_receipt_before_its_last_event(house: House) -> None:
    told = events("a", "b")
    house.upstream.answer = streaming(told)
    async with house.ask({"model": "m", "input": HELLO, "stream": True}, path="/v1/responses") as answer:
        body: bytes = await answer.read()
    before, _, last = body.partition(b": tokenwell ")
    assert before == b"".join(told[:-1])
    assert last.partition(b"\n\n")[2] == told[-1]


async def test_a_failure_within_a_stream_passes_and_is_counted_where_no_usage_came(house: House) -> None:
    house.upstream.answer = streaming(
        events("one", "two", last="failed", usage=None, error={"code": "server_error", "message": "no"})
    )
    stream = await house.openai().responses.create(model="fake-1", input=HELLO, stream=True)
    kinds = [each.type async for each in stream]
    assert kinds[-1] == "response.failed"
    (line,) = house.lines()
    assert line.entry.flags & ESTIMATED
    assert line.entry.completion_tokens == 2


async def test_a_structured_answer_is_parsed_by_the_client(house: House) -> None:
    house.upstream.answer = failing(200, json.dumps(response('{"city": "Bonn"}')).encode())
    form: Any = {"format": {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": False}}
    answer = await house.openai().responses.create(model="fake-1", input=HELLO, text=form)
    assert json.loads(answer.output_text) == {"city": "Bonn"}
    assert json.loads(house.upstream.requests[0].body)["text"] == form


async def test_a_stored_response_is_its_organizations_own(house: House) -> None:
    house.upstream.answer = responding("Hello")
    client = house.openai()
    made = await client.responses.create(model="fake-1", input=HELLO)
    house.meter.create_organization("other")
    house.meter.grant("other", GRANTED)
    stranger = house.openai(api_key=house.keys.create("other", name="test").secret)
    assert (await client.responses.retrieve(made.id)).output_text == "Hello"
    asked = len(house.upstream.requests)
    for what in (
        stranger.responses.retrieve(made.id),
        stranger.responses.delete(made.id),
        stranger.responses.cancel(made.id),
        stranger.responses.input_items.list(made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await what
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        await stranger.responses.create(model="fake-1", input=HELLO, previous_response_id=made.id)
    assert len(house.upstream.requests) == asked
    house.verify()


async def test_a_stored_response_is_listed_cancelled_and_deleted_where_it_lies(house: House) -> None:
    house.upstream.answer = responding("Hello")
    client = house.openai()
    stream = await client.responses.create(model="fake-1", input=HELLO, stream=True)
    assert [each async for each in stream]
    house.upstream.answer = failing(200, b'{"object":"list","data":[],"has_more":false}')
    assert (await client.responses.input_items.list("resp_1", limit=3)).data == []
    assert house.upstream.requests[-1].path == "/v1/responses/resp_1/input_items?limit=3"
    house.upstream.answer = responding("Hello")
    await client.responses.cancel("resp_1")
    assert house.upstream.requests[-1].path == "/v1/responses/resp_1/cancel"
    await client.responses.delete("resp_1")
    assert (house.upstream.requests[-1].method, house.upstream.requests[-1].path) == ("DELETE", "/v1/responses/resp_1")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_1")
    assert len(house.lines()) == 1


async def test_going_on_from_a_response_holds_what_that_one_came_to(house: House) -> None:
    held: list[int] = []

    async def answer(request: Request, reply: Reply) -> None:
        held.append(house.balance().held_tokens)
        await responding("Hello")(request, reply)

    house.upstream.answer = answer
    client = house.openai()
    await client.responses.create(model="fake-1", input=HELLO, max_output_tokens=100)
    await client.responses.create(model="fake-1", input=HELLO, max_output_tokens=100, previous_response_id="resp_1")
    assert held[1] == held[0] + 123


async def test_a_response_that_is_not_stored_is_not_known_afterwards(house: House) -> None:
    house.upstream.answer = responding("Hello")
    await house.openai().responses.create(model="fake-1", input=HELLO, store=False)
    with pytest.raises(openai.NotFoundError):
        await house.openai().responses.retrieve("resp_1")
