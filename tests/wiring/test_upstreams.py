"""The providers that the settings name are those that are asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gateway.upstreams import FakeUpstream
from tests.wiring.test_application import ask, opened
from tokenwell.config import Settings
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.keys import Keys
from tokenwell.wiring import create_app, open_meter, serve

FILE = """
[providers.a]
kind = "openai_compatible"
base_url = "{url}"
[models.small]
targets = [{{ provider = "a", model = "s" }}]
"""


def secret_in(url: str) -> str:
    """Return the secret of a new key of a new organization in a database."""
    with open_meter(Settings(database_url=url), create=True) as meter:
        meter.create_organization("acme")
        keys = Keys(meter.engine, meter.clock)
        secret = keys.create("acme", name="test").secret
        keys.close()
    return secret


async def test_a_models_file_goes_before_a_single_provider_and_names_rates(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(FILE.format(url="http://127.0.0.1:9/v1"))
    secret = secret_in(sqlite_url)
    settings = Settings(database_url=sqlite_url, models_file=str(file), upstream_url="http://127.0.0.1:10/v1")
    async with opened(settings) as app:
        listed = await ask(app, "/v1/models", (b"authorization", f"Bearer {secret}".encode()))
        assert [each["id"] for each in json.loads(listed.body)["data"]] == ["small"]


async def test_a_single_provider_is_asked_for_its_own_models(sqlite_url: str) -> None:
    fake = FakeUpstream()
    await fake.start()
    secret = secret_in(sqlite_url)
    async with opened(Settings(database_url=sqlite_url, upstream_url=fake.url, upstream_api_key="sk-1")) as app:
        await ask(app, "/v1/models", (b"authorization", f"Bearer {secret}".encode()))
    assert (fake.requests[0].path, fake.requests[0].headers["authorization"]) == ("/v1/models", "Bearer sk-1")
    await fake.stop()


async def test_a_mistake_in_the_models_file_stops_the_start(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(FILE.format(url="example.com"))
    settings = Settings(database_url=sqlite_url, models_file=str(file), port=1)
    app = create_app(settings)
    with pytest.raises(RequestInvalid, match=r"line 4: providers\.a\.base_url"):
        await app.open()
    await app.close()
    with pytest.raises(RequestInvalid, match=r"line 4: providers\.a\.base_url"):
        serve(settings)
