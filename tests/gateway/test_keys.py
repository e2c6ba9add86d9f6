"""What a key allows, at the gateway: its service, its models, its uses."""

from __future__ import annotations

from tests.gateway.conftest import House, asked
from tokenwell.service.access.services import Services


async def test_a_services_key_is_charged_under_its_service_with_its_defaults(house: House) -> None:
    services = Services(house.meter, changed=house.keys.forget_service)
    service = services.create("acme", name="Tagging", default_session="nightly", default_reason="Tag").service
    secret = house.keys.create("acme", name="one", service_id=service.id).secret
    async with house.ask(secret=secret) as answer:
        assert answer.status == 200
    async with house.ask(secret=secret, x_tokenwell_reason="Own") as answer:
        assert answer.status == 200
    told = [(line.entry.service_id, line.entry.session, line.entry.reason) for line in house.lines()]
    assert told == [(service.id, "nightly", "Own"), (service.id, "nightly", "Tag")]


async def test_a_disabled_service_is_refused_before_anything_is_held(house: House) -> None:
    services = Services(house.meter, changed=house.keys.forget_service)
    service = services.create("acme", name="Tagging").service
    secret = house.keys.create("acme", name="one", service_id=service.id).secret
    services.disable("acme", service.id)
    async with house.ask(secret=secret) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "service_disabled")
    services.enable("acme", service.id)
    async with house.ask(secret=secret) as answer:
        assert answer.status == 200


async def test_a_model_or_a_use_that_the_key_does_not_allow_is_a_403(house: House) -> None:
    narrow = house.keys.create("acme", name="one", models=["other-*"]).secret
    async with house.ask(secret=narrow) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "model_not_allowed")
    reading = house.keys.create("acme", name="two", scopes=["models"]).secret
    async with house.ask(secret=reading) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "scope_missing")
    allowed = house.keys.create("acme", name="three", models=["fake-*"], scopes=["generate"]).secret
    async with house.ask(asked(), secret=allowed) as answer:
        assert answer.status == 200
    headers = {"authorization": f"Bearer {allowed}"}
    async with house.session.get(f"{house.address}/v1/models", headers=headers) as answer:
        assert answer.status == 403
    assert house.balance().held_tokens == 0
