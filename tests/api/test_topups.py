"""Forecast, top-up requests and schedules by the answers of the API; on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2

from tests.api.platform import OTHER, OWN, Platform, key
from tests.api.test_resources import AT, get, post
from tokenwell.service.access.scopes import MEMBER_SCOPES, Role, Scope


async def test_a_forecast_is_told_once_there_is_a_day_of_use(api: httpx2.AsyncClient, platform: Platform) -> None:
    told = await get(api, "/forecast")
    assert (told["is_known"], told["expected"], told["points"]) == (False, None, [])
    for _ in range(26):
        platform.meter.debit(OWN, 1_000)
        platform.clock.advance(timedelta(hours=1))
    told = await get(api, "/forecast")
    assert (told["is_known"], told["basis"], told["tokens_per_day"]) == (True, "mean", 24_000)
    assert told["early"]["ai_stops_at"] <= told["expected"]["ai_stops_at"] <= told["late"]["ai_stops_at"]
    assert told["expected"]["runway_seconds"] // 86_400 == 40
    assert told["points"][0]["balance_tokens"] == 974_000


async def test_a_request_is_asked_listed_and_approved(api: httpx2.AsyncClient, platform: Platform) -> None:
    asked = await post(api, "/topups", {"amount": "5M", "note": "Black Friday"}, key="ask")
    assert (asked["status"], asked["amount_tokens"], asked["asked_by"]) == ("open", 5_000_000, "Backend")
    assert await post(api, "/topups", {"amount": "5M", "note": "Black Friday"}, key="ask") == asked
    assert await post(api, "/topups", {"amount": 7}) == asked
    assert (await get(api, "/topups", status="open"))["items"] == [asked]
    assert (await api.get("/v1/topups")).json()["items"] == [asked]
    assert await get(api, f"/topups/{asked['id']}") == asked
    approved = await post(api, f"/topups/{asked['id']}/approve", {"amount": "6M"}, status=200)
    assert (approved["topup"]["status"], approved["pack"]["total_tokens"]) == ("approved", 6_000_000)
    assert approved["balance_tokens"] == 7_000_000
    again = await api.post(f"{AT}/topups/{asked['id']}/approve", json={"amount": "6M"}, headers=key())
    assert (again.status_code, again.headers["idempotent-replayed"], again.json()) == (200, "true", approved)
    other = await api.post(f"{AT}/topups/{asked['id']}/approve", json={"amount": "8M"}, headers=key())
    assert (other.status_code, other.json()["code"]) == (409, "topup_closed")
    assert await post(api, "/topups", {"amount": "5M", "note": "Black Friday"}, key="ask") == asked


async def test_a_request_is_declined_or_cancelled(api: httpx2.AsyncClient) -> None:
    asked = await post(api, "/topups", {"amount": 5})
    declined = await post(api, f"/topups/{asked['id']}/decline", {"reason": "Next month"}, status=200)
    assert (declined["status"], declined["reason"], declined["decided_by"]) == ("declined", "Next month", "Backend")
    asked = await post(api, "/topups", {"amount": 5})
    assert (await post(api, f"/topups/{asked['id']}/cancel", status=200))["status"] == "cancelled"
    without = await api.post(f"{AT}/topups", json={}, headers=key())
    assert (without.status_code, without.json()["details"]["field"]) == (400, "amount")


async def test_an_administrator_of_an_organization_asks_and_never_decides(api: httpx2.AsyncClient, platform: Platform) -> None:
    asked = await post(api, "/topups", {"amount": 5})
    administrator = platform.issue(MEMBER_SCOPES[Role.ORGANIZATION_ADMIN], OWN)
    viewer = platform.issue(MEMBER_SCOPES[Role.VIEWER], OWN)
    stranger = platform.issue(MEMBER_SCOPES[Role.ORGANIZATION_ADMIN], OTHER)
    expected = {
        administrator: {"ask": 201, "approve": 403, "decline": 403, "list": 200, "all": 403, "schedule": 403},
        viewer: {"ask": 403, "approve": 403, "decline": 403, "list": 200, "all": 403, "schedule": 403},
        stranger: {"ask": 404, "approve": 404, "decline": 404, "list": 404, "all": 403, "schedule": 404},
    }
    plan = {"amount": 5, "unit": "month", "first_day": "2099-01-31"}
    for secret, statuses in expected.items():
        async with platform.client(secret) as client:
            told = {
                "ask": await client.post(f"{AT}/topups", json={"amount": 5}, headers=key()),
                "approve": await client.post(f"{AT}/topups/{asked['id']}/approve", json={}, headers=key()),
                "decline": await client.post(f"{AT}/topups/{asked['id']}/decline", json={"reason": "no"}, headers=key()),
                "list": await client.get(f"{AT}/topups"),
                "all": await client.get("/v1/topups"),
                "schedule": await client.post(f"{AT}/schedules", json=plan, headers=key()),
            }
            assert {name: answer.status_code for name, answer in told.items()} == statuses
    assert (await get(api, f"/topups/{asked['id']}"))["status"] == "open"
    wrong = await api.get(f"/v1/organizations/{OTHER}/topups/{asked['id']}")
    assert (wrong.status_code, wrong.json()["code"]) == (404, "topup_not_found")
    assert Scope.TOPUPS_DECIDE not in MEMBER_SCOPES[Role.ORGANIZATION_ADMIN]


async def test_emergency_tokens_are_taken_once_while_the_balance_is_low(api: httpx2.AsyncClient, platform: Platform) -> None:
    administrator = platform.issue(MEMBER_SCOPES[Role.ORGANIZATION_ADMIN], OWN)
    body = {"amount": 500, "note": "Until Monday"}
    async with platform.client(administrator) as client:
        early = await client.post(f"{AT}/emergency", json=body, headers=key())
        assert (early.status_code, early.json()["code"]) == (409, "emergency_refused")
        platform.meter.debit(OWN, 999_500)
        more = await client.post(f"{AT}/emergency", json={"amount": 501}, headers=key())
        assert (more.status_code, more.json()["details"]["limit_tokens"]) == (400, 500)
        taken = await post(client, "/emergency", body, key="monday")
        assert (taken["pack"]["note"], taken["advanced_tokens"], taken["balance_tokens"]) == ("Until Monday", 500, 1_000)
        again = await client.post(f"{AT}/emergency", json=body, headers=key("monday"))
        assert (again.status_code, again.headers["idempotent-replayed"], again.json()) == (201, "true", taken)
        platform.meter.debit(OWN, 900)
        second = await client.post(f"{AT}/emergency", json={"amount": 1}, headers=key())
        assert (second.status_code, second.json()["details"]["overage_tokens"]) == (409, 500)
    assert (await get(api, "/balance"))["overage_tokens"] == 500


async def test_a_schedule_is_made_once_and_paused_resumed_and_ended(api: httpx2.AsyncClient) -> None:
    plan: dict[str, Any] = {
        "amount": "5M", "unit": "month", "first_day": "2027-02-28", "at": "09:00", "zone": "Europe/Berlin", "valid_days": 31,
    }  # fmt: skip
    made = await post(api, "/schedules", plan, key="plan")
    assert (made["amount_tokens"], made["at"], made["next_at"]) == (5_000_000, "09:00", "2027-02-28T08:00:00Z")
    assert await post(api, "/schedules", plan, key="plan") == made
    assert (await get(api, "/schedules"))["items"] == (await api.get("/v1/schedules")).json()["items"] == [made]
    path = f"/schedules/{made['id']}"
    changes: dict[str, Any] = {"amount": "6M", "valid_days": None}
    changed = await api.patch(f"{AT}{path}", json=changes, headers={"Idempotency-Key": "larger"})
    expected = made | {"amount_tokens": 6_000_000, "valid_days": None}
    assert (changed.status_code, changed.json()) == (200, expected)
    assert (await api.patch(f"{AT}{path}", json=changes, headers={"Idempotency-Key": "larger"})).json() == expected
    for wrong in ({"valid_days": 0}, {"last_day": "2027-01-01"}, {"every": 2}, {"amount": -1}):
        assert (await api.patch(f"{AT}{path}", json=wrong, headers=key())).status_code == 400, wrong
    assert await get(api, path) == expected
    assert (await post(api, f"{path}/pause", status=200))["paused_at"] is not None
    assert (await post(api, f"{path}/resume", status=200))["paused_at"] is None
    assert (await post(api, f"{path}/end", status=200))["next_at"] is None
    assert (await get(api, path))["ended_at"] is not None
    for wrong in ({"zone": "Nowhere"}, {"at": "25:00"}, {"unit": "year"}, {"every": 0}, {"amount": "0"}, {"first_day": "x"}):
        answer = await api.post(f"{AT}/schedules", json=plan | wrong, headers=key())
        assert answer.status_code == 400, answer.text


async def test_a_request_is_taken_back_by_its_own_key_or_an_administrators(platform: Platform) -> None:
    own, other = (platform.issue([Scope.TOPUPS_WRITE, Scope.TOPUPS_READ], OWN) for _ in range(2))
    administrator = platform.issue([Scope.TOPUPS_WRITE, Scope.MEMBERS_WRITE], OWN)
    path = f"/v1/organizations/{OWN}/topups"
    for taker in (own, administrator):
        async with platform.client(own) as asker, platform.client(other) as stranger, platform.client(taker) as entitled:
            asked = (await asker.post(path, json={"amount": "5M"}, headers=key())).json()
            refused = await stranger.post(f"{path}/{asked['id']}/cancel", headers=key())
            assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
            taken = await entitled.post(f"{path}/{asked['id']}/cancel", headers=key())
            assert (taken.status_code, taken.json()["status"]) == (200, "cancelled")
