"""Guessing is bounded across processes: what protects a secret is counted in the database, whichever server is asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from tests.console.browsing import Page
from tests.wiring.processes import running
from tokenwell import wiring
from tokenwell.config import Settings
from tokenwell.console.security import FORM_FIELD
from tokenwell.service.identity.people import FAILURES_PER_EMAIL
from tokenwell.service.meter import Meter

PASSWORD = "correct horse battery staple"
TRIES = 3 * FAILURES_PER_EMAIL


def test_two_servers_together_let_no_more_guesses_through_than_one(database_url: str, tmp_path: Path) -> None:
    Meter(database_url).close()
    with wiring.open_services(Settings(database_url=database_url)) as suite:
        suite.people.create_admin(email="ada@example.com", password=PASSWORD)
        suite.people.create_admin(email="bob@example.com", password=PASSWORD)
    variables = {"TOKENWELL_DATABASE_URL": database_url, "TOKENWELL_SECRET_KEY": "k" * 48}
    with (
        running("serve", directory=tmp_path, **variables) as one,
        running("serve", directory=tmp_path, **variables) as other,
        ThreadPoolExecutor(8) as threads,
    ):

        def sign_in(number: int, email: str = "ada@example.com", password: str = "a guess that is wrong") -> int:
            server = (one, other)[number % 2].address
            with httpx2.Client(base_url=server, headers={"origin": server}, timeout=120) as client:
                token = Page(client.get("/sign-in").text).csrf_token
                return client.post("/sign-in", data={FORM_FIELD: token, "email": email, "password": password}).status_code

        told = list(threads.map(sign_in, range(TRIES)))
        assert set(told) == {401, 429}
        assert told.count(401) <= FAILURES_PER_EMAIL
        assert [sign_in(number, password=PASSWORD) for number in range(2)] == [429, 429]  # nor is it told that this was right
        assert [sign_in(number, "bob@example.com", PASSWORD) for number in range(2)] == [303, 303]
        for server in (one, other):
            assert server.stop()[0] == 0
