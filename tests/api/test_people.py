"""Members, events and the audit log, by the answers of the API; on both databases."""

from __future__ import annotations

import json

import httpx2

from tests.api.platform import OTHER, OWN, Platform, key

AT = f"/v1/organizations/{OWN}"


async def test_members_have_a_role_and_the_last_administrator_stays(api: httpx2.AsyncClient, platform: Platform) -> None:
    people = platform.suite.people
    boss, guest = [
        people.create_person(email=f"{name}@acme.example", password="long enough 123", name=name) for name in ("Bo", "Gu")
    ]
    people.add_member(OWN, boss.id, "organization_admin")
    people.add_member(OWN, guest.id, "viewer")
    listed = (await api.get(f"{AT}/members")).json()["items"]
    assert [(each["name"], each["role"]) for each in listed] == [("Bo", "organization_admin"), ("Gu", "viewer")]
    refused = await api.put(f"{AT}/members/{boss.id}", json={"role": "viewer"}, headers=key())
    assert (refused.status_code, refused.json()["code"]) == (409, "last_administrator")
    raised = await api.put(f"{AT}/members/{guest.id}", json={"role": "organization_admin"}, headers=key())
    assert raised.json()["role"] == "organization_admin"
    removed = [(await api.delete(f"{AT}/members/{boss.id}", headers=key())).json() for _ in range(2)]
    assert [each["was_member"] for each in removed] == [True, False]
    assert (await api.delete(f"{AT}/members/{guest.id}", headers=key())).json()["code"] == "last_administrator"


async def test_acts_and_events_tell_what_was_done(api: httpx2.AsyncClient) -> None:
    await api.post(f"{AT}/packs", json={"amount": 5, "note": "Extra"}, headers=key())
    await api.put(f"{AT}/packs/PK-2/note", json={"note": "Paid"}, headers=key())
    await api.post(f"{AT}/packs/PK-1/revoke", json={}, headers=key())
    acts = (await api.get(f"{AT}/acts", params={"action": "pack", "limit": 10})).json()["items"]
    assert [each["action"] for each in acts[:2]] == ["pack.revoke", "pack.note"]
    assert (acts[1]["before"], acts[1]["after"]) == ({"note": "Extra"}, {"note": "Paid"})
    assert {each["actor_kind"] for each in acts[:3]} == {"platform_key"}
    streamed = (await api.get(f"{AT}/acts", params={"action": "pack", "format": "ndjson"})).text.splitlines()
    assert [json.loads(line)["id"] for line in streamed] == [each["id"] for each in acts]
    everywhere = (await api.get("/v1/acts", params={"limit": 1_000})).json()["items"]
    assert {each["organization_id"] for each in everywhere} >= {OWN, OTHER}
    events = (await api.get(f"{AT}/events")).json()["items"]
    assert "pack.revoked" in [each["kind"] for each in events]
    assert all(each["organization_id"] == OWN for each in events)
