"""AI services and keys, by the answers of the API; on both databases."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.api.platform import OWN, Platform, key
from tokenwell.service.access.scopes import Scope

AT = f"/v1/organizations/{OWN}"


async def write(api: httpx2.AsyncClient, path: str, body: Any = None, method: str = "POST") -> dict[str, Any]:
    """Write something and return the answer."""
    answer = await api.request(method, path, json=body, headers=key())
    assert answer.is_success, answer.text
    return dict(answer.json())


async def test_a_services_life(api: httpx2.AsyncClient, platform: Platform) -> None:
    service = await write(api, f"{AT}/services", {"name": "Support", "id": "support", "lane": "background", "reserve": "1k"})
    assert (service["id"], service["status"], service["reserve_tokens"]) == ("support", "active", 1_000)
    changed = await write(api, f"{AT}/services/support", {"reserve": None, "name": "Help"}, "PATCH")
    assert (changed["name"], changed["reserve_tokens"], changed["lane"]) == ("Help", None, "background")
    assert (await write(api, f"{AT}/services/support/disable"))["status"] == "disabled"
    assert (await write(api, f"{AT}/services/support/enable"))["status"] == "active"
    assert (await api.get(f"{AT}/services")).json()["items"] == [(await api.get(f"{AT}/services/support")).json()]
    await write(api, f"{AT}/packs/PK-1/revoke", {})
    assert (await api.get(f"{AT}/services/support")).json()["status"] == "restricted"
    refused = await api.post(f"{AT}/services", json={"name": "Another"}, headers=key())
    assert (refused.status_code, refused.json()["code"]) == (402, "ai_stopped")


async def test_a_keys_secret_is_told_once_and_its_limits_hold(api: httpx2.AsyncClient, platform: Platform) -> None:
    await write(api, f"{AT}/services", {"name": "Support", "id": "support"})
    body = {"name": "Bot", "service_id": "support", "tokens_per_day": 100, "models": ["small*"]}
    headers = key()
    created, again = [(await api.post(f"{AT}/keys", json=body, headers=headers)) for _ in range(2)]
    assert (again.json()["secret"], again.headers["idempotent-replayed"]) == ("", "true")
    told = created.json()["key"]
    assert (again.json()["key"], told["service_id"], told["tokens_per_day"]) == (told, "support", 100)
    async with platform.client(created.json()["secret"]) as bot:
        await write(bot, f"{AT}/debits", {"amount": 60, "model": "small-1"})
        reached = await bot.post(f"{AT}/debits", json={"amount": 60, "model": "small-1"}, headers=key())
        assert (reached.status_code, reached.json()["code"]) == (429, "limit_reached")
        other = await bot.post(f"{AT}/holds", json={"amount": 60}, headers=key())
        assert other.json()["code"] == "limit_reached"
        large = await bot.post(f"{AT}/debits", json={"amount": 1, "model": "large"}, headers=key())
        assert (large.status_code, large.json()["code"]) == (403, "model_not_allowed")
        (line,) = (await bot.get(f"{AT}/ledger", params={"service": "support"})).json()["items"]
        assert (line["key_id"], line["service_id"]) == (told["id"], "support")
        changed = await write(api, f"{AT}/keys/{told['id']}", {"tokens_per_day": None, "scopes": ["embed"]}, "PATCH")
        assert (changed["tokens_per_day"], changed["models"]) == (None, ["small*"])
        refused = await bot.post(f"{AT}/debits", json={"amount": 1}, headers=key())
        assert refused.json()["code"] == "scope_missing"
        assert (await write(api, f"{AT}/keys/{told['id']}/revoke"))["revoked_at"] is not None
        assert (await bot.get(f"{AT}/balance")).json()["code"] == "key_revoked"
    found = await api.get(f"{AT}/keys", params={"service_id": "support"})
    assert [each["id"] for each in found.json()["items"]] == [told["id"]]
    assert (await api.get(f"{AT}/keys/{told['id']}")).json()["prefix"] == told["prefix"]


async def test_a_lane_leaves_tokens_to_others_on_holds_and_debits(api: httpx2.AsyncClient, platform: Platform) -> None:
    """By its body, and at least what the AI service of the key says."""
    await write(api, f"{AT}/services", {"name": "Reports", "id": "reports", "lane": "background", "reserve": 999_000})
    created = await write(api, f"{AT}/keys", {"name": "Bot", "service_id": "reports"})
    async with platform.client(created["secret"]) as bot:
        for asked, path, body, lane in (
            (api, "holds", {"reserve_tokens": "999,500", "lane": "night"}, "night"),
            (api, "debits", {"reserve_tokens": 999_500}, None),
            (bot, "holds", {}, "Reports"), (bot, "debits", {}, "Reports"),
            (bot, "debits", {"reserve_tokens": 5, "lane": "x"}, "Reports"),
            (bot, "holds", {"reserve_tokens": 999_500, "lane": "night"}, "night"),
        ):  # fmt: skip
            refused = await asked.post(f"{AT}/{path}", json={"amount": 2_000, **body}, headers=key())
            assert (refused.status_code, refused.json()["code"]) == (429, "balance_held"), refused.text
            assert refused.json()["details"].get("lane") == lane
        batch = await write(
            bot, f"{AT}/debits/batch", {"debits": [{"amount": 2_000}, {"amount": 300}, {"amount": 1, "reserve_tokens": "lots"}]}
        )
        assert [each["problem"] and each["problem"]["code"] for each in batch["items"]] == ["balance_held", None, "amount_invalid"]
        hold = await write(bot, f"{AT}/holds", {"amount": 100})
        grown = await bot.post(f"{AT}/holds/{hold['id']}/extend", json={"more_tokens": 700}, headers=key())
        assert grown.json()["details"]["lane"] == "Reports"
        assert (await write(api, f"{AT}/holds/{hold['id']}/extend", {"more_tokens": 700}))["held_tokens"] == 800
    assert (await write(api, f"{AT}/debits", {"amount": 500_000}))["state"] == "normal"


async def test_a_platform_key_issues_no_more_than_it_may(api: httpx2.AsyncClient, platform: Platform) -> None:
    body = {"name": "Billing", "scopes": ["packs:read"], "organization_id": OWN}
    created = await write(api, "/v1/platform-keys", body)
    async with platform.client(created["secret"]) as billing:
        assert (await billing.get(f"{AT}/balance")).status_code == 200
        assert (await billing.get("/v1/platform-keys")).status_code == 403
        revoked = await write(api, f"/v1/platform-keys/{created['key']['id']}/revoke")
        assert revoked["revoked_at"] is not None
        assert (await billing.get(f"{AT}/balance")).status_code == 401
    assert created["key"]["id"] in [each["id"] for each in (await api.get("/v1/platform-keys")).json()["items"]]
    async with platform.client(platform.issue([Scope.PLATFORM_WRITE, Scope.PACKS_READ])) as lesser:
        for scope, status in (("packs:read", 201), ("packs:write", 403), ("everything", 400)):
            answer = await lesser.post("/v1/platform-keys", json={"name": "More", "scopes": [scope]}, headers=key())
            assert answer.status_code == status, answer.text
