"""Every write of the document is done once for each idempotency key: sent again it gives the first answer, and other input is a
conflict. The operations come from the document itself; one that cannot be tried here fails."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import httpx2
import pytest
import sqlalchemy

from tests.api.platform import OWN, Platform, key
from tests.api.requests import DOCUMENT, Operation, operations
from tokenwell.client.shapes import Shape
from tokenwell.core.happenings import SYSTEM
from tokenwell.service.access.scopes import Scope
from tokenwell.service.notices.subscriptions import ChannelKind
from tokenwell.store.reader import reading

AT = f"/v1/organizations/{OWN}"
WRITES = [operation for operation in operations() if operation.method != "GET"]
IN_THE_JOURNAL = {
    "open_hold", "extend_hold", "settle_hold", "release_hold", "debit", "debit_batch", "refund", "grant_pack", "revoke_pack",
    "extend_pack", "take_emergency_tokens",
}  # fmt: skip
"""What has its keys in the ledger's own tables, and tests of its own for other input."""

OTHER = {
    "note": "Other", "name": "Other", "answer": "Other", "reason": "Other", "amount": 7, "reserve": 7, "role": "organization_admin",
    "language": "zh", "zone": "Asia/Tokyo", "output_millionths": 7, "code": "22222-22222-22222-22223",
}  # fmt: skip
"""Other values, by the name of the field."""


class Things:
    """Makes what the address or the body of an operation names, anew for each."""

    def __init__(self, platform: Platform) -> None:
        self.suite = platform.suite
        self.meter = platform.meter
        self.count = 0

    def named(self, name: str, operation: Operation) -> str:
        """Return the id of a thing that an address names."""
        self.count += 1
        if name == "key_id" and "platform" in operation.id:
            return self.suite.platform_keys.create(name="More", scopes=[Scope.PACKS_READ]).key.id
        make: Callable[[], str] = getattr(self, name)
        return make()

    def pack(self) -> str:
        """Return the id of a new pack."""
        return self.meter.grant(OWN, 5, expires_at=None if self.count % 2 else self.meter.clock().replace(year=2029)).pack.id

    def hold_id(self) -> str:
        """Return the id of an open hold."""
        return self.meter.open_hold(OWN, 5).hold.id

    def service_id(self) -> str:
        """Return the id of a new service."""
        return self.suite.services.create(OWN, name=f"Service {self.count}").service.id

    def key_id(self) -> str:
        """Return the id of a new gateway key."""
        return self.suite.keys.create(OWN, name="More").key.id

    def topup_id(self) -> str:
        """Return the id of an open request for tokens."""
        return self.suite.topups.ask(OWN, 5, by=SYSTEM).id

    def schedule_id(self) -> str:
        """Return the id of a recurring grant."""
        return self.suite.schedules.create(OWN, 5, unit="month", first_day=date(2099, 1, 1), by=SYSTEM).id

    def batch_id(self) -> str:
        """Return the id of a batch of codes."""
        return self.suite.codes.create(5, 1, by=SYSTEM).batch.id

    def request_id(self) -> str:
        """Return the id of a charged request."""
        return self.meter.debit(OWN, 5).request_id

    def dispute_id(self) -> str:
        """Return the id of an open dispute."""
        return self.suite.disputes.open(OWN, self.request_id(), note="Why?", by=SYSTEM).id

    def channel_id(self) -> str:
        """Return the id of a webhook."""
        target = f"https://hooks.acme.example/{self.count}"
        self.channel = self.suite.subscriptions.add_channel(OWN, kind=ChannelKind.WEBHOOK, target=target).channel.id
        return self.channel

    def delivery_id(self) -> str:
        """Return the id of a delivery of the last webhook."""
        return self.suite.subscriptions.test(OWN, self.channel).id

    def person_id(self) -> str:
        """Return the id of a member."""
        person = self.suite.people.create_person(email=f"p{self.count}@acme.example", password="long enough 123", name="P")
        self.suite.people.add_member(OWN, person.id, "viewer")
        return person.id

    def invitation_id(self) -> str:
        """Return the id of an open invitation."""
        email = f"i{self.count}@acme.example"
        return self.suite.invitations.invite(OWN, email=email, role="viewer", address_of=str).invitation.id

    def body(self, operation: Operation) -> Any:
        """Return a body that can be used: the example's, but for what names a thing."""
        if operation.id == "create_organization":
            return {"id": "initech", "name": "Initech"}
        if operation.id == "redeem_code":
            return {"code": self.suite.codes.create(5, 1, by=SYSTEM).codes[0]}
        if operation.body is not None and "request_id" in operation.body:
            return operation.body | {"request_id": self.request_id()}
        return operation.body


def other_body(operation: Operation, body: Any) -> tuple[str, Any] | None:
    """Return a field of the body, and a body in which that one is different; None where there is no such field."""
    if body is None:
        return None
    schema = next(each for path, each in DOCUMENT["paths"].items() if path == operation.path)[operation.method.lower()]
    reference = schema["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    fields = DOCUMENT["components"]["schemas"][reference]["properties"]
    found = next((name for name in OTHER if name in fields and body.get(name) != OTHER[name]), None)
    return None if found is None else (found, body | {found: OTHER[found]})


async def done_twice(api: httpx2.AsyncClient, things: Things, operation: Operation) -> list[str]:
    """Do a write, send it again, and with other input where that is to be a conflict; returns the secrets it dealt with."""
    parts = [part.strip("{}") for part in operation.path.split("/") if part.startswith("{")]
    names = {name: things.named(name, operation) for name in parts if name != "organization_id"}
    names["organization_id"] = "low" if operation.id == "take_emergency_tokens" else OWN
    path, body, headers = operation.path.format(**names), things.body(operation), key()
    first, again = [await api.request(operation.method, path, json=body, headers=headers) for _ in range(2)]
    assert first.is_success, (operation.id, first.text)
    told = (again.status_code, again.headers.get("idempotent-replayed"), first.headers.get("idempotent-replayed"))
    assert told == (first.status_code, "true", None), operation.id
    answer = first.json()
    once = {name: None for name in ("secret", "codes", "address") if isinstance(answer.get(name), str | list)}
    if operation.id != "debit_batch":  # there each debit says it of itself
        assert again.json() | once == answer | once, operation.id
    if operation.id not in IN_THE_JOURNAL:
        changed = other_body(operation, body)
        if changed is not None:
            other = await api.request(operation.method, path, json=changed[1], headers=headers)
            assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict"), (operation.id, other.text)
            assert other.json()["details"]["field"] == changed[0], operation.id
        is_of_platform = "{organization_id}" not in operation.path
        elsewhere = "/v1/platform-keys/nothing/revoke" if is_of_platform else f"{AT}/services/nothing/enable"
        other = await api.post(elsewhere, headers=headers)
        assert other.json()["details"].get("field") in ("operation", *names), (operation.id, other.text)
    secrets = [answer[name] for name in once if name != "codes" and answer[name]] + [
        code for name in once if name == "codes" for code in answer[name]
    ]
    return [*secrets, body["code"]] if operation.id == "redeem_code" else secrets


async def test_every_write_is_done_once_for_each_key(api: httpx2.AsyncClient, platform: Platform) -> None:
    things, secrets = Things(platform), list[str]()
    platform.meter.create_organization("low")
    platform.meter.grant("low", 500)
    for operation in WRITES:
        secrets += await done_twice(api, things, operation)
    with reading(platform.meter.engine) as connection:
        rows = connection.execute(sqlalchemy.text("SELECT given, answer FROM api_write")).all()
    assert len(rows) == len([each for each in WRITES if each.id not in IN_THE_JOURNAL])
    stored = str([(given, bytes(answer)) for given, answer in rows])
    assert len(secrets) > 6
    assert [secret for secret in secrets if secret in stored] == []


async def test_the_first_answer_is_given_though_the_thing_has_changed(api: httpx2.AsyncClient, platform: Platform) -> None:
    platform.suite.services.create(OWN, name="Support", service_id="support")
    at, headers = f"{AT}/services/support", key()
    first = await api.patch(at, json={"name": "Help"}, headers=headers)
    assert (await api.patch(at, json={"name": "Desk"}, headers=key())).json()["name"] == "Desk"
    again = await api.patch(at, json={"name": "Help"}, headers=headers)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert (await api.get(at)).json()["name"] == "Desk"
    assert [line.act.action for line in platform.suite.audit.list(OWN).items].count("service.update") == 2


async def test_a_body_is_the_same_however_it_is_written(api: httpx2.AsyncClient) -> None:
    headers = key() | {"content-type": "application/json"}
    for text in (b'{"name":"Bot","models":null}', b' { "name" : "Bot" } '):
        answer = await api.post(f"{AT}/keys", content=text, headers=headers)
        assert answer.status_code == 201
    assert answer.headers["idempotent-replayed"] == "true"


async def test_a_refusal_is_not_kept(api: httpx2.AsyncClient, platform: Platform) -> None:
    headers = key()
    missing = await api.patch(f"{AT}/services/support", json={"name": "Help"}, headers=headers)
    assert missing.json()["code"] == "service_not_found"
    broken = await api.patch(f"{AT}/services/support", json={"name": 5}, headers=headers)
    assert broken.json()["details"]["field"] == "name"
    platform.suite.services.create(OWN, name="Support", service_id="support")
    done = await api.patch(f"{AT}/services/support", json={"name": "Desk"}, headers=headers)
    assert (done.status_code, done.json()["name"]) == (200, "Desk")
    assert "idempotent-replayed" not in done.headers


@pytest.mark.parametrize("was_done", [False, True])
async def test_a_write_whose_process_was_killed_is_completed_by_the_same_input_only(
    api: httpx2.AsyncClient, platform: Platform, was_done: bool
) -> None:
    """Killed before it acted, or between that and keeping the answer: a row that was begun is all that is left."""
    platform.suite.services.create(OWN, name="Support", service_id="support")
    given = {"operation": "disable_service", "organization_id": OWN, "service_id": "support"}
    assert platform.suite.writes.begin(OWN, "k", given) is None
    if was_done:
        platform.suite.services.disable(OWN, "support")
    other = await api.post(f"{AT}/services/support/enable", headers=key("k"))
    assert (other.status_code, other.json()["details"]) == (409, {"field": "operation"})
    first, again = [await api.post(f"{AT}/services/support/disable", headers=key("k")) for _ in range(2)]
    assert (first.status_code, first.json()["status"], first.content) == (200, "disabled", again.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert [line.act.action for line in platform.suite.audit.list(OWN).items].count("service.disable") == 1


def test_an_answer_that_tells_something_once_says_what_of_it_is_kept() -> None:
    """Whatever is called a secret, or is a list of codes, is left out of the answer given again."""
    shapes, found = [Shape], set[str]()
    while shapes:
        shape = shapes.pop()
        shapes += shape.__subclasses__()
        fields = {name: str(kind) for name, kind in vars(shape).get("__annotations__", {}).items()}
        if {"secret", "address"} & set(fields) or fields.get("codes", "int") != "int":
            assert "told_again" in vars(shape), shape
            found.add(shape.__name__)
    assert found == {"GatewayKeyCreated", "PlatformKeyCreated", "ChannelWithSecret", "CodesMade", "Invited"}
