"""Each resource, by the answers of the API; on both databases."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import httpx2

from tests.api.platform import OTHER, OWN, Platform, key
from tests.doubles import START
from tokenwell.service.access.scopes import Scope

AT = f"/v1/organizations/{OWN}"


async def post(api: httpx2.AsyncClient, path: str, body: Any = None, status: int = 201, **headers: str) -> dict[str, Any]:
    """Write something and return the answer."""
    answer = await api.post(AT + path, json=body, headers=key(headers.get("key")))
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def get(api: httpx2.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    """Read something."""
    answer = await api.get(AT + path, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_an_organization_is_created_once_and_listed(api: httpx2.AsyncClient, platform: Platform) -> None:
    first, again = [await api.post("/v1/organizations", json={"id": "initech", "name": "Initech"}, headers=key()) for _ in range(2)]
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    taken = await api.post("/v1/organizations", json={"id": "initech", "name": "Other"}, headers=key())
    assert taken.json()["code"] == "organization_exists"
    page = (await api.get("/v1/organizations", params={"limit": 2})).json()
    assert [each["id"] for each in page["items"]] == [OWN, OTHER]
    rest = (await api.get("/v1/organizations", params={"cursor": page["next_cursor"]})).json()
    assert [each["id"] for each in rest["items"]] == ["initech"]
    async with platform.client(platform.secrets[OWN]) as own:
        assert [each["id"] for each in (await own.get("/v1/organizations")).json()["items"]] == [OWN]
    async with platform.client(platform.issue([Scope.ORGANIZATIONS_READ], "initech")) as one:
        page = (await one.get("/v1/organizations", params={"limit": 1})).json()
        assert ([each["id"] for each in page["items"]], page["next_cursor"]) == (["initech"], None)
        assert (await one.get("/v1/organizations", params={"cursor": OTHER})).status_code == 400


async def test_thresholds_are_set_and_cleared(api: httpx2.AsyncClient) -> None:
    body = {"warning": "2M", "reserve": "1.5M"}
    told = (await api.put(f"{AT}/thresholds", json=body, headers=key())).json()
    assert (told["warning_tokens"], told["reserve_tokens"], told["state"]) == (2_000_000, 1_500_000, "ai_stopped")
    refused = await api.put(f"{AT}/thresholds", json={"warning": 1, "reserve": 2}, headers=key())
    assert refused.json()["code"] == "thresholds_invalid"
    told = (await api.delete(f"{AT}/thresholds", headers=key())).json()
    assert (told["warning_tokens"], told["state"]) == (1_000, "normal")


async def test_a_packs_life(api: httpx2.AsyncClient, platform: Platform) -> None:
    expires_at = (START + timedelta(days=10)).isoformat().replace("+00:00", "Z")
    granted = await post(api, "/packs", {"amount": "2k", "expires_at": expires_at, "priority": -1, "note": "Spring"})
    pack = granted["pack"]
    assert (pack["number"], pack["status"], pack["total_tokens"], granted["balance_tokens"]) == (2, "active", 2_000, 1_002_000)
    assert (await get(api, "/packs/PK-2")) == (await get(api, f"/packs/{pack['id']}")) == pack
    extended = await post(api, "/packs/PK-2/extend", {"expires_at": None}, status=200)
    assert (extended["expired_before"], extended["expires_at"]) == (expires_at, None)
    noted = await api.put(f"{AT}/packs/PK-2/note", json={"note": "Spring, paid"}, headers=key())
    assert noted.json()["note"] == "Spring, paid"
    revoked = await post(api, "/packs/PK-2/revoke", {"note": "By mistake"}, status=200)
    assert (revoked["forfeited_tokens"], revoked["balance_tokens"]) == (2_000, 1_000_000)
    listed = await get(api, "/packs", status="revoked")
    assert [(each["number"], each["note"]) for each in listed["items"]] == [(2, "Spring, paid")]
    assert (await api.get(f"{AT}/packs/PK-9")).json()["code"] == "pack_not_found"
    assert (await api.post(f"{AT}/packs/PK-2/revoke", json={}, headers=key())).json()["code"] == "pack_already_revoked"
    (verified,) = platform.meter.verify(OWN)
    assert verified.problems == ()


async def test_a_hold_is_settled_or_released_once(api: httpx2.AsyncClient) -> None:
    hold = await post(api, "/holds", {"amount": 500})
    assert ((await get(api, "/balance"))["available_tokens"], hold["held_tokens"]) == (999_500, 500)
    grown = await post(api, f"/holds/{hold['id']}/extend", {"more_tokens": 250, "ttl_seconds": 900}, status=200)
    assert (grown["held_tokens"], grown["lapses_at"]) == (750, "2027-01-31T09:45:00Z")
    assert (await api.post(f"{AT}/holds/{hold['id']}/extend", json={}, headers=key())).json()["code"] == "amount_invalid"
    usage = {"usage": {"input_tokens": 90, "output_tokens": 10}, "model": "m", "session": "s"}
    receipt = await post(api, f"/holds/{hold['id']}/settle", usage, status=200)
    assert (receipt["amount_tokens"], receipt["prompt_tokens"], len(receipt["drawn"])) == (100, 90, 1)
    again = await api.post(f"{AT}/holds/{hold['id']}/settle", json=usage, headers=key())
    assert (again.json(), again.headers["idempotent-replayed"]) == (receipt, "true")
    other = await api.post(f"{AT}/holds/{hold['id']}/settle", json={"amount": 1}, headers=key())
    assert other.json()["code"] == "hold_already_settled"
    hold = await post(api, "/holds", {"amount": 500})
    released = await post(api, f"/holds/{hold['id']}/release", status=200)
    assert released["hold_id"] == hold["id"]
    assert (await get(api, "/balance"))["held_tokens"] == 0
    assert (await api.post(f"{AT}/holds/nothing/release", headers=key())).json()["code"] == "hold_not_found"


async def test_a_batch_answers_each_debit(api: httpx2.AsyncClient) -> None:
    debits: list[dict[str, Any]] = [{"amount": 10, "key": "a"}, {"prompt_tokens": 5, "completion_tokens": 5}, {"amount": 9_000_000}]
    debits += [{"amount": 0}, {"amount": 11, "key": "a"}]
    first = await api.post(f"{AT}/debits/batch", json={"debits": debits}, headers=key("batch"))
    answers = first.json()["items"]
    assert [each["index"] for each in answers] == [0, 1, 2, 3, 4]
    assert [each["receipt"] and each["receipt"]["amount_tokens"] for each in answers] == [10, 10, None, None, None]
    codes = [each["problem"] and each["problem"]["code"] for each in answers]
    assert codes == [None, None, "balance_held", "amount_invalid", "idempotency_conflict"]
    again = await api.post(f"{AT}/debits/batch", json={"debits": debits}, headers=key("batch"))
    assert [each["replayed"] for each in again.json()["items"]] == [True, True, False, False, False]
    assert (await get(api, "/balance"))["balance_tokens"] == 1_000_000 - 20
    many = [{"amount": 1}] * 1_000
    answers = (await post(api, "/debits/batch", {"debits": many}, status=200))["items"]
    assert all(each["receipt"] for each in answers)
    assert (await get(api, "/balance"))["balance_tokens"] == 1_000_000 - 1_020
    refused = await api.post(f"{AT}/debits/batch", json={"debits": [*many, {"amount": 1}]}, headers=key())
    assert refused.json()["details"]["field"] == "debits"


async def test_what_a_gateway_key_charges_is_marked_as_its_own(platform: Platform) -> None:
    own_key = platform.suite.keys.authenticate(platform.secrets[OWN])
    async with platform.client(platform.secrets[OWN]) as own:
        await own.post(f"{AT}/debits", json={"amount": 5, "key_id": "key_of_another"}, headers=key())
        (line,) = (await own.get(f"{AT}/ledger", params={"key": own_key.id})).json()["items"]
        assert (line["key_id"], line["amount_tokens"]) == (own_key.id, 5)
        refused = await own.post(f"{AT}/refunds", json={"request_id": line["request_id"]}, headers=key())
        assert refused.json()["code"] == "scope_missing"


async def test_a_refund_gives_back(api: httpx2.AsyncClient) -> None:
    receipt = await post(api, "/debits", {"amount": 100, "model": "m"}, key="asked")
    back = await post(api, "/refunds", {"request_id": "asked", "amount": 40})
    assert (receipt["balance_tokens"], back["balance_tokens"], back["amount_tokens"]) == (999_900, 999_940, 40)
    more = await api.post(f"{AT}/refunds", json={"request_id": "asked", "amount": 61}, headers=key())
    assert more.json()["code"] == "amount_invalid"
    assert (await api.post(f"{AT}/refunds", json={"request_id": "?"}, headers=key())).json()["code"] == "request_not_found"


async def test_the_ledger_by_filter_as_pages_and_streams(api: httpx2.AsyncClient, platform: Platform) -> None:
    for number in range(30):
        debit = {"amount": number + 1, "model": f"m{number % 2}", "session": "=1+1" if number % 3 else "chat", "reason": "answer"}
        await platform.meter.aio.debit(OWN, debit["amount"], **{k: v for k, v in debit.items() if k != "amount"}, key=f"r{number}")
    page = await get(api, "/ledger", model="m1", limit=10)
    rest = await get(api, "/ledger", model="m1", limit=10, cursor=page["next_cursor"])
    lines = [*page["items"], *rest["items"]]
    assert [line["amount_tokens"] for line in lines] == list(range(30, 0, -2))
    assert rest["next_cursor"] is None
    assert (lines[0]["change_tokens"], lines[0]["pack_number"], lines[0]["request_id"]) == (-30, 1, "r29")
    sums = await get(api, "/ledger/sums", model="m1")
    assert (sums["lines"], sums["debited_tokens"], sums["is_capped"]) == (15, sum(range(2, 31, 2)), False)
    streamed = await api.get(f"{AT}/ledger", params={"model": "m1", "format": "ndjson"})
    assert [json.loads(line) for line in streamed.text.splitlines()] == lines
    table = await api.get(f"{AT}/ledger", params={"model": "m1"}, headers={"accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text, newline="")))
    assert [(row["seq"], row["amount_tokens"]) for row in rows] == [(str(x["seq"]), str(x["amount_tokens"])) for x in lines]
    assert {row["session"] for row in rows} == {"'=1+1", "chat"}
    refused = await api.get(f"{AT}/ledger", params={"pack": "PK-9", "format": "csv"})
    assert refused.json()["code"] == "pack_not_found"
    sessions = (await get(api, "/sessions"))["items"]
    assert [each["session"] for each in sessions] == ["=1+1", "chat"]
    assert (await get(api, "/sessions/chat")) == sessions[1]
    assert (await api.get(f"{AT}/sessions/other")).status_code == 404
    usage = await get(api, "/usage", since="2027-01-31T00:00:00+01:00", until="2027-02-01", zone="Europe/Berlin", by="model")
    assert usage["total"]["debited_tokens"] == sum(range(1, 31))
    assert [series["value"] for series in usage["series"]] == ["m1", "m0"]
    assert usage["starts"] == ["2027-01-30T23:00:00Z", "2027-01-31T23:00:00Z"]


async def test_the_journal_and_its_proof(api: httpx2.AsyncClient) -> None:
    await post(api, "/debits", {"amount": 100})
    page = await get(api, "/journal", limit=1)
    rest = await get(api, "/journal", after_seq=page["next_cursor"])
    assert [line["kind"] for line in [*page["items"], *rest["items"]]] == ["grant", "debit"]
    assert rest["items"][-1]["hash"] == (await get(api, "/balance"))["head_hash"]
    verified = await post(api, "/verify", status=200)
    assert (verified["lines"], verified["problems"]) == (2, [])


async def test_rates_price_what_is_charged(api: httpx2.AsyncClient) -> None:
    rate = {"model": "big", "effective_at": "2027-01-01T00:00:00Z", "output_millionths": 4_000_000}
    told = await api.put("/v1/rates", json=rate, headers=key())
    assert told.json()["input_millionths"] == 1_000_000
    assert (await api.get("/v1/rates")).json()["items"] == [told.json()]
    receipt = await post(api, "/debits", {"model": "big", "prompt_tokens": 10, "completion_tokens": 5})
    assert receipt["amount_tokens"] == 30
    (act,) = (await api.get("/v1/acts", params={"action": "rate.set"})).json()["items"]
    assert (act["actor_name"], act["subject"], act["before"]) == ("Backend", "big", None)


async def test_the_past_can_be_read(api: httpx2.AsyncClient, platform: Platform) -> None:
    platform.clock.advance(timedelta(hours=1))
    await post(api, "/debits", {"amount": 100})
    before = await get(api, "/balance", as_of=(START + timedelta(minutes=1)).isoformat())
    assert (before["balance_tokens"], before["as_of"]) == (1_000_000, "2027-01-31T09:31:00Z")
    packs = await get(api, "/packs", as_of=(START + timedelta(minutes=1)).isoformat())
    assert packs["items"][0]["remaining_tokens"] == 1_000_000
    assert (await api.get(f"{AT}/balance", params={"as_of": "2099-01-01"})).json()["details"]["field"] == "as_of"


async def test_a_policy_is_changed_in_parts_and_serves_without_the_database_only_within_bounds(api: httpx2.AsyncClient) -> None:
    assert (await get(api, "/policy")) == {"when_short": "refuse", "when_away": "refuse", "away_seconds": 0, "away_tokens": 0}
    unbound = await api.patch(f"{AT}/policy", json={"when_away": "serve", "away_seconds": 60}, headers=key())
    assert (unbound.status_code, "away_tokens" in unbound.text) == (400, True)
    for body in ({"when_short": "clamp"}, {"when_away": "serve", "away_seconds": 60, "away_tokens": "2k"}):
        assert (await api.patch(f"{AT}/policy", json=body, headers=key("p" + str(len(body))))).status_code == 200
    whole = {"when_short": "clamp", "when_away": "serve", "away_seconds": 60, "away_tokens": 2_000}
    assert await get(api, "/policy") == whole
    assert (await api.patch(f"{AT}/policy", json={"when_short": "whatever"}, headers=key())).status_code == 400
