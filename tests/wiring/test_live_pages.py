"""Live pages of two servers on one database: both hear what anybody writes, and a server that stops does not wait for them."""

from __future__ import annotations

import http.client
import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import argon2

from tests.wiring.processes import PATIENCE_SECONDS, Running, running
from tokenwell import Meter
from tokenwell.service.identity.people import People

PASSWORD = "correct horse battery"


def sign_in(server: Running) -> str:
    """Return the cookie of a new session on a server."""
    _, headers, page = server.get("/sign-in")
    form = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert form is not None
    body = urllib.parse.urlencode({"email": "ada@example.com", "password": PASSWORD, "csrf_token": form[1]})
    cookie = headers["set-cookie"].partition(";")[0]
    connection = _connection(server)
    connection.request(
        "POST", "/sign-in", body,
        {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded", "Origin": server.address},
    )  # fmt: skip
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 303
    connection.close()
    cookies = [value.partition(";")[0] for key, value in answer.getheaders() if key.lower() == "set-cookie"]
    return next(value for value in cookies if "session" in value)


def _connection(server: Running) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=PATIENCE_SECONDS)


@contextmanager
def listening(server: Running) -> Iterator[http.client.HTTPResponse]:
    """Give the open stream of acme's packs page."""
    connection = _connection(server)
    connection.request("GET", "/o/acme/live?after=1", headers={"Cookie": sign_in(server)})
    answer = connection.getresponse()
    assert answer.status == 200
    try:
        yield answer
    finally:
        connection.close()


def hear(stream: http.client.HTTPResponse, seq: int) -> str:
    """Return the balance that the stream tells once it has come to a line of the journal."""
    while line := stream.readline().decode():
        if line.startswith("data: ") and json.loads(line.removeprefix("data: ")).get("seq", 0) >= seq:
            return str(json.loads(line.removeprefix("data: "))["balance"])
    raise AssertionError("the stream ended")


def test_two_servers_tell_what_anybody_writes_and_stop_without_waiting_for_pages(database_url: str, tmp_path: Path) -> None:
    with Meter(database_url) as meter:
        people = People(meter.engine, meter.clock, hasher=argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        people.create_admin(email="ada@example.com", password=PASSWORD, name="Ada Root")
        meter.create_organization("acme", name="Acme")
        meter.grant("acme", 9_000_000)
        with (
            running("serve", directory=tmp_path, TOKENWELL_DATABASE_URL=database_url) as one,
            running("serve", directory=tmp_path, TOKENWELL_DATABASE_URL=database_url) as other,
            listening(one) as here,
            listening(other) as there,
        ):
            meter.debit("acme", 1_000)
            assert [hear(stream, 2) for stream in (here, there)] == ["8,999,000", "8,999,000"]
            code, _, log = one.stop()
            assert code == 0
            assert "timeout graceful shutdown exceeded" not in log
            while here.readline():
                pass
            meter.debit("acme", 1_000)
            assert hear(there, 3) == "8,998,000"
            assert other.stop()[0] == 0
