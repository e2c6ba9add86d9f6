"""While the database is away: who is served all the same, up to which bounds, and how all of it is charged afterwards."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tests.doubles import FrozenClock
from tests.gateway.conftest import GRANTED, House, asked, house_on, until
from tests.gateway.outages import outage_of
from tests.gateway.upstreams import Reply, Request, failing, plain, speaking
from tokenwell.core.health import Thresholds
from tokenwell.core.usage import Usage
from tokenwell.gateway.calls import Bill, Call
from tokenwell.gateway.keeping import Keeping
from tokenwell.gateway.recovery import Recovery
from tokenwell.gateway.settlement import Settlements
from tokenwell.service.access.services import Lane, Services
from tokenwell.service.policies import Policies, WhenAway


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """The directory that processes share."""
    return tmp_path / "spool"


class Away:
    """A house whose database goes away and comes back."""

    def __init__(self, house: House, url: str) -> None:
        self.house = house
        self._outage = outage_of(url, "account")
        self._is_away = False

    async def begin(self) -> None:
        """Take the database away."""
        await asyncio.to_thread(self._outage.begin)
        self._is_away = True

    async def end(self) -> None:
        """Bring it back."""
        if self._is_away:
            await asyncio.to_thread(self._outage.end)
        self._is_away = False

    async def ask(self, body: dict[str, Any] | None = None, **options: Any) -> tuple[int, dict[str, str]]:
        """Ask for an answer of at most 20 tokens and return the status and the headers."""
        async with self.house.ask(asked(max_tokens=20) if body is None else body, **options) as answer:
            await answer.read()
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}

    async def known(self) -> None:
        """Let the gateway know its key and the organization's policy."""
        await self.house.gateway._outages.refresh()
        assert (await self.ask())[0] == 200


def serve(house: House, *, seconds: int = 600, tokens: int = 1_000) -> None:
    """Let the organization be served while the database is away."""
    policies = Policies(house.meter.engine, house.meter.clock)
    policies.set("acme", when_away=WhenAway.SERVE, away_seconds=seconds, away_tokens=tokens)


@asynccontextmanager
async def away_on(url: str, spool: Path | None, *, tokens: int = 1_000, seconds: int = 600, **options: Any) -> AsyncIterator[Away]:
    """Yield a house that serves while its database is away."""
    async with house_on(url, directory=spool, **options) as house:
        serve(house, tokens=tokens, seconds=seconds)
        away = Away(house, url)
        await away.known()
        try:
            yield away
        finally:
            await away.end()


@pytest.mark.parametrize("streams", [False, True])
async def test_who_is_served_while_the_database_is_away_is_charged_when_it_is_back(
    database_url: str, spool: Path, streams: bool
) -> None:
    async with away_on(database_url, spool) as away:
        house = away.house
        house.upstream.answer = speaking("Hello") if streams else plain()
        await away.begin()
        body = asked(max_tokens=20, stream=streams)
        for _ in range(3):
            status, headers = await away.ask(body)
            assert (status, headers.get("x-tokenwell-settlement", "pending")) == (200, "pending")
        await away.end()
        await until(lambda: house.balance().balance_tokens == GRANTED - 4 * 15)
        assert len(house.lines()) == 4
        assert json.loads(house.lines()[0].entry.detail or "")["raw"]["prompt_tokens"] == 12
        house.verify()
        await until(lambda: len(_spool_of(house)) == 0 and not house.gateway._outages.is_away)
        house.upstream.answer = plain()
        assert (await away.ask())[1]["x-tokenwell-charged"] == "15"


def _spool_of(house: House) -> Any:
    return house.gateway._keeping.spool


async def test_never_more_than_the_amount_waits_to_be_charged(database_url: str, spool: Path) -> None:
    async with away_on(database_url, spool, tokens=200) as away:
        await away.begin()
        # Each may come to more than 28 tokens, and comes to 15.
        statuses = [status for status, _ in await asyncio.gather(*(away.ask() for _ in range(12)))]
        statuses += [(await away.ask())[0] for _ in range(12)]
        assert set(statuses) == {200, 503}
        served = statuses.count(200)
        assert 150 < 15 * served <= 200
        assert sum(_spool_of(away.house).tokens().values()) == 15 * served
        await away.end()
        await until(lambda: away.house.balance().balance_tokens == GRANTED - 15 * (served + 1))
        away.house.verify()


async def test_the_amount_is_one_for_all_processes_of_the_machine(sqlite_url: str, spool: Path) -> None:
    async with away_on(sqlite_url, spool, tokens=60) as away, house_on(sqlite_url, granted=0, directory=spool) as other:
        second = Away(other, sqlite_url)
        await second.known()
        await away.begin()
        assert (await away.ask())[0] == 200
        assert ((await second.ask())[0], (await second.ask())[0]) == (200, 503)
        assert (await away.ask())[0] == 503
        await away.end()
        await until(lambda: other.balance().balance_tokens == GRANTED - 4 * 15)
        other.verify()


async def test_never_longer_than_the_time(sqlite_url: str, spool: Path, clock: FrozenClock) -> None:
    async with away_on(sqlite_url, spool, seconds=60, clock=clock) as away:
        await away.begin()
        for _ in range(3):
            assert (await away.ask())[0] == 200
            clock.advance(timedelta(seconds=19))
        assert (await away.ask())[0] == 200
        clock.advance(timedelta(seconds=4))
        assert (await away.ask())[0] == 503


async def test_not_beyond_the_balance_that_was_last_known(sqlite_url: str, spool: Path) -> None:
    async with away_on(sqlite_url, spool, granted=60, thresholds=Thresholds(0, 0)) as away:
        await away.begin()
        assert ((await away.ask())[0], (await away.ask())[0]) == (200, 503)


async def test_without_such_a_policy_nobody_is_served(sqlite_url: str, spool: Path) -> None:
    async with away_on(sqlite_url, spool) as away:
        policies = Policies(away.house.meter.engine, away.house.meter.clock)
        policies.set("acme", when_away=WhenAway.REFUSE)
        await away.known()
        await away.begin()
        assert (await away.ask())[0] == 503


async def test_without_files_that_outlive_the_process_nobody_is_served(sqlite_url: str) -> None:
    async with away_on(sqlite_url, None) as away:
        await away.begin()
        assert (await away.ask())[0] == 503


async def test_nobody_is_served_whose_ai_is_stopped(sqlite_url: str, spool: Path) -> None:
    async with away_on(sqlite_url, spool, thresholds=Thresholds(5_000_000, 1_000_000)) as away:
        away.house.meter.debit("acme", GRANTED - 900_000, already_used=True)
        async with away.house.ask() as answer:
            assert answer.status == 402
        away.house.gateway._outages._standings.clear()
        await away.house.gateway._outages.refresh()
        await away.begin()
        assert (await away.ask())[0] == 503


@pytest.mark.parametrize("what", ["unknown", "limited", "background", "revoked"])
async def test_a_key_is_served_only_if_all_about_it_is_known(sqlite_url: str, spool: Path, what: str) -> None:
    async with away_on(sqlite_url, spool) as away:
        keys = away.house.keys
        options: dict[str, Any] = {}
        if what == "limited":
            options = {"tokens_per_day": 10_000}
        if what == "background":
            options = {"service_id": Services(away.house.meter).create("acme", name="Tags", lane=Lane.BACKGROUND).service.id}
        made = keys.create("acme", name="other", **options)
        if what != "unknown":
            assert (await away.ask(secret=made.secret))[0] == 200
        if what == "revoked":
            keys.revoke("acme", made.key.id)
        await away.begin()
        if what in ("unknown", "revoked"):
            # As the tables of SQLite are there, but for that of holds, so that both would be looked up.
            away.house.gateway._keys._remembered._engine = _closed()
        assert (await away.ask(secret=made.secret))[0] == 503
        assert (await away.ask())[0] == 200


def _closed() -> Any:
    return sqlalchemy.create_engine("sqlite:////nowhere/at/all.db")


async def test_a_key_that_was_valid_before_is_believed_for_as_long_as_the_database_is_away(postgres_url: str, spool: Path) -> None:
    async with away_on(postgres_url, spool) as away:
        await away.begin()
        # What was found valid is believed for three seconds; then it would be looked up.
        known = away.house.keys._remembered._known
        for each in known.values():
            each.until -= _a_minute()
        assert (await away.ask())[0] == 200
        assert (await away.ask(secret="tw_live_" + "x" * 40))[0] == 503
        for each in known.values():
            each.until -= 10 * _a_minute()
        assert (await away.ask())[0] == 503


def _a_minute() -> timedelta:
    return timedelta(minutes=1)


async def test_a_provider_that_fails_costs_nothing(sqlite_url: str, spool: Path) -> None:
    async with away_on(sqlite_url, spool) as away:
        away.house.upstream.answer = failing(500, b"{}")
        await away.begin()
        assert (await away.ask())[0] == 500
        assert len(_spool_of(away.house)) == 0
        await away.end()
        assert away.house.balance().balance_tokens == GRANTED - 15


async def test_an_answer_without_a_limit_is_given_one_since_nothing_lets_it_grow(sqlite_url: str, spool: Path) -> None:
    async with away_on(sqlite_url, spool, tokens=10_000) as away:
        await away.begin()
        status, headers = await away.ask(asked())
        sent = json.loads(away.house.upstream.requests[-1].body)
        assert (status, sent["max_completion_tokens"], headers["x-tokenwell-limited-to"]) == (200, 1024, "1024")
        assert (await away.ask(asked(max_tokens=9_990)))[0] == 503


async def test_a_stream_ends_where_what_was_let_through_does(sqlite_url: str, spool: Path) -> None:
    async with away_on(sqlite_url, spool) as away:
        away.house.upstream.answer = speaking(*["word " * 8] * 60)
        await away.begin()
        async with away.house.ask(asked(max_tokens=20, stream=True)) as answer:
            assert b'"finish_reason":"length"' in await answer.read()
        waiting = sum(_spool_of(away.house).tokens().values())
        assert waiting < 60
        await away.end()
        await until(lambda: away.house.balance().balance_tokens == GRANTED - 15 - waiting)


async def test_what_was_let_through_before_a_kill_is_charged_once_by_the_next_process(database_url: str, spool: Path) -> None:
    async with away_on(database_url, spool) as away:
        house = away.house
        gate = asyncio.Event()

        async def answer(request: Request, reply: Reply) -> None:
            await gate.wait()
            await plain()(request, reply)

        await away.begin()
        assert (await away.ask())[0] == 200
        house.upstream.answer = answer
        asking = asyncio.ensure_future(away.ask())
        await until(lambda: len(_spool_of(house).tokens()) > 0 and len(house.upstream.requests) == 3)
        left = _copied(spool)
        gate.set()
        assert (await asking)[0] == 200
        await away.end()
        await until(lambda: len(_spool_of(house)) == 0)
        balance = house.balance().balance_tokens
        assert balance == GRANTED - 3 * 15
        # As if it had been killed while the second was under way: one was due, the other is charged already, and known by its id.
        for _ in range(2):
            await Recovery(left, Settlements(house.meter)).run()
        assert house.balance().balance_tokens == balance
        house.verify()


def _copied(spool: Path) -> Path:
    """Return a directory with the files of a process as they are now, which nobody holds."""
    left = spool.parent / "left"
    left.mkdir()
    for name in os.listdir(spool):
        (left / name).write_bytes((spool / name).read_bytes())
    return left


async def test_of_what_is_known_of_a_call_the_most_exact_is_charged(sqlite_url: str, spool: Path) -> None:
    async with away_on(sqlite_url, spool) as away:
        keeping = Keeping(spool.parent / "other")
        assert keeping.spool is not None
        calls = {name: _call(name) for name in ("due", "heard", "unsent", "lost")}
        for name, call in calls.items():
            if name != "lost":
                keeping.logbook.begin(call, prompt_tokens=10, completion_tokens=90)
            keeping.spool.open(call, tokens=100, usage=_usage(10, 90))
        keeping.logbook.ask("heard")
        keeping.logbook.hear("heard", 4)
        keeping.spool.owe(calls["due"], _bill(5, 6), tokens=11)
        os.close(keeping._lock)
        for _ in range(2):
            await Recovery(spool.parent / "other", Settlements(away.house.meter)).run()
        charged = {line.entry.request_id: line.entry.amount_tokens for line in away.house.lines()[:-1]}
        assert charged == {"due": 11, "heard": 14, "lost": 100}


def _usage(given: int, produced: int) -> Usage:
    return Usage(input_tokens=given, output_tokens=produced)


def _bill(given: int, produced: int) -> Bill:
    return Bill(usage=_usage(given, produced))


def _call(name: str) -> Call:
    return Call(organization_id="acme", request_id=name, hold_id="", key_id="k", model="m", session=None, reason=None)
