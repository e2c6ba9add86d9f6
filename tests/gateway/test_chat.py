"""Chat completions: what requests ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.conftest import asked
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.asking import Labels
from tokenwell.gateway.chat import CHAT

INVALID = {
    "nothing": b"",
    "no JSON": b"{nope}",
    "cut off": b'{"model": "a", "messages": [',
    "something after it": b'{"model":"a","messages":[]}{}',
    "an array": b"[]",
    "a number that is none": b'{"model":"a","messages":[],"x":NaN}',
    "not UTF-8": b'{"model":"\xff","messages":[]}',
    "half a character": b'{"model":"\\ud800","messages":[]}',
    "nested without end": b'{"model":"a","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested elsewhere": b'{"model":"a","messages":[],"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
}

FIELDS: list[tuple[str, Any]] = [
    ("model", None),
    ("model", 7),
    ("model", ""),
    ("model", "x" * 201),
    ("model", "a\x00b"),
    ("messages", "hello"),
    ("messages", {}),
    ("messages", None),
    ("stream", "yes"),
    ("stream", 1),
    ("stream_options", 7),
    ("stream_options", {"include_usage": "yes"}),
    ("n", 0),
    ("n", -1),
    ("n", 10**30),
    ("max_tokens", -1),
    ("max_tokens", "100"),
    ("max_completion_tokens", 1.5),
    ("max_completion_tokens", 10**18),
    ("metadata", "x"),
    ("metadata", {"session": 7}),
    ("metadata", {"reason": "a\nb"}),
    ("metadata", {"session": "x" * 201}),
]


@pytest.mark.parametrize("what", INVALID)
def test_a_body_that_cannot_be_read_is_invalid(what: str) -> None:
    with pytest.raises(RequestInvalid):
        CHAT.parse(INVALID[what])


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_field_that_cannot_be_used_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestInvalid) as raised:
        CHAT.parse(json.dumps(asked(stream=True) | {field: value}).encode())
    named = str(raised.value.details["field"])
    assert named.partition(".")[0] in (field, "session", "reason")


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_field_that_is_missing_is_named(field: str) -> None:
    body = asked()
    del body[field]
    with pytest.raises(RequestInvalid) as raised:
        CHAT.parse(json.dumps(body).encode())
    assert raised.value.details["field"] == field


@pytest.mark.parametrize("again", ['"model":"b"', '"\\u006dodel":"b"', '"n":2,"n":3', '"m\\u0061x_tokens":1,"max_tokens":2'])
def test_a_field_that_decides_is_given_once(again: str) -> None:
    with pytest.raises(RequestInvalid, match="more than once"):
        CHAT.parse(f'{{"model":"a","messages":[],{again}}}'.encode())


def test_names_repeated_within_the_messages_are_nobodys_business() -> None:
    inner = '[{"model":"x","n":1},{"model":"y","n":2,"n":3,"\\u006dodel":1}]'
    assert CHAT.parse(f'{{"model":"a","messages":{inner}}}'.encode()).model == "a"


def test_null_is_as_good_as_absent() -> None:
    nulls = dict.fromkeys(("stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "metadata", "user", "tools"))
    request = CHAT.parse(json.dumps(asked(**nulls)).encode())
    assert (request.choices, request.output_limit_tokens, request.streams, request.session) == (1, None, False, None)


def test_the_newer_limit_goes_before_the_older() -> None:
    assert CHAT.parse(json.dumps(asked(max_tokens=5, max_completion_tokens=7, n=3)).encode()).output_limit_tokens == 7
    assert CHAT.parse(json.dumps(asked(max_tokens=5)).encode()).output_limit_tokens == 5


def test_a_plain_request_is_forwarded_byte_for_byte() -> None:
    body = b' {"messages" : [ ] ,\n "x":1.50e3, "model":"a","deep":{"\\u00e9":[1E2]},"stream":false } '
    assert CHAT.parse(body).body is body


def test_a_streams_usage_is_asked_for_by_one_more_field_and_no_other_byte() -> None:
    body = b' {"messages" : [ ] ,\n "x":1.50e3, "model":"a","stream":true } '
    request = CHAT.parse(body)
    assert request.hides_usage
    assert (
        request.body == b' {"stream_options":{"include_usage":true},"messages" : [ ] ,\n "x":1.50e3, "model":"a","stream":true } '
    )


@pytest.mark.parametrize("options", ["null", "{}", '{"include_usage":false}', '{"include_usage":null,"include_obfuscation":false}'])
def test_stream_options_of_the_clients_own_are_kept(options: str) -> None:
    body = f'{{"model":"a","messages":[ {{"content":"\\u00e9"}} ],"x":1.50e3,"stream":true,"stream_options":{options}}}'.encode()
    request = CHAT.parse(body)
    assert request.hides_usage
    assert b'[ {"content":"\\u00e9"} ]' in request.body
    assert b"1.50e3" in request.body
    forwarded, given = json.loads(request.body), json.loads(body)
    assert forwarded.pop("stream_options") == (given.pop("stream_options") or {}) | {"include_usage": True}
    assert forwarded == given


def test_usage_that_the_client_asked_for_is_not_hidden() -> None:
    body = json.dumps(asked(stream=True, stream_options={"include_usage": True})).encode()
    request = CHAT.parse(body)
    assert not request.hides_usage
    assert request.body is body


def test_session_and_reason_come_from_the_headers_else_the_metadata_else_the_user() -> None:
    metadata = {"session": "meta", "reason": "why", "other": 7}
    full = json.dumps(asked(metadata=metadata, user="u-1")).encode()
    assert CHAT.parse(full, Labels("head", "because")).session == "head"
    assert (CHAT.parse(full).session, CHAT.parse(full).reason) == ("meta", "why")
    assert CHAT.parse(json.dumps(asked(user="u-1", safety_identifier="s-1")).encode()).session == "u-1"
    assert CHAT.parse(json.dumps(asked(user="x" * 500, safety_identifier="s-1")).encode()).session == "s-1"
    assert CHAT.parse(json.dumps(asked(user="a\nb")).encode()).session is None
