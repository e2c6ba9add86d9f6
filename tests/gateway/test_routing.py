"""Routing: which provider is asked, with what, and who is asked when it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.conftest import asked, house_on, until
from tests.gateway.responses import responding
from tests.gateway.upstreams import FakeUpstream, Reply, Request, completion, failing, plain, speaking
from tests.house.sources import ROOT
from tokenwell.config import Settings
from tokenwell.core.rates import Rate
from tokenwell.errors import ModelNotFound, RequestInvalid, UpstreamError, UpstreamTimeout
from tokenwell.gateway.models import parse_catalogue
from tokenwell.gateway.routing import Router, single_provider
from tokenwell.gateway.upstream import UpstreamAnswer

CHAT, MESSAGES = "/chat/completions", "/messages"


class Providers:
    """Fake providers `a` and `b`, and routers to them whose time and chance a test decides."""

    def __init__(self, a: FakeUpstream, b: FakeUpstream, stack: AsyncExitStack) -> None:
        self.a, self.b = a, b
        self.now = 0.0
        self.draws: list[float] = []
        self._stack = stack

    def router(self, text: str, **environ: str) -> Router:
        """Return a router; `@a` and `@b` in the file are the addresses of the providers."""
        text = text.replace("@a", self.a.url).replace("@b", self.b.url)
        router = Router(
            parse_catalogue(text),
            environ=environ,
            clock=lambda: self.now,
            draw=lambda: self.draws.pop(0) if self.draws else 0.0,
        )
        self._stack.push_async_callback(router.close)
        return router


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    """Two providers."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(2):
            fake = FakeUpstream()
            await fake.start()
            stack.push_async_callback(fake.stop)
            opened.append(fake)
        yield Providers(*opened, stack)


TWO = """
[providers.a]
kind = "openai_compatible"
base_url = "@a"
breaker_failures = 2
[providers.b]
kind = "openai_compatible"
base_url = "@b"
[models.m]
targets = [{ provider = "a", model = "ma" }, { provider = "b", model = "mb", priority = 1 }]
"""


async def send(router: Router, path: str = CHAT, model: str = "m", **headers: str) -> tuple[UpstreamAnswer, bytes]:
    """Ask for a model; return the answer and its body."""
    body = json.dumps({"messages": [], "model": model, "x": 1.50}).encode()
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    answer = await router.send("POST", path, body=body, headers=sent, model=model)
    return answer, await answer.read()


async def test_an_alias_is_asked_for_by_the_name_it_has_there_and_nothing_else_changes(providers: Providers) -> None:
    answer, _ = await send(providers.router(TWO))
    assert answer.served_by == "a/ma"
    (request,) = providers.a.requests
    assert request.body == b'{"messages": [], "model": "ma", "x": 1.5}'


async def test_a_name_that_is_the_same_there_leaves_the_body_alone(providers: Providers) -> None:
    router = providers.router(TWO.replace('"ma"', '"m"'))
    await router.send("POST", CHAT, body=b'{"\\u006dodel":"m"}', model="m")
    assert providers.a.requests[0].body == b'{"\\u006dodel":"m"}'


def broken_off(_request: Request, reply: Reply) -> Any:
    """Break off before anything is answered."""
    reply.reset()
    return asyncio.sleep(0)


@pytest.mark.parametrize(
    "how",
    [failing(429, b"{}", retry_after="7"), failing(500, b"{}"), failing(529, b"{}"), failing(503, b"x", "text/html"), broken_off],
)
async def test_where_a_provider_fails_the_next_is_asked(providers: Providers, how: Any) -> None:
    providers.a.answer = how
    answer, body = await send(providers.router(TWO))
    assert (answer.status, answer.served_by, body) == (200, "b/mb", completion())
    assert json.loads(providers.b.requests[0].body)["model"] == "mb"


async def test_where_a_provider_cannot_be_reached_the_next_is_asked(providers: Providers) -> None:
    router = providers.router(TWO.replace("@a", "http://127.0.0.1:1"))
    assert (await send(router))[0].served_by == "b/mb"


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_an_error_of_the_clients_own_is_passed_on(providers: Providers, status: int) -> None:
    providers.a.answer = failing(status, b"{}")
    assert (await send(providers.router(TWO)))[0].status == status
    assert not providers.b.requests


async def test_the_last_failure_is_told_when_all_have_failed(providers: Providers) -> None:
    router = providers.router(TWO)
    providers.a.answer = broken_off
    providers.b.answer = failing(429, b'{"error":{}}', retry_after="7")
    answer, body = await send(router)
    assert (answer.status, body) == (429, b'{"error":{}}')
    assert (b"retry-after", b"7") in answer.headers
    providers.b.answer = broken_off
    with pytest.raises(UpstreamError, match="broke off"):
        await send(router)


async def test_a_stream_that_has_begun_is_not_begun_again(providers: Providers) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await reply.begin_stream()
        await reply.piece(b"data: x\n\n")
        reply.reset()

    providers.a.answer = answer
    got = await providers.router(TWO).send("POST", CHAT, body=b'{"model":"m"}', model="m")
    with pytest.raises(UpstreamError):
        await got.read()
    assert not providers.b.requests


async def test_a_provider_that_keeps_failing_is_left_alone_and_tried_again_later(providers: Providers) -> None:
    router = providers.router(TWO)
    providers.a.answer = failing(500, b"{}")
    for _ in range(4):
        await send(router)
    assert (len(providers.a.requests), len(providers.b.requests)) == (2, 4)
    providers.a.answer = plain()
    providers.now = 10.0
    assert [(await send(router))[0].served_by for _ in range(3)] == ["a/ma"] * 3


async def test_too_many_requests_open_no_breaker(providers: Providers) -> None:
    router = providers.router(TWO)
    providers.a.answer = failing(429, b"{}")
    for _ in range(5):
        await send(router)
    assert len(providers.a.requests) == 5


async def test_when_every_provider_is_left_alone_that_is_an_error(providers: Providers) -> None:
    router = providers.router(TWO.replace('{ provider = "b", model = "mb", priority = 1 }', ""))
    providers.a.answer = broken_off
    for _ in range(2):
        with pytest.raises(UpstreamError, match="broke off"):
            await send(router)
    with pytest.raises(UpstreamError, match="left alone"):
        await send(router)
    assert len(providers.a.requests) == 2


async def test_equals_are_drawn_by_weight_and_the_others_stay_in_reserve(providers: Providers) -> None:
    text = TWO.replace('"ma" }', '"ma", weight = 3 }').replace(", priority = 1", "")
    router = providers.router(text)
    providers.draws = [0.0, 0.74, 0.76, 0.99]
    draws = [0.0, 0.74, 0.76, 0.99]
    served = []
    for draw in draws:
        providers.draws = [draw]
        served.append((await send(router))[0].served_by)
    assert served == ["a/ma", "a/ma", "b/mb", "b/mb"]


async def test_a_model_that_is_not_listed_follows_the_policy(providers: Providers) -> None:
    router = providers.router(TWO)
    with pytest.raises(ModelNotFound, match="other"):
        router.check(CHAT, "other")
    router = providers.router('unknown_models = "b"\n' + TWO)
    router.check(CHAT, "other")
    answer, _ = await send(router, model="other")
    assert (answer.served_by, json.loads(providers.b.requests[0].body)["model"]) == ("b/other", "other")


KINDS = """
[providers.o]
kind = "openai"
base_url = "@a"
api_key = "env:O"
[providers.o.headers]
X-Team = "env:TEAM"
X-Plain = "as it is"
[providers.n]
kind = "anthropic"
base_url = "@a"
api_key = "env:N"
[providers.z]
kind = "azure"
base_url = "@a"
api_key = "env:Z"
api_version = "2024-10-21"
[models]
o.targets = [{ provider = "o" }]
n.targets = [{ provider = "n" }]
z.targets = [{ provider = "z", model = "my deployment" }]
both.targets = [{ provider = "o" }, { provider = "n", priority = 1 }]
"""


@pytest.fixture
def kinds(providers: Providers) -> Router:
    """Providers of each kind, all at the same address."""
    return providers.router(KINDS, O="sk-o", N="sk-n", Z="sk-z", TEAM="t1")


async def test_openai_gets_a_bearers_key_and_the_headers_of_the_file(providers: Providers, kinds: Router) -> None:
    await send(kinds, model="o")
    headers = providers.a.requests[0].headers
    assert (headers["authorization"], headers["x-team"], headers["x-plain"]) == ("Bearer sk-o", "t1", "as it is")


async def test_anthropic_gets_its_key_and_a_version(providers: Providers, kinds: Router) -> None:
    await send(kinds, MESSAGES, "n")
    await send(kinds, MESSAGES, "n", anthropic_version="2099-01-01")
    await send(kinds, CHAT, "n")
    first, second, chat = (request.headers for request in providers.a.requests)
    assert (first["x-api-key"], first["anthropic-version"]) == ("sk-n", "2023-06-01")
    assert second["anthropic-version"] == "2099-01-01"
    assert chat["authorization"] == "Bearer sk-n"
    assert "authorization" not in first
    assert "x-api-key" not in chat


async def test_azure_gets_its_key_and_the_deployment_in_the_address(providers: Providers, kinds: Router) -> None:
    await send(kinds, CHAT, "z")
    await send(kinds, "/responses", "z")
    chat, responses = providers.a.requests
    assert chat.path == "/v1/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21"
    assert responses.path == "/v1/openai/responses?api-version=2024-10-21"
    assert chat.headers["api-key"] == "sk-z"
    assert "authorization" not in chat.headers


async def test_only_providers_that_speak_a_dialect_are_asked_in_it(providers: Providers, kinds: Router) -> None:
    for model in ("o", "z"):
        with pytest.raises(ModelNotFound, match="/messages"):
            kinds.check(MESSAGES, model)
    with pytest.raises(ModelNotFound):
        kinds.check("/embeddings", "n")
    await send(kinds, MESSAGES, "both")
    assert providers.a.requests[0].headers["x-api-key"] == "sk-n"


async def test_the_models_of_the_file_are_listed_in_the_dialect_that_asks(kinds: Router, providers: Providers) -> None:
    listed = json.loads(await (await kinds.send("GET", "/models?limit=3")).read())
    assert [model["id"] for model in listed["data"]] == ["o", "n", "z", "both"]
    told = json.loads(await (await kinds.send("GET", "/models", headers={b"anthropic-version": b"x"})).read())
    assert (told["data"][0]["type"], told["has_more"], told["last_id"]) == ("model", False, "both")
    one = json.loads(await (await kinds.send("GET", "/models/both")).read())
    assert (one["id"], one["object"]) == ("both", "model")
    with pytest.raises(ModelNotFound):
        await kinds.send("GET", "/models/none")
    assert not providers.a.requests


async def test_each_provider_has_its_own_patience(providers: Providers) -> None:
    gone: list[Callable[[], bool]] = []

    async def answer(_request: Request, reply: Reply) -> None:
        gone.append(reply.gone.is_set)
        await reply.gone.wait()

    providers.a.answer = answer
    text = TWO.replace('"@a"\n', '"@a"\nfirst_byte_seconds = 0.05\n')
    assert (await send(providers.router(text)))[0].served_by == "b/mb"
    await until(gone[0])


async def test_silence_within_an_answer_is_shorter_than_the_wait_for_its_first_byte(providers: Providers) -> None:
    async def answer(_request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.2)
        await reply.begin_stream()
        await reply.gone.wait()

    providers.a.answer = answer
    got = await providers.router(TWO.replace('"@a"\n', '"@a"\nsilence_seconds = 0.05\n')).send("POST", CHAT, body=b"{}", model="m")
    with pytest.raises(UpstreamTimeout):
        await got.read()


async def test_a_kept_connection_that_was_closed_meanwhile_costs_no_answer(providers: Providers) -> None:
    """The provider closes it as the next request is on its way: that is sent once more."""
    requests = 0

    async def answer(request: Request, reply: Reply) -> None:
        nonlocal requests
        requests += 1
        if requests == 2:
            reply.close()
        else:
            await plain()(request, reply)

    providers.a.answer = answer
    router = providers.router(TWO)
    assert [(await send(router))[0].served_by for _ in range(2)] == ["a/ma"] * 2
    assert (requests, providers.a.connections) == (3, 2)


async def test_whether_an_answer_is_drained_is_the_providers_policy(providers: Providers) -> None:
    assert not (await send(providers.router(TWO)))[0].drains
    assert (await send(providers.router(TWO.replace('"@a"\n', '"@a"\non_disconnect = "drain"\n'))))[0].drains


def test_a_provider_whose_key_is_not_there_is_named() -> None:
    text = '[providers.a]\nkind = "openai"\napi_key = "env:NONE"\n'
    with pytest.raises(RequestInvalid, match=r"providers\.a: the environment has no NONE"):
        Router(parse_catalogue(text), environ={})


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://x.openai.azure.com/openai/v1", "azure"),
        ("http://127.0.0.1:8000/v1", "openai_compatible"),
        ("https://api.openai.com.example.com/v1", "openai_compatible"),
    ],
)
def test_the_kind_of_a_single_provider_is_told_from_its_address(url: str, kind: str) -> None:
    router = single_provider(url, "k", timeout_seconds=3)
    assert router._providers["upstream"].kind.value == kind
    assert "'k'" not in repr(router._providers["upstream"])


async def test_a_fallback_is_charged_once_on_one_hold(sqlite_url: str, providers: Providers, tmp_path: Path) -> None:
    providers.a.answer = failing(503, b"{}")
    providers.b.answer = speaking("Hel", "lo")
    async with house_on(sqlite_url, settings=Settings(), router=providers.router(TWO)) as house:
        async with house.ask(asked(model="m", stream=True)) as answer:
            assert answer.status == 200
            await answer.read()
        async with house.ask(asked(model="other")) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "model_not_found")
        await house.settled()
        (line,) = house.lines()
        assert (line.entry.model, line.entry.amount_tokens) == ("m", 15)
        house.verify()


async def test_what_lies_at_one_provider_is_asked_for_there_alone(database_url: str, providers: Providers) -> None:
    router = providers.router(TWO.replace(", priority = 1", ""))
    for fake in (providers.a, providers.b):
        fake.answer = responding("Hello")
    async with house_on(database_url, router=router) as house:
        providers.draws = [0.9]
        client = house.openai()
        await client.responses.create(model="m", input="Hello")
        assert len(providers.b.requests) == 1
        await client.responses.retrieve("resp_1")
        await client.responses.create(model="m", input="And on", previous_response_id="resp_1")
        stream = await client.responses.create(model="m", input="And on", previous_response_id="resp_1", stream=True)
        assert [each async for each in stream]
        providers.b.answer = failing(503, b"{}")
        with pytest.raises(openai.InternalServerError):
            await house.openai(max_retries=0).responses.cancel("resp_1")
        assert (len(providers.a.requests), len(providers.b.requests)) == (0, 5)
        house.verify()


async def test_a_model_without_a_rate_is_charged_at_that_of_the_name_it_is_rated_by(sqlite_url: str, providers: Providers) -> None:
    router = providers.router(TWO)
    async with house_on(sqlite_url, router=router) as house:
        ratebook = house.meter.ratebook
        ratebook.rated_names = {"m": "ma"}
        house.meter.set_rate(Rate(model="ma", effective_at=house.meter.clock(), output_millionths=2_000_000))
        async with house.ask(asked(model="m")) as answer:
            assert answer.headers["x-tokenwell-charged"] == "18"
        house.meter.set_rate(Rate(model="m", effective_at=house.meter.clock(), output_millionths=3_000_000))
        async with house.ask(asked(model="m")) as answer:
            assert answer.headers["x-tokenwell-charged"] == "21"


def test_documented_kinds_are_all_there_are() -> None:
    page = (ROOT / "docs" / "operating" / "models.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in page for kind in ("openai", "anthropic", "azure", "openai_compatible"))
