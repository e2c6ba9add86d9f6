"""Every write of the document is done once for each idempotency key: sent again it gives the first answer, and other input is a
conflict. The operations come from the document itself; one that cannot be tried here fails."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
import sqlalchemy

from tests.api.platform import OWN, Platform, key
from tests.api.requests import DOCUMENT, Operation, operations
from tests.api.things import Things
from tokenwell.client.purchases import Purchase
from tokenwell.client.shapes import Shape
from tokenwell.service.access.writes import LEASE
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
    names = things.names(operation)
    names["organization_id"] = "low" if operation.id == "take_emergency_tokens" else OWN
    path, body, headers = operation.path.format(**names), things.body(operation), key()
    first, again = [await api.request(operation.method, path, json=body, headers=headers) for _ in range(2)]
    assert first.is_success, (operation.id, first.text)
    told = (again.status_code, again.headers.get("idempotent-replayed"), first.headers.get("idempotent-replayed"))
    assert told == (first.status_code, "true", None), operation.id
    answer = first.json()
    told_once = ("secret", "codes") if operation.id == "start_purchase" else ("secret", "codes", "address")
    once = {name: None for name in told_once if isinstance(answer.get(name), str | list)}
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


async def test_every_write_is_done_once_for_each_key(seller: Platform) -> None:
    things, secrets = Things(seller), list[str]()
    seller.meter.create_organization("low")
    seller.meter.grant("low", 500)
    async with seller.client() as api:
        for operation in WRITES:
            secrets += await done_twice(api, things, operation)
    with reading(seller.meter.engine) as connection:
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


async def test_many_that_write_the_same_at_once_are_one(api: httpx2.AsyncClient, platform: Platform) -> None:
    """With one key and one input there is one act and one answer; with other input beside it, one of them is done."""
    platform.suite.services.create(OWN, name="Support", service_id="support")
    at, headers = f"{AT}/services/support", key()
    answers = await asyncio.gather(*(api.patch(at, json={"name": "Help"}, headers=headers) for _ in range(8)))
    assert {each.status_code for each in answers} <= {200, 503}
    assert {each.json()["name"] for each in answers if each.status_code == 200} == {"Help"}
    assert {each.headers["retry-after"] for each in answers if each.status_code == 503} <= {"2"}
    assert (await api.patch(at, json={"name": "Help"}, headers=headers)).headers["idempotent-replayed"] == "true"
    assert [line.act.action for line in platform.suite.audit.list(OWN).items].count("service.update") == 1
    headers = key()
    mixed = await asyncio.gather(*(api.patch(at, json={"name": f"N{number % 2}"}, headers=headers) for number in range(8)))
    done = {each.json()["name"] for each in mixed if each.status_code == 200}
    assert len(done) == 1
    assert {each.json()["details"]["field"] for each in mixed if each.status_code == 409} == {"name"}
    assert (await api.get(at)).json()["name"] in done


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
    early = await api.post(f"{AT}/services/support/disable", headers=key("k"))
    assert (early.status_code, early.json()["code"], early.json()["retryable"]) == (503, "store_busy", True)
    platform.clock.advance(LEASE)
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
        if ({"secret", "address"} & set(fields) and shape is not Purchase) or fields.get("codes", "int") != "int":
            assert "told_again" in vars(shape), shape
            found.add(shape.__name__)
    assert found == {"GatewayKeyCreated", "PlatformKeyCreated", "ChannelWithSecret", "CodesMade", "Invited", "EmbeddingLink"}
