"""What holds for every route: who is let in, how errors are told, what a write and a polled read promise."""

from __future__ import annotations

import json
from datetime import timedelta

import httpx2
import pytest

from tests.api.platform import OWN, Platform, key
from tests.api.requests import operations
from tests.api.things import Things
from tests.doubles import FrozenClock
from tokenwell.api.app import openapi
from tokenwell.config import Settings

PACKS = f"/v1/organizations/{OWN}/packs"
BALANCE = f"/v1/organizations/{OWN}/balance"


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == answer.status_code
    assert told["type"] == f"urn:tokenwell:problem:{told['code']}"
    assert set(told) == {"type", "title", "status", "detail", "code", "retryable", "details"}
    return answer.status_code, told["code"]


async def test_nobody_is_let_in_without_a_key(lone: Platform) -> None:
    for header in ("", "Basic eDp5", "Bearer", "Bearer tw_plat_unknown", "Bearer tw_live_unknown", "Bearer nonsense\xe9"):
        async with lone.client() as client:
            client.headers = httpx2.Headers([(b"authorization", header.encode("latin-1"))])
            answer = await client.get(BALANCE)
            assert problem(answer) == (401, "credentials_invalid")
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert problem(await client.get("/v1/nothing"))[0] == 401


async def test_the_document_is_open_and_the_one_the_code_gives(lone: Platform) -> None:
    async with lone.client() as client:
        del client.headers["authorization"]
        answer = await client.get("/v1/openapi.json")
    assert answer.json() == json.loads(json.dumps(openapi()))
    assert answer.json()["openapi"] == "3.1.0"


async def test_an_address_or_a_method_that_is_not_there_is_a_problem(http: httpx2.AsyncClient) -> None:
    assert problem(await http.get("/v1/nothing/here")) == (404, "not_found")
    assert problem(await http.get(f"{PACKS}/")) == (404, "not_found")
    assert problem(await http.patch(PACKS)) == (405, "method_not_allowed")
    assert problem(await http.get(f"/v1/organizations/{OWN}/debits")) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "amount"), ({"amount": 1.5}, "amount"), ({"amount": True}, "amount"), ({"amount": -5}, "amount"),
        ({"amount": 5, "colour": "red"}, "colour"), ({"amount": 5, "expires_at": "soon"}, "expires_at"),
        ({"amount": 5, "expires_at": "2030-01-01T00:00:00"}, "expires_at"), ({"amount": "lots"}, "amount"),
        ({"amount": 5, "note": "x" * 501}, "note"), ({"amount": 5, "priority": 5_000}, "priority"), ([], None),
    ],
)  # fmt: skip
async def test_bad_input_names_its_field_and_changes_nothing(http: httpx2.AsyncClient, body: object, field: str | None) -> None:
    before = (await http.get(BALANCE)).json()
    answer = await http.post(PACKS, json=body, headers=key())
    assert problem(answer)[0] == 400
    assert answer.json()["details"].get("field") == field
    assert (await http.get(BALANCE)).json() == before


async def test_what_is_not_json_is_refused(http: httpx2.AsyncClient) -> None:
    headers = key() | {"content-type": "application/json"}
    assert problem(await http.post(PACKS, content=b"{", headers=headers)) == (400, "request_invalid")
    assert problem(await http.post(PACKS, content=b"\xff\xfe", headers=headers)) == (400, "request_invalid")
    assert problem(await http.post(PACKS, content=b"[" * 100_000, headers=headers)) == (400, "request_invalid")
    assert problem(await http.post(PACKS, content=b"{}", headers=key())) == (415, "content_type_unsupported")
    assert problem(await http.post(PACKS, content=b" " * 11_000_000, headers=headers)) == (413, "body_too_large")


async def test_a_parameter_that_is_misspelt_is_refused(http: httpx2.AsyncClient) -> None:
    for path, field in (
        (f"{PACKS}?stauts=active", "stauts"),
        (f"{PACKS}?status=asleep", "status"),
        (f"{PACKS}?limit=0", "limit"),
        (f"{PACKS}?cursor=x", "cursor"),
        (f"{BALANCE}?as_of=yesterday", "as_of"),
        (f"/v1/organizations/{OWN}/ledger?modle=x", "modle"),
        (f"/v1/organizations/{OWN}/ledger?since=2027-01-01T00:00:00", "since"),
        (f"/v1/organizations/{OWN}/usage?since=2027-01-01", "until"),
    ):
        answer = await http.get(path)
        assert problem(answer)[0] == 400, path
        assert answer.json()["details"]["field"] == field
    answer = await http.post(f"/v1/organizations/{OWN}/debits?dry=1", json={"amount": 1}, headers=key())
    assert answer.json()["details"]["field"] == "dry"


async def test_every_write_needs_a_key(http: httpx2.AsyncClient) -> None:
    for path, body in (("packs", {"amount": 5}), ("debits", {"amount": 5}), ("holds", {"amount": 5})):
        answer = await http.post(f"/v1/organizations/{OWN}/{path}", json=body)
        assert problem(answer) == (400, "request_invalid")
        assert answer.json()["details"]["field"] == "Idempotency-Key"
    answer = await http.post(PACKS, json={"amount": 5}, headers=key("x" * 201))
    assert answer.json()["details"]["field"] == "Idempotency-Key"


async def test_a_write_is_replayed_and_says_so(api: httpx2.AsyncClient) -> None:
    for path, body in (("packs", {"amount": 5}), ("debits", {"amount": 7}), ("holds", {"amount": 9})):
        headers = key()
        first, second = [await api.post(f"/v1/organizations/{OWN}/{path}", json=body, headers=headers) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 201)
        assert ("idempotent-replayed" in first.headers, second.headers.get("idempotent-replayed")) == (False, "true")
        assert first.json() == second.json()
        other = await api.post(f"/v1/organizations/{OWN}/{path}", json={"amount": 8}, headers=headers)
        assert problem(other) == (409, "idempotency_conflict")


async def test_a_polled_read_is_not_sent_twice(api: httpx2.AsyncClient) -> None:
    for path in (BALANCE, PACKS, f"/v1/organizations/{OWN}/ledger"):
        first = await api.get(path)
        tag = first.headers["etag"]
        assert (await api.get(path)).headers["etag"] == tag
        again = await api.get(path, headers={"if-none-match": f'"other", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        await api.post(f"/v1/organizations/{OWN}/debits", json={"amount": 1}, headers=key())
        assert (await api.get(path, headers={"if-none-match": tag})).status_code == 200


async def test_everything_that_is_read_has_a_tag_that_changes_with_it(seller: Platform) -> None:
    """Also what is polled: sessions, usage, sums, the journal, events, what waits for somebody."""
    async with seller.client() as api:
        await look_twice_at_everything(api, seller)


async def look_twice_at_everything(api: httpx2.AsyncClient, platform: Platform) -> None:
    """Read everything, again with its tag, and again after a charge."""
    things, polled = Things(platform), {"balance", "list_packs", "ledger", "ledger_sums", "list_sessions", "usage", "journal"}
    for operation in [each for each in operations() if each.method == "GET"]:
        names = things.names(operation)
        found = await operation.ask(api, OWN, **names)
        assert found.status_code == 200, (operation.id, found.text)
        tag = found.headers["etag"]
        assert (found.headers["cache-control"], found.headers["vary"]) == ("private, no-cache", "authorization")
        api.headers["if-none-match"] = tag
        same = await operation.ask(api, OWN, **names)
        assert (same.status_code, same.content, same.headers.get("etag")) == (304, b"", tag), operation.id
        platform.meter.debit(OWN, 1, session="more")
        assert (await operation.ask(api, OWN, **names)).status_code == (200 if operation.id in polled else 304), operation.id
        del api.headers["if-none-match"]
    (event,) = (await api.get(f"/v1/organizations/{OWN}/events", params={"limit": 1})).json()["items"]
    platform.meter.grant(OWN, 5)
    again = await api.get(f"/v1/organizations/{OWN}/events", params={"limit": 1})
    assert again.json()["items"] != [event]


async def test_tokens_beyond_what_json_keeps_exactly_are_text(api: httpx2.AsyncClient) -> None:
    large = 9_007_199_254_740_993
    await api.post("/v1/organizations", json={"id": "large"}, headers=key())
    for amount, tokens in ((str(large - 10), str(large - 10)), ("1000000", 1_000_000)):
        answer = await api.post("/v1/organizations/large/packs", json={"amount": amount}, headers=key())
        assert answer.json()["pack"]["total_tokens"] == (int(tokens) if int(tokens) <= 2**53 else tokens)
    found = (await api.get("/v1/organizations/large/balance")).json()
    assert found["balance_tokens"] == str(large - 10 + 1_000_000)
    assert found["held_tokens"] == 0


async def test_each_key_has_its_requests_a_minute(sqlite_url: str, clock: FrozenClock) -> None:
    platform = Platform(sqlite_url, clock, Settings(api_requests_per_minute=3))
    try:
        async with platform.client() as client, platform.client(platform.secrets[OWN]) as other:
            answers = [await client.get(BALANCE) for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            assert answers[0].headers["ratelimit-policy"] == '"minute";q=3;w=60'
            assert [answer.headers.get("ratelimit") for answer in answers[:3]] == [
                '"minute";r=2;t=20', '"minute";r=1;t=40', '"minute";r=0;t=60'
            ]  # fmt: skip
            assert problem(answers[3]) == (429, "requests_limited")
            assert answers[3].headers["retry-after"] == "20"
            assert (await other.get(BALANCE)).status_code == 200
            clock.advance(timedelta(seconds=20))
            assert [(await client.get(BALANCE)).status_code for _ in range(2)] == [200, 429]
    finally:
        platform.close()


async def test_a_balance_that_refuses_tells_how_and_when_to_go_on(http: httpx2.AsyncClient) -> None:
    await http.post("/v1/organizations", json={"id": "poor"}, headers=key())
    stopped = await http.post("/v1/organizations/poor/holds", json={"amount": 5}, headers=key())
    assert problem(stopped) == (402, "ai_stopped")
    assert "retry-after" not in stopped.headers
    held = await http.post(f"/v1/organizations/{OWN}/holds", json={"amount": 2_000_000}, headers=key())
    assert problem(held) == (429, "balance_held")
    assert (held.headers["retry-after"], held.json()["retryable"]) == ("1", True)


async def test_a_database_that_fails_is_a_problem_to_retry(lone: Platform) -> None:
    async with lone.client() as client:
        lone.meter.batcher.close()
        answer = await client.post(f"/v1/organizations/{OWN}/debits", json={"amount": 5}, headers=key())
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
