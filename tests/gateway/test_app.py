"""The gateway's edge: what it answers to requests that are not what it serves, or not allowed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from yarl import URL

from tests.gateway.conftest import GRANTED, House, asked, house_on
from tests.gateway.upstreams import FakeUpstream, failing
from tokenwell.config import Settings

CHAT = "/v1/chat/completions"

HTTP: list[tuple[str, str, int]] = [
    ("GET", CHAT, 405),
    ("PUT", CHAT, 405),
    ("DELETE", CHAT, 405),
    ("OPTIONS", CHAT, 405),
    ("POST", "/v1/models", 405),
    ("POST", "/v1/models/x", 405),
    ("GET", "/v1", 404),
    ("GET", "/v1/", 404),
    ("GET", "/v1/files", 404),
    ("POST", "/v1/chat/completions/", 404),
    ("POST", "/chat/completions", 404),
    ("POST", "/v1/chat/completions%00", 404),
    ("GET", "/v1/models/..", 404),
    ("GET", "/v1/models/../files", 404),
    ("GET", "/v1/models/%2e%2e/files", 404),
    ("GET", "/v1/models/..%2Ffiles", 404),
    ("GET", "/v1/models/a/../../files", 404),
    ("GET", "/v1/models/a%3Fb%23c", 404),
    ("GET", "/v1/models/a//b", 404),
    ("GET", "/v1/models/" + "x" * 300, 404),
]

BODIES: dict[str, tuple[Any, dict[str, str], int]] = {
    "no JSON": (b"hello", {}, 400),
    "an empty body": (b"", {}, 400),
    "no model": (b'{"messages":[]}', {}, 400),
    "a bomb": (b'{"model":"a","messages":' + b"[" * 200_000, {}, 400),
    "a form": (b"model=a", {"content_type": "application/x-www-form-urlencoded"}, 415),
    "no type at all": (b"{}", {"content_type": ""}, 415),
    "a compressed body": (b"\x1f\x8b", {"content_encoding": "gzip"}, 415),
    "a session that is too long": (None, {"x_tokenwell_session": "x" * 201}, 400),
    "a reason with a control character": (None, {"x_tokenwell_reason": "a\tb"}, 400),
    "too much": (b'{"x":"' + b"x" * 11 * 2**20 + b'"}', {}, 413),
}


async def _error(answer: Any) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, Any] = (await answer.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(("method", "path", "status"), HTTP)
async def test_what_is_not_served_is_refused_in_the_providers_shape(house: House, method: str, path: str, status: int) -> None:
    headers = {"authorization": f"Bearer {house.secret}"}
    async with house.session.request(method, URL(house.address + path, encoded=True), headers=headers) as answer:
        assert answer.status == status
        assert (await _error(answer))["message"]
        if status == 405:
            assert answer.headers["allow"] in ("GET", "POST")
    assert house.upstream.requests == []


@pytest.mark.parametrize("what", BODIES)
async def test_a_bad_request_is_refused_and_changes_nothing(house: House, what: str) -> None:
    body, headers, status = BODIES[what]
    before = house.balance()
    async with house.ask(body, **headers) as answer:
        assert answer.status == status
        await _error(answer)
        assert answer.headers["x-should-retry"] == "false"
    after = house.balance()
    assert (after.seq, after.balance_tokens, after.held_tokens) == (before.seq, GRANTED, 0)
    assert house.upstream.requests == []
    async with house.ask() as answer:
        assert answer.status == 200


async def test_a_body_without_a_length_is_limited_as_well(house: House) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 2**18

    headers = {"authorization": f"Bearer {house.secret}", "content-type": "application/json"}
    async with house.session.post(house.address + CHAT, data=endless(), headers=headers) as answer:
        assert answer.status == 413
    async with house.ask() as answer:
        assert answer.status == 200


async def test_a_body_up_to_the_limit_is_taken(sqlite_url: str) -> None:
    async with house_on(sqlite_url, settings=Settings(body_limit_bytes=1024)) as house:
        body = json.dumps(asked(), separators=(",", ":")).encode()
        async with house.ask(body + b" " * (1024 - len(body))) as answer:
            assert answer.status == 200
        async with house.ask(body + b" " * (1025 - len(body))) as answer:
            assert answer.status == 413


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic dTpw", "tw_live_abc", "Bearer tw_live_short", "Bearer sk-other", "Bearer tw_live_" + "é" * 40],
)
async def test_a_missing_or_malformed_key_is_unauthorized(house: House, authorization: str) -> None:
    headers = {"content-type": "application/json"} | ({"authorization": authorization} if authorization else {})
    async with house.session.post(house.address + CHAT, json=asked(), headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert (await _error(answer))["code"] == "invalid_api_key"


async def test_a_revoked_key_stops_at_once(house: House) -> None:
    async with house.ask() as answer:
        assert answer.status == 200
    (key,) = house.keys.list("acme").items
    house.keys.revoke("acme", key.id)
    async with house.ask() as answer:
        assert answer.status == 401
        assert (await _error(answer))["code"] == "key_revoked"


async def test_the_scheme_of_a_key_is_told_apart_by_its_word_alone(house: House) -> None:
    async with house.ask(authorization=f"bEaReR {house.secret}") as answer:
        assert answer.status == 200


async def test_many_requests_share_a_connection(house: House) -> None:
    for _ in range(3):
        for body, status in ((None, 200), (b"nonsense", 400)):
            async with house.ask(body) as answer:
                assert answer.status == status
                await answer.read()
    assert house.upstream.connections == 1


async def test_session_and_reason_are_on_the_ledgers_line(house: House) -> None:
    headers = {"x_tokenwell_session": "s-1 é", "x_tokenwell_reason": "Tagging"}
    async with house.ask(**headers) as answer:
        assert answer.status == 200
    (line,) = house.lines()
    assert (line.entry.session, line.entry.reason) == ("s-1 é", "Tagging")
    assert line.entry.key_id == house.keys.list("acme").items[0].id


async def test_the_operators_key_is_sent_and_the_clients_is_not(house: House) -> None:
    async with house.ask(cookie="a=b", openai_beta="x=1", openai_organization="org-1", x_forwarded_for="10.0.0.1") as answer:
        assert answer.status == 200
    (request,) = house.upstream.requests
    assert request.headers["authorization"] == "Bearer sk-operator"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["openai-beta"] == "x=1"
    assert not {"cookie", "openai-organization", "x-forwarded-for"} & set(request.headers)
    assert house.secret not in str(request)


async def test_of_the_providers_headers_only_harmless_ones_are_passed_on(house: House) -> None:
    house.upstream.answer = failing(
        200, b'{"choices":[]}', set_cookie="a=b", x_request_id="r-1", openai_organization="org-1", x_ratelimit_limit_requests="5"
    )
    async with house.ask() as answer:
        assert answer.headers["x-request-id"] == "r-1"
        assert answer.headers["x-ratelimit-limit-requests"] == "5"
        assert not {"set-cookie", "openai-organization"} & {name.lower() for name in answer.headers}


async def test_a_redirect_is_not_followed(house: House) -> None:
    other = FakeUpstream()
    await other.start()
    house.upstream.answer = failing(307, b"", location=f"{other.url}/chat/completions")
    async with house.ask() as answer:
        assert answer.status == 502
    assert other.requests == []
    await other.stop()
    house.verify()
    assert house.lines() == []


async def test_an_organizations_key_spends_no_other_organizations_tokens(house: House) -> None:
    house.meter.create_organization("other")
    secret = house.keys.create("other", name="theirs").secret
    async with house.ask(secret=secret) as answer:
        assert answer.status == 402
    assert house.balance().balance_tokens == GRANTED


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_leaves_nothing(house: House) -> None:
    host, _, port = house.address.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {house.secret}\r\ncontent-type: application/json\r\n"
    writer.write(head.encode() + b'content-length: 1000\r\n\r\n{"model"')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with house.ask() as answer:
        assert answer.status == 200
    assert len(house.upstream.requests) == 1
    house.verify()
