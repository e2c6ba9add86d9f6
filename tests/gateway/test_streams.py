"""A stream on its way through: no byte is changed or held up, wherever it is broken."""

from __future__ import annotations

import pytest

from tests.gateway.upstreams import DONE, USAGE, chunk
from tokenwell.core.usage import Usage
from tokenwell.errors import UpstreamError
from tokenwell.gateway import streams
from tokenwell.gateway.chat import ChatStream, ChatTally
from tokenwell.gateway.streams import EventCutter, data_of

USED = Usage(input_tokens=12, output_tokens=3)
WORDS = [chunk("Gut"), chunk("en"), b": keep alive\n\n", chunk(' "usage": {1} 你好'), chunk("[DONE]", usage=None)]
STREAM = b"".join([*WORDS, chunk(usage=USAGE), DONE])

FORMS = {
    "LF": STREAM,
    "CRLF": STREAM.replace(b"\n", b"\r\n"),
    "CR": STREAM.replace(b"\n", b"\r"),
    "with event names": STREAM.replace(b"data: ", b"event: message\ndata: "),
    "without the space": STREAM.replace(b"data: ", b"data:"),
    "data over two lines": STREAM.replace(b', "object"', b',\ndata: "object"'),
    "usage over three lines": STREAM.replace(b'"usage": {"prompt', b'"usage"\ndata: :\ndata: {"prompt'),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_broken_at_any_byte_passes_unchanged_but_for_the_hidden_usage(form: str) -> None:
    whole = FORMS[form]
    last = whole.index(b"[DONE]", whole.index(b'"total_tokens"'))
    kept = FORMS[form][: whole.rindex(b"id", 0, whole.index(b'"total_tokens"'))]
    kept = kept[: max(kept.rfind(end) + len(end) for end in (b"\n\n", b"\r\n\r\n", b"\r\r") if end in kept)]
    assert last > len(kept) > 600
    for border in range(len(whole) + 1):
        stream = ChatStream(hides_usage=True)
        passed = stream.feed(whole[:border]) + stream.feed(whole[border:]) + stream.end()
        # Cut between CR and LF, an event ends with the CR, and its LF stands by itself before what follows.
        assert passed.removesuffix(b"\n") == kept.removesuffix(b"\n"), border
        assert stream.reported is not None
        assert stream.reported.usage == USED
        assert b"[DONE]" in stream.closing


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_that_comes_byte_by_byte_is_the_same(form: str) -> None:
    whole = FORMS[form]
    stream = ChatStream(hides_usage=False)
    passed = b"".join(stream.feed(whole[each : each + 1]) for each in range(len(whole)))
    # Of CR and LF the last event's end needs only the CR: its LF is never waited for.
    assert passed + stream.closing == (whole[:-1] if whole.endswith(b"\r\n") else whole)
    assert stream.reported is not None
    assert stream.reported.usage == USED


def test_what_has_come_whole_goes_on_at_once() -> None:
    stream = ChatStream(hides_usage=True)
    assert stream.feed(WORDS[0] + WORDS[1][:-1]) == WORDS[0]
    assert stream.feed(b"\n" + WORDS[2]) == WORDS[1] + WORDS[2]


def test_usage_in_the_last_chunk_that_says_something_is_read_and_passes() -> None:
    last = chunk("!", usage=USAGE)
    stream = ChatStream(hides_usage=True)
    assert stream.feed(last + DONE) == last
    assert stream.reported is not None
    assert stream.reported.usage == USED


def test_of_several_usages_the_last_counts() -> None:
    stream = ChatStream(hides_usage=True)
    grown = USAGE | {"completion_tokens": 9, "total_tokens": 21}
    stream.feed(chunk("a", usage=USAGE) + chunk("b", usage=grown) + DONE)
    assert stream.reported is not None
    assert stream.reported.usage.completion_tokens == 9
    assert stream.reported.raw == grown


def test_a_usage_without_sense_is_none_and_hides_nothing() -> None:
    odd = chunk(usage={"prompt_tokens": -1, "completion_tokens": "three"})
    stream = ChatStream(hides_usage=True)
    assert stream.feed(odd + DONE) == odd
    assert stream.reported is None


def test_a_last_event_without_its_empty_line_is_still_taken() -> None:
    stream = ChatStream(hides_usage=True)
    assert stream.feed(chunk("a") + DONE.rstrip()) == chunk("a")
    assert stream.end() == b""
    assert stream.closing == DONE


def test_what_is_no_json_passes_as_it_is() -> None:
    odd = b'data: {"usage": {broken\n\nevent: ping\n\ndata\n\n' + b"[" * 5000 + b'"usage":{\n\n'
    stream = ChatStream(hides_usage=True)
    assert stream.feed(odd) == odd
    assert stream.spoken() == (0, 0)


def test_what_was_said_is_counted_in_bytes_and_pieces() -> None:
    stream = ChatStream(hides_usage=True)
    stream.feed(b"".join(WORDS))
    assert stream.spoken() == (sum(len(text.encode()) for text in ("Gut", "en", ' "usage": {1} 你好', "[DONE]")), 4)
    call = {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "now", "arguments": "{}"}}]}}
    stream.feed(chunk(choices=[call]))
    assert stream.spoken()[1] == 5


def test_a_long_stream_is_counted_as_it_passes_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_COUNT_EVERY_BYTES", 1_000)
    stream = ChatStream(hides_usage=True)
    for _ in range(100):
        stream.feed(chunk("four"))
    assert sum(map(len, stream._uncounted)) <= 1_000
    assert stream.spoken() == (400, 100)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_counted_at_once_is_what_is_counted_one_by_one(form: str) -> None:
    data = FORMS[form]
    one_by_one = ChatTally()
    for event in EventCutter().feed(data):
        one_by_one = one_by_one.after(event)
    at_once = ChatTally().after(data)
    assert (at_once.text_bytes, at_once.pieces, at_once.open) == (one_by_one.text_bytes, one_by_one.pieces, one_by_one.open)
    assert at_once.sample.strip() == one_by_one.sample.strip()
    assert at_once.pieces >= 3


def test_what_cannot_be_read_hides_nothing_of_what_is_said_around_it() -> None:
    odd = (b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', b"data: {broken\n\n", b"data: " + b"[" * 5000 + b"\n\n")
    for each in odd:
        stream = ChatStream(hides_usage=True)
        assert stream.feed(chunk("four") + each + chunk("more")) == chunk("four") + each + chunk("more")
        assert stream.spoken() == (8, 2)


def test_events_that_only_say_something_are_taken_as_a_whole_or_not_at_all() -> None:
    stream = ChatStream(hides_usage=True)
    assert stream.feed(chunk("four")) == chunk("four")
    words = chunk("and") + chunk("so") + chunk("on")
    assert stream.plain_bytes(words + chunk(usage=USAGE) + DONE) == len(words)
    assert stream.take(words, 3) is None
    assert (stream.spoken(), stream.passed_bytes) == ((4, 1), len(chunk("four")))
    assert stream.take(words, 4) == 4
    assert (stream.spoken(), stream.passed_bytes) == ((11, 4), len(chunk("four") + words))
    stream.feed(chunk("a")[:9])
    assert stream.plain_bytes(words) == 0


def test_an_event_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "EVENT_LIMIT_BYTES", 1_000)
    stream = ChatStream(hides_usage=True)
    for _ in range(10):
        stream.feed(b"x" * 100)
    with pytest.raises(UpstreamError):
        stream.feed(b"x")


def test_nothing_passes_after_the_end() -> None:
    stream = ChatStream(hides_usage=True)
    assert stream.feed(DONE + chunk("late")) == b""
    assert stream.feed(chunk("later")) == b""


def test_the_data_of_an_event_is_its_data_lines_joined() -> None:
    assert data_of(b": comment\r\nevent: x\r\ndata: one\r\ndata:two\r\nid: 3\r\n\r\n") == b"one\ntwo"
    assert EventCutter().feed(b"\n\n") == [b"\n\n"]
