"""Channels, subscriptions and deliveries by the answers of the API; on both databases."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import sqlalchemy

from tests.api.platform import OTHER, OWN, Platform, key
from tests.api.test_resources import AT, get, post
from tokenwell.service.access.scopes import MEMBER_SCOPES, Role, Scope
from tokenwell.service.notices.subscriptions import ChannelKind
from tokenwell.store.reader import reading

HOOK: dict[str, Any] = {"kind": "webhook", "target": "https://hooks.acme.example/ai?token=abc", "name": "Backend"}


async def test_a_webhook_is_added_once_and_its_key_told_once(api: httpx2.AsyncClient) -> None:
    added = await post(api, "/channels", HOOK, key="hook")
    channel = added["channel"]
    assert added["secret"].startswith("whsec_")
    assert (channel["kind"], channel["name"], channel["target"]) == ("webhook", "Backend", "https://hooks.acme.example/ai")
    assert (channel["events"], channel["language"], channel["zone"], channel["disabled_at"]) == (None, "en", "UTC", None)
    again = await api.post(f"{AT}/channels", json=HOOK, headers=key("hook"))
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.json() == {"channel": channel, "secret": None}
    other = await api.post(f"{AT}/channels", json=HOOK | {"target": "https://hooks.acme.example/b"}, headers=key("hook"))
    assert (other.status_code, other.json()["details"]["field"]) == (409, "target")
    listed = await get(api, "/channels")
    assert listed["items"] == [channel]
    assert added["secret"] not in str(listed)
    assert await get(api, f"/channels/{channel['id']}") == channel


async def test_a_key_is_replaced_once_under_one_idempotency_key(api: httpx2.AsyncClient) -> None:
    added = await post(api, "/channels", HOOK)
    path = f"/channels/{added['channel']['id']}/rotate"
    first = await post(api, path, status=200, key="rotate")
    assert first["secret"].startswith("whsec_")
    assert first["secret"] != added["secret"]
    assert (await post(api, path, status=200, key="rotate"))["secret"] is None
    assert (await post(api, path, status=200))["secret"] not in (None, first["secret"])
    mail = await post(api, "/channels", {"kind": "email", "target": "ops@acme.example"})
    assert mail["secret"] is None
    refused = await api.post(f"{AT}/channels/{mail['channel']['id']}/rotate", headers=key())
    assert (refused.status_code, refused.json()["details"]["field"]) == (400, "channel_id")


async def test_the_address_of_a_chat_is_nowhere_to_be_read(api: httpx2.AsyncClient, platform: Platform) -> None:
    body = {"kind": "slack", "target": "https://hooks.slack.example/services/T0/B0/verysecret"}
    added = await post(api, "/channels", body)
    assert added["channel"]["target"] == "https://hooks.slack.example/…"
    inspected = sqlalchemy.inspect(platform.meter.engine)
    with reading(platform.meter.engine) as connection:
        for table in inspected.get_table_names():
            rows = connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"')).all()
            assert "verysecret" not in str(
                [[bytes(each) if isinstance(each, memoryview) else each for each in row] for row in rows]
            )


async def test_a_subscription_is_set_as_a_whole(api: httpx2.AsyncClient, platform: Platform) -> None:
    channel = (await post(api, "/channels", HOOK | {"quiet_from": "22:00", "quiet_until": "07:30"}))["channel"]
    assert (channel["quiet_from"], channel["quiet_until"]) == ("22:00", "07:30")
    path = f"{AT}/channels/{channel['id']}/subscription"
    wishes = {"events": ["topup.requested", "state.ai_stopped"], "language": "zh", "zone": "Asia/Shanghai", "digest_at": "09:05"}
    first, again = [(await api.put(path, json=wishes, headers=key())).json() for _ in range(2)]
    assert first == again
    assert (first["events"], first["language"], first["zone"]) == (
        ["state.ai_stopped", "topup.requested"], "zh", "Asia/Shanghai",
    )  # fmt: skip
    assert (first["digest_at"], first["quiet_from"], first["name"]) == ("09:05", None, "Backend")
    acts = platform.suite.audit.list(OWN).items
    assert [line.act.action for line in acts if line.act.action.startswith("channel")] == ["channel.change", "channel.add"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"target": "https://127.0.0.1/"}, None), ({"target": "http://hooks.acme.example/"}, "target"),
        ({"target": "https://[::1"}, "target"), ({"kind": "email"}, "target"), ({"kind": "own"}, "kind"),
        ({"events": ["pack.lost"]}, "events"), ({"zone": "Mars/Base"}, "zone"), ({"language": "xx"}, "language"),
        ({"quiet_from": "22:00"}, "schedule"), ({"digest_at": "24:00"}, "digest_at"), ({"colour": "red"}, "colour"),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_refused_and_adds_nothing(
    api: httpx2.AsyncClient, wrong: dict[str, Any], field: str | None
) -> None:
    refused = await api.post(f"{AT}/channels", json=HOOK | wrong, headers=key())
    assert (refused.status_code, refused.json()["details"].get("field")) == (400, field), refused.text
    assert (await get(api, "/channels"))["items"] == []


async def test_a_test_is_queued_once_under_one_key_and_listed(api: httpx2.AsyncClient) -> None:
    channel = (await post(api, "/channels", HOOK))["channel"]
    at = f"/channels/{channel['id']}"
    sent = await post(api, f"{at}/test", status=200, key="test")
    assert (sent["kind"], sent["status"], sent["channel_id"], sent["event_id"]) == ("test", "due", channel["id"], None)
    assert await post(api, f"{at}/test", status=200, key="test") == sent
    second = await post(api, f"{at}/test", status=200)
    first_page = await get(api, f"{at}/deliveries", limit=1)
    last_page = await get(api, f"{at}/deliveries", limit=1, cursor=first_page["next_cursor"])
    assert {each["id"] for each in (*first_page["items"], *last_page["items"])} == {sent["id"], second["id"]}
    assert last_page["next_cursor"] is None
    assert (await get(api, f"{at}/deliveries", status="dead"))["items"] == []
    assert await get(api, f"{at}/deliveries/{sent['id']}") == {"delivery": sent, "attempts": []}
    assert await post(api, f"{at}/deliveries/{sent['id']}/replay", status=200) == sent
    other = (await post(api, "/channels", HOOK))["channel"]
    wrong = await api.get(f"{AT}/channels/{other['id']}/deliveries/{sent['id']}")
    assert (wrong.status_code, wrong.json()["code"]) == (404, "delivery_not_found")


async def test_a_channel_is_disabled_enabled_and_removed(api: httpx2.AsyncClient) -> None:
    at = f"/channels/{(await post(api, '/channels', HOOK))['channel']['id']}"
    disabled = await post(api, f"{at}/disable", status=200)
    assert disabled["disabled_at"] is not None
    assert await post(api, f"{at}/disable", status=200) == disabled
    assert (await post(api, f"{at}/enable", status=200))["disabled_at"] is None
    removed = [await api.delete(AT + at, headers=key("remove")) for _ in range(2)]
    assert [each.status_code for each in removed] == [200, 200]
    gone = await api.delete(AT + at, headers=key())
    assert (gone.status_code, gone.json()["code"]) == (404, "channel_not_found")
    assert (await get(api, "/channels"))["items"] == []


async def test_a_viewer_reads_and_a_stranger_sees_nothing(api: httpx2.AsyncClient, platform: Platform) -> None:
    channel = (await post(api, "/channels", HOOK))["channel"]
    theirs = platform.suite.subscriptions.add_channel(OTHER, kind=ChannelKind.EMAIL, target="ops@globex.example").channel
    secrets = {
        201: platform.issue(MEMBER_SCOPES[Role.ORGANIZATION_ADMIN], OWN),
        403: platform.issue(MEMBER_SCOPES[Role.VIEWER], OWN),
        404: platform.issue(MEMBER_SCOPES[Role.ORGANIZATION_ADMIN], OTHER),
    }
    for status, secret in secrets.items():
        async with platform.client(secret) as client:
            assert (await client.post(f"{AT}/channels", json=HOOK, headers=key())).status_code == status
            read = await client.get(f"{AT}/channels/{channel['id']}")
            assert read.status_code == (404 if status == 404 else 200)
    wrong = await api.get(f"{AT}/channels/{theirs.id}")
    assert (wrong.status_code, wrong.json()["code"]) == (404, "channel_not_found")


async def test_the_platforms_channels_stand_under_a_dash_and_keys_of_one_organization_do_not_see_them(
    api: httpx2.AsyncClient, platform: Platform
) -> None:
    at = "/v1/organizations/-/channels"
    added = await api.post(at, json={"kind": "email", "target": "ops@example.com"}, headers=key("platform"))
    assert added.status_code == 201, added.text
    channel = added.json()["channel"]
    assert channel["organization_id"] == ""
    again = await api.post(at, json={"kind": "email", "target": "ops@example.com"}, headers=key("platform"))
    assert again.json() == added.json()
    assert (await api.get(at)).json()["items"] == [channel]
    assert (await get(api, "/channels"))["items"] == []
    sent = (await api.post(f"{at}/{channel['id']}/test", headers=key())).json()
    assert (await api.get(f"{at}/{channel['id']}/deliveries/{sent['id']}")).json()["delivery"] == sent
    async with platform.client(platform.issue(Scope, OWN)) as own:
        for method, path in (("GET", at), ("GET", f"{at}/{channel['id']}"), ("POST", f"{at}/{channel['id']}/test")):
            answer = await own.request(method, path, headers=key())
            assert (answer.status_code, answer.json()["code"]) == (404, "organization_not_found")
    assert (await api.get("/v1/organizations/-/events")).status_code == 404


async def test_what_a_member_is_told_of_is_read_and_set(api: httpx2.AsyncClient, platform: Platform) -> None:
    people = platform.suite.people
    mei = people.create_person(email="mei@example.com", password="correct horse battery")
    people.keep_profile(mei.id, name="Mei", language="zh", zone="Asia/Shanghai")
    path = f"/members/{mei.id}/subscription"
    missing = await api.get(AT + path)
    assert (missing.status_code, missing.json()["code"]) == (404, "person_not_found")
    people.add_member(OWN, mei.id, "organization_admin")
    first = await get(api, path)
    assert (first["language"], first["zone"], first["is_default"]) == ("zh", "Asia/Shanghai", True)
    assert "state.ai_stopped" in first["events"]
    wishes = {"events": ["pack.granted"], "language": "zh", "zone": "Asia/Shanghai", "digest_at": "08:00"}
    changed = await api.put(AT + path, json=wishes, headers=key())
    assert changed.json() == await get(api, path)
    told = changed.json()
    assert (told["events"], told["digest_at"], told["is_default"]) == (["pack.granted"], "08:00", False)
    assert "member.subscription" in [line.act.action for line in platform.suite.audit.list(OWN).items]
    refused = await api.put(AT + path, json=wishes | {"zone": "Mars/Base"}, headers=key())
    assert (refused.status_code, refused.json()["details"]["field"]) == (400, "zone")
    assert (await api.get(f"/v1/organizations/-/members/{mei.id}/subscription")).status_code == 404
