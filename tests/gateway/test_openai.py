"""The dialect: what requests ask for, and how every error is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.conftest import asked
from tokenwell import errors
from tokenwell.errors import RequestInvalid, TokenwellError
from tokenwell.gateway import openai
from tokenwell.gateway.openai import parse_chat, told, told_upstream

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
        parse_chat(INVALID[what])


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_field_that_cannot_be_used_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestInvalid) as raised:
        parse_chat(json.dumps(asked(stream=True) | {field: value}).encode())
    named = str(raised.value.details["field"])
    assert named.partition(".")[0] in (field, "session", "reason")


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_field_that_is_missing_is_named(field: str) -> None:
    body = asked()
    del body[field]
    with pytest.raises(RequestInvalid) as raised:
        parse_chat(json.dumps(body).encode())
    assert raised.value.details["field"] == field


@pytest.mark.parametrize("again", ['"model":"b"', '"\\u006dodel":"b"', '"n":2,"n":3', '"m\\u0061x_tokens":1,"max_tokens":2'])
def test_a_field_that_decides_is_given_once(again: str) -> None:
    with pytest.raises(RequestInvalid, match="more than once"):
        parse_chat(f'{{"model":"a","messages":[],{again}}}'.encode())


def test_names_repeated_within_the_messages_are_nobodys_business() -> None:
    inner = '[{"model":"x","n":1},{"model":"y","n":2,"n":3,"\\u006dodel":1}]'
    assert parse_chat(f'{{"model":"a","messages":{inner}}}'.encode()).model == "a"


def test_null_is_as_good_as_absent() -> None:
    nulls = dict.fromkeys(("stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "metadata", "user", "tools"))
    request = parse_chat(json.dumps(asked(**nulls)).encode())
    assert (request.choices, request.output_limit_tokens, request.streams, request.session) == (1, None, False, None)


def test_the_newer_limit_goes_before_the_older() -> None:
    assert parse_chat(json.dumps(asked(max_tokens=5, max_completion_tokens=7, n=3)).encode()).output_limit_tokens == 7
    assert parse_chat(json.dumps(asked(max_tokens=5)).encode()).output_limit_tokens == 5


def test_a_plain_request_is_forwarded_byte_for_byte() -> None:
    body = b' {"messages" : [ ] ,\n "x":1.50e3, "model":"a","deep":{"\\u00e9":[1E2]},"stream":false } '
    assert parse_chat(body).body is body


def test_a_streams_usage_is_asked_for_by_one_more_field_and_no_other_byte() -> None:
    body = b' {"messages" : [ ] ,\n "x":1.50e3, "model":"a","stream":true } '
    request = parse_chat(body)
    assert request.hides_usage
    assert (
        request.body == b' {"stream_options":{"include_usage":true},"messages" : [ ] ,\n "x":1.50e3, "model":"a","stream":true } '
    )


@pytest.mark.parametrize("options", ["null", "{}", '{"include_usage":false}', '{"include_usage":null,"include_obfuscation":false}'])
def test_stream_options_of_the_clients_own_are_kept(options: str) -> None:
    body = f'{{"model":"a","messages":[ {{"content":"\\u00e9"}} ],"x":1.50e3,"stream":true,"stream_options":{options}}}'.encode()
    request = parse_chat(body)
    assert request.hides_usage
    assert b'[ {"content":"\\u00e9"} ]' in request.body
    assert b"1.50e3" in request.body
    forwarded, given = json.loads(request.body), json.loads(body)
    assert forwarded.pop("stream_options") == (given.pop("stream_options") or {}) | {"include_usage": True}
    assert forwarded == given


def test_usage_that_the_client_asked_for_is_not_hidden() -> None:
    body = json.dumps(asked(stream=True, stream_options={"include_usage": True})).encode()
    request = parse_chat(body)
    assert not request.hides_usage
    assert request.body is body


def test_session_and_reason_come_from_the_headers_else_the_metadata_else_the_user() -> None:
    metadata = {"session": "meta", "reason": "why", "other": 7}
    full = json.dumps(asked(metadata=metadata, user="u-1")).encode()
    assert parse_chat(full, session="head", reason="because").session == "head"
    assert (parse_chat(full).session, parse_chat(full).reason) == ("meta", "why")
    assert parse_chat(json.dumps(asked(user="u-1", safety_identifier="s-1")).encode()).session == "u-1"
    assert parse_chat(json.dumps(asked(user="x" * 500, safety_identifier="s-1")).encode()).session == "s-1"
    assert parse_chat(json.dumps(asked(user="a\nb")).encode()).session is None


def _all_errors(kind: type[TokenwellError] = TokenwellError) -> list[type[TokenwellError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _all_errors(child))]


@pytest.mark.parametrize("kind", _all_errors())
def test_every_error_has_a_status_and_wears_the_providers_shape(kind: type[TokenwellError]) -> None:
    status, headers, body = told(kind(field="n"))
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] == kind().message
    assert error["code"] in (kind.code, "invalid_api_key")
    assert error["param"] == "n"
    expected = {
        "invalid": 400,
        "denied": 403,
        "not_found": 404,
        "conflict": 409,
        "refused": 402,
        "store": 503,
        "upstream": 502,
        "error": 500,
    }
    special = {errors.CredentialsInvalid: 401, errors.KeyRevoked: 401, errors.BalanceHeld: 429, errors.UpstreamTimeout: 504}
    assert status == special.get(kind, expected[kind.category])
    assert dict(headers)[b"x-should-retry"] in (b"true", b"false")


@pytest.mark.parametrize("kind", _all_errors())
def test_a_client_is_told_to_retry_exactly_what_may_succeed_then(kind: type[TokenwellError]) -> None:
    headers = dict(told(kind())[1])
    # What the upstream or the store failed was not charged, so it may be sent again; but not with the operator's key refused.
    may = kind.retryable or (kind.category in ("store", "upstream") and kind is not errors.UpstreamRejected)
    assert headers[b"x-should-retry"] == (b"true" if may else b"false")
    assert (b"retry-after" in headers) == (kind.category == "store" or kind is errors.BalanceHeld)


def test_what_says_that_the_operators_key_is_wrong_is_not_passed_on() -> None:
    status, headers, body = told_upstream(401, [], b'{"error":{"message":"Incorrect API key provided: sk-op***rator"}}')
    assert status == 502
    assert b"sk-op" not in body
    assert (b"x-should-retry", b"false") in headers


def test_an_error_in_shape_passes_as_it_is() -> None:
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"7")]
    body = b'{"error":{"message":"slow down"}}'
    assert told_upstream(429, headers, body) == (429, headers, body)


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"null", b'{"detail":"x"}', b"[" * 100_000])
def test_an_error_without_shape_keeps_its_status_and_gets_one(body: bytes) -> None:
    status, headers, shaped = told_upstream(503, [(b"content-type", b"text/html"), (b"retry-after", b"7")], body)
    assert status == 503
    assert json.loads(shaped)["error"]["code"] == "upstream_error"
    assert (b"retry-after", b"7") in headers
    assert dict(headers)[b"content-type"] == b"application/json"


@pytest.mark.parametrize(("status", "body"), [(302, b""), (200, b"<html>"), (200, b'{"error":"no"}'), (204, b"")])
def test_what_is_neither_an_answer_nor_an_error_is_a_bad_gateway(status: int, body: bytes) -> None:
    assert told_upstream(status, [], body)[0] == 502


def test_an_error_within_a_stream_is_an_event() -> None:
    event = openai.error_event(errors.UpstreamTimeout())
    assert event.startswith(b"data: {")
    assert event.endswith(b"\n\n")
    assert json.loads(event[6:])["error"]["code"] == "upstream_timeout"
