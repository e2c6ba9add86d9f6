"""Members, events and the audit log, by the answers of the API; on both databases."""

from __future__ import annotations

import json

import httpx2
import pytest

from tests.api.platform import OTHER, OWN, Platform, key
from tokenwell.errors import LinkInvalid

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


async def test_somebody_is_invited_once_again_and_not_any_more(api: httpx2.AsyncClient, platform: Platform) -> None:
    body = {"email": "mei@acme.example", "role": "organization_admin"}
    made, again = [await api.post(f"{AT}/invitations", json=body, headers=key("mei")) for _ in range(2)]
    invitation = made.json()["invitation"]
    assert (made.status_code, made.json()["is_sent"], again.json()) == (201, False, made.json() | {"address": ""})
    assert made.json()["address"].startswith("http://127.0.0.1:")
    token = made.json()["address"].rpartition("token=")[2]
    assert (invitation["role"], invitation["invited_by"]) == ("organization_admin", "Backend")
    assert (await api.get(f"{AT}/invitations")).json() == {"items": [invitation], "next_cursor": None}
    assert platform.suite.invitations.find(token)[0].id == invitation["id"]
    at = f"{AT}/invitations/{invitation['id']}"
    fresh = (await api.post(f"{at}/resend", json={}, headers=key())).json()["address"].rpartition("token=")[2]
    assert platform.suite.invitations.find(fresh)[0].id == invitation["id"]
    with pytest.raises(LinkInvalid):
        platform.suite.invitations.find(token)
    assert (await api.delete(at, headers=key("end"))).json() == {"invitation_id": invitation["id"]}
    assert (await api.delete(at, headers=key("end"))).headers["idempotent-replayed"] == "true"
    for method, path in (("DELETE", at), ("POST", f"{at}/resend")):
        answer = await api.request(method, path, json={} if method == "POST" else None, headers=key())
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await api.get(f"{AT}/invitations")).json()["items"] == []
    for wrong in (
        {"email": "no address"},
        {"email": "a@b.example", "role": "platform_admin"},
        {"email": "a@b.example", "language": "xx"},
    ):
        assert (await api.post(f"{AT}/invitations", json=wrong, headers=key())).status_code == 400


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
