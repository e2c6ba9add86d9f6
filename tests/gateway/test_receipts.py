"""Receipts that are asked for later: what the ledger knows of a request, told to its own organization alone."""

from __future__ import annotations

from typing import Any

from tests.gateway.conftest import GRANTED, House, asked, house_on
from tests.gateway.upstreams import USAGE, plain
from tokenwell.core.health import Thresholds


async def _made(house: House, **headers: str) -> str:
    async with house.ask(asked(user="u-1", metadata={"reason": "greeting"}), **headers) as answer:
        return str(answer.headers["x-tokenwell-request-id"])


async def _record(house: House, request_id: str, secret: str | None = None) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {secret or house.secret}"}
    async with house.session.get(f"{house.address}/v1/requests/{request_id}", headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_request_is_told_with_what_it_was_charged_and_why(house: House) -> None:
    request_id = await _made(house)
    status, record = await _record(house, request_id)
    (line,) = house.lines()
    assert status == 200
    expected = {
        "id": request_id,
        "model": "fake-1",
        "session": "u-1",
        "reason": "greeting",
        "charged": 15,
        "overage": 0,
        "prompt": 12,
        "completion": 3,
        "estimated": False,
        "packs": [{"pack_id": line.entry.pack_id, "pack_number": 1, "amount": 15}],
        "balance": GRANTED - 15,
        "state": "normal",
        "provider_usage": USAGE,
    }
    assert {name: record[name] for name in expected} == expected
    assert (record["facts"]["served_by"], record["facts"]["expected"]["completion"]) == ("fake/real-1", 1024)


async def test_overage_is_told_apart_from_what_packs_gave(sqlite_url: str) -> None:
    async with house_on(sqlite_url, granted=5_000, thresholds=Thresholds(0, 0)) as house:
        house.upstream.answer = plain(usage={"prompt_tokens": 5_000, "completion_tokens": 3})
        request_id = await _made(house)
        _, record = await _record(house, request_id)
        assert (record["charged"], record["overage"]) == (5_003, 3)
        assert [pack["amount"] for pack in record["packs"]] == [5_000]


async def test_another_organizations_request_is_not_found(house: House) -> None:
    request_id = await _made(house)
    house.meter.create_organization("other")
    secret = house.keys.create("other", name="test").secret
    assert (await _record(house, request_id, secret))[0] == 404
    assert (await _record(house, "req_unknown"))[0] == 404
    assert (await _record(house, request_id, "tw_live_wrong"))[0] == 401
