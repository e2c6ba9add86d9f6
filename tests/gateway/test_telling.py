"""How every error is told, in the shape of the provider whose language the client speaks."""

from __future__ import annotations

import json

import pytest

from tokenwell import errors
from tokenwell.errors import TokenwellError
from tokenwell.gateway.openai import OPENAI


def _all_errors(kind: type[TokenwellError] = TokenwellError) -> list[type[TokenwellError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _all_errors(child))]


@pytest.mark.parametrize("kind", _all_errors())
def test_every_error_has_a_status_and_wears_the_providers_shape(kind: type[TokenwellError]) -> None:
    status, headers, body = OPENAI.told(kind(field="n"))
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
        "limited": 429,
        "unreachable": 500,
        "store": 503,
        "upstream": 502,
        "error": 500,
    }
    special = {errors.CredentialsInvalid: 401, errors.KeyRevoked: 401, errors.BalanceHeld: 429, errors.UpstreamTimeout: 504}
    assert status == special.get(kind, expected[kind.category])
    assert dict(headers)[b"x-should-retry"] in (b"true", b"false")


@pytest.mark.parametrize("kind", _all_errors())
def test_a_client_is_told_to_retry_exactly_what_may_succeed_then(kind: type[TokenwellError]) -> None:
    headers = dict(OPENAI.told(kind())[1])
    # What the upstream or the store failed was not charged, so it may be sent again; but not with the operator's key refused.
    may = kind.retryable or (kind.category in ("store", "upstream") and kind is not errors.UpstreamRejected)
    assert headers[b"x-should-retry"] == (b"true" if may else b"false")
    assert (b"retry-after" in headers) == (kind.category == "store" or kind is errors.BalanceHeld)


def test_what_says_that_the_operators_key_is_wrong_is_not_passed_on() -> None:
    status, headers, body = OPENAI.told_upstream(401, [], b'{"error":{"message":"Incorrect API key provided: sk-op***rator"}}')
    assert status == 502
    assert b"sk-op" not in body
    assert (b"x-should-retry", b"false") in headers


def test_an_error_in_shape_passes_as_it_is() -> None:
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"7")]
    body = b'{"error":{"message":"slow down"}}'
    assert OPENAI.told_upstream(429, headers, body) == (429, headers, body)


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"null", b'{"detail":"x"}', b"[" * 100_000])
def test_an_error_without_shape_keeps_its_status_and_gets_one(body: bytes) -> None:
    status, headers, shaped = OPENAI.told_upstream(503, [(b"content-type", b"text/html"), (b"retry-after", b"7")], body)
    assert status == 503
    assert json.loads(shaped)["error"]["code"] == "upstream_error"
    assert (b"retry-after", b"7") in headers
    assert dict(headers)[b"content-type"] == b"application/json"


@pytest.mark.parametrize(("status", "body"), [(302, b""), (200, b"<html>"), (200, b'{"error":"no"}'), (204, b"")])
def test_what_is_neither_an_answer_nor_an_error_is_a_bad_gateway(status: int, body: bytes) -> None:
    assert OPENAI.told_upstream(status, [], body)[0] == 502


def test_an_error_within_a_stream_is_an_event() -> None:
    event = OPENAI.error_event(errors.UpstreamTimeout())
    assert event.startswith(b"data: {")
    assert event.endswith(b"\n\n")
    assert json.loads(event[6:])["error"]["code"] == "upstream_timeout"
