"""The application sends each request to its part, counts it, and tells how it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from tokenwell import wiring
from tokenwell.config import Settings
from tokenwell.errors import RequestInvalid, StoreUnavailable
from tokenwell.wiring import Application, Observed, create_app, open_meter

Message = MutableMapping[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """What an application answered."""

    status: int
    headers: dict[str, str]
    body: str


async def ask(app: Callable[..., Awaitable[None]], path: str, *headers: tuple[bytes, bytes]) -> Answer:
    """Ask an application for a page, without a server between."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        **{"type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""},
        **{"root_path": "", "scheme": "http", "server": ("testserver", 80), "client": ("127.0.0.1", 1)},
        "headers": [(b"host", b"testserver"), *headers],
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, body.decode())


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Application]:
    """Give an application that is open."""
    app = create_app(settings)
    await app.open()
    try:
        yield app
    finally:
        await app.close()


async def test_each_part_answers_its_paths(sqlite_url: str) -> None:
    async with opened(Settings(database_url=sqlite_url)) as app:
        gateway = await ask(app, "/v1/models")
        assert (gateway.status, json.loads(gateway.body)["error"]["code"]) == (401, "invalid_api_key")
        console = await ask(app, "/")
        assert (console.status, console.headers["location"]) == (303, "/sign-in")
        assert (await ask(app, "/v1")).status == 404
        assert (await ask(app, "/nothing/here")).status in (303, 404)
        health = await ask(app, "/healthz")
        assert (health.status, json.loads(health.body)) == (200, {"status": "ok", "store": "ok"})


async def test_requests_are_counted_by_part_and_status(sqlite_url: str) -> None:
    def count(text: str) -> float:
        found = [
            line for line in text.splitlines() if line.startswith('tokenwell_http_requests_total{part="gateway",status="401"}')
        ]
        return float(found[0].split()[-1]) if found else 0

    async with opened(Settings(database_url=sqlite_url)) as app:
        before = count((await ask(app, "/metrics")).body)
        await ask(app, "/v1/models")
        after = await ask(app, "/metrics")
    assert count(after.body) == before + 1
    assert 'tokenwell_http_requests_open{part="gateway"} 0.0' in after.body
    assert after.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_every_answer_carries_a_request_id(sqlite_url: str) -> None:
    async with opened(Settings(database_url=sqlite_url)) as app:
        fresh = (await ask(app, "/sign-in")).headers["x-request-id"]
        assert fresh.startswith("req_")
        assert (await ask(app, "/sign-in")).headers["x-request-id"] != fresh
        assert (await ask(app, "/sign-in", (b"x-request-id", b"trace-7"))).headers["x-request-id"] == "trace-7"
        assert (await ask(app, "/sign-in", (b"x-request-id", b"a\tb c"))).headers["x-request-id"].startswith("req_")
        refused = (await ask(app, "/v1/models")).headers
        assert refused["x-request-id"] == refused["x-tokenwell-request-id"]


async def test_before_it_is_open_and_once_it_is_closed_it_says_so(sqlite_url: str) -> None:
    app = create_app(Settings(database_url=sqlite_url))
    for path in ("/healthz", "/v1/models", "/sign-in"):
        closed = await ask(app, path)
        assert (closed.status, closed.headers["retry-after"]) == (503, "5")
    await app.open()
    assert (await ask(app, "/healthz")).status == 200
    await app.close()
    assert (await ask(app, "/healthz")).status == 503


async def test_a_defect_is_an_answer_that_tells_nothing_of_itself() -> None:
    async def broken(scope: Message, receive: object, send: object) -> None:
        raise ZeroDivisionError("secret detail")

    answer = await ask(Observed("console", broken), "/")
    assert answer.status == 500
    assert "secret detail" not in answer.body


async def test_an_answer_that_breaks_off_is_left_to_the_server() -> None:
    """Only a connection that is closed tells the client that its answer is not whole."""

    async def broken(scope: Message, receive: object, send: Callable[[Message], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await ask(Observed("gateway", broken), "/v1/chat/completions")


async def test_without_a_provider_the_gateway_says_how_to_name_one(sqlite_url: str) -> None:
    async with opened(Settings(database_url=sqlite_url)) as app:
        with open_meter(Settings(database_url=sqlite_url)) as meter, wiring.open_keys(meter) as keys:
            meter.create_organization("acme")
            secret = keys.create("acme", name="Test").secret
        answer = await ask(app, "/v1/models", (b"authorization", f"Bearer {secret}".encode()))
    assert answer.status == 502
    assert "TOKENWELL_UPSTREAM_URL" in answer.body


async def test_a_database_that_went_away_is_told_and_comes_back_by_itself(postgres_server_url: str) -> None:
    name = "tokenwell_that_goes_away"
    url = make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    make = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    with psycopg.connect(postgres_server_url, autocommit=True) as server:
        try:
            server.execute(drop)
            server.execute(make)
            async with opened(Settings(database_url=url)) as app:
                assert (await ask(app, "/healthz")).status == 200
                server.execute(drop)
                gone = await ask(app, "/healthz")
                assert (gone.status, gone.headers["retry-after"]) == (503, "5")
                server.execute(make)
                assert (await ask(app, "/healthz")).status == 200
        finally:
            server.execute(drop)


async def test_a_lifespan_that_cannot_start_says_why(tmp_path: Path) -> None:
    said: list[Message] = []
    (tmp_path / "file").write_text("not a directory")

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        said.append(message)

    await create_app(Settings(database_url=f"sqlite:///{tmp_path}/file/t.db"))({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert said[0]["message"]


def test_a_meter_is_opened_with_the_platforms_thresholds(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url, warning_threshold_tokens=70, minimum_reserve_tokens=7)
    with open_meter(settings, create=True) as meter:
        meter.create_organization("acme")
        balance = meter.balance("acme")
    assert (balance.warning_tokens, balance.reserve_tokens) == (70, 7)


def test_a_file_that_does_not_exist_is_made_only_if_that_is_meant(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/new/tokenwell.db")
    with pytest.raises(StoreUnavailable, match="tokenwell migrate makes one"):
        open_meter(settings)
    open_meter(settings, create=True).close()
    open_meter(settings).close()


def test_a_database_of_another_version_is_refused(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url)
    with open_meter(settings, create=True) as meter, meter.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(StoreUnavailable, match="not one of this version"):
        open_meter(settings)


def test_a_database_that_is_no_url_is_refused() -> None:
    with pytest.raises(RequestInvalid):
        open_meter(Settings(database_url="postgresql://host:port/x"))
