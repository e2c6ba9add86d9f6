"""The models file while the server runs: changes come into force, mistakes change nothing, and what is under way goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.conftest import asked, house_on, until
from tests.gateway.upstreams import FakeUpstream, Reply, Request, plain
from tokenwell.errors import ModelNotFound, RequestInvalid
from tokenwell.gateway.models import Catalogue
from tokenwell.gateway.reloading import ReloadingRouter

FILE = """
[providers.a]
kind = "openai_compatible"
base_url = "@url"
[models.MODEL]
rated_as = "r"
targets = [{ provider = "a" }]
"""


@pytest.fixture
async def provider() -> AsyncIterator[FakeUpstream]:
    """A provider."""
    fake = FakeUpstream()
    await fake.start()
    yield fake
    await fake.stop()


class File:
    """A models file with one model, and what was told of it."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self._url = url
        self.told: list[Catalogue] = []
        self.write("one")
        self.router = ReloadingRouter(path, changed=self.told.append, look_seconds=0.01)

    def write(self, model: str, text: str = FILE) -> None:
        """Put another file in its place, as editors do."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text.replace("@url", self._url).replace("MODEL", model), encoding="utf-8")
        os.replace(fresh, self.path)

    def knows(self, model: str) -> bool:
        """Return whether a model can be asked."""
        try:
            self.router.check("/chat/completions", model)
        except ModelNotFound:
            return False
        return True


@pytest.fixture
async def file(tmp_path: Path, provider: FakeUpstream) -> AsyncIterator[File]:
    """A models file that is watched."""
    file = File(tmp_path / "models.toml", provider.url)
    await file.router.open()
    yield file
    await file.router.close()


async def test_a_change_comes_into_force_and_names_by_which_models_are_rated_too(file: File) -> None:
    assert (file.knows("one"), file.knows("two")) == (True, False)
    file.write("two")
    await until(lambda: file.knows("two"))
    assert not file.knows("one")
    assert file.told[-1].rated_names() == {"two": "r"}


@pytest.mark.parametrize("text", ["[providers", FILE.replace("openai_compatible", "whatever"), FILE + "api_key = 1", None])
async def test_a_mistake_changes_nothing_and_is_told_with_its_line(
    file: File, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        file.path.unlink()
    else:
        file.write("two", text)
    await until(lambda: "models_file_refused" in capsys.readouterr().out)
    assert (file.knows("one"), len(file.told)) == (True, 1)
    file.write("three")
    await until(lambda: file.knows("three"))


async def test_what_is_under_way_goes_on_as_it_began(file: File, provider: FakeUpstream, sqlite_url: str) -> None:
    gate = asyncio.Event()

    async def answer(request: Request, reply: Reply) -> None:
        await gate.wait()
        await plain("Late")(request, reply)

    provider.answer = answer
    async with house_on(sqlite_url, router=file.router) as house:
        waiting = asyncio.ensure_future(house.ask(asked(model="one")).__aenter__())
        await until(lambda: len(provider.requests) == 1)
        file.write("two")
        await until(lambda: file.knows("two"))
        gate.set()
        got = await waiting
        assert b"Late" in await got.read()
        async with house.ask(asked(model="one")) as gone:
            assert gone.status == 404
        house.verify()


async def test_a_file_that_cannot_be_used_at_first_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid):
        ReloadingRouter(tmp_path / "none.toml", changed=lambda catalogue: None)
