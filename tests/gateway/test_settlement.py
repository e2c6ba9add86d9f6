"""Settlement when the database is away, slow to answer, or has released the hold: nothing that was used is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.gateway.conftest import GRANTED, House, asked, house_on, until
from tests.gateway.outages import PostgresOutage, SqliteOutage, outage_of
from tests.gateway.upstreams import Reply, Request, plain, speaking
from tokenwell.core.usage import Usage
from tokenwell.errors import CommitUnknown
from tokenwell.gateway.calls import Bill, Call
from tokenwell.gateway.metrics import LOST
from tokenwell.gateway.settlement import Settlements
from tokenwell.service.access.keys import Keys


async def test_without_its_database_the_gateway_serves_no_ai_and_recovers_by_itself(database_url: str) -> None:
    outage = outage_of(database_url)
    async with house_on(database_url) as house:
        async with house.ask() as answer:
            assert answer.status == 200
        await asyncio.to_thread(outage.begin)
        for streams in (False, True):
            async with house.ask(asked(stream=streams)) as answer:
                assert answer.status == 503
                assert int(answer.headers["retry-after"]) > 0
                assert (await answer.json())["error"]["type"] == "server_error"
        assert len(house.upstream.requests) == 1
        await asyncio.to_thread(outage.end)
        async with house.ask() as answer:
            assert answer.status == 200
        assert house.balance().balance_tokens == GRANTED - 30
        house.verify()


@pytest.mark.parametrize("streams", [False, True])
async def test_what_was_used_while_the_database_went_away_is_charged_when_it_is_back(database_url: str, streams: bool) -> None:
    outage = outage_of(database_url)
    async with house_on(database_url) as house:

        async def answer(request: Request, reply: Reply) -> None:
            await asyncio.to_thread(outage.begin)
            await (speaking("Hello") if streams else plain())(request, reply)

        house.upstream.answer = answer
        async with house.ask(asked(stream=streams)) as got:
            # The answer was paid for, so it is given; its receipt says that the charge is still to come.
            assert got.status == 200
            body = await got.read()
        assert b"Hello" in body
        told = body if streams else str(got.headers).lower().encode()
        assert b"settlement" in told
        assert b"pending" in told
        await asyncio.to_thread(outage.end)
        await until(lambda: house.balance().balance_tokens == GRANTED - 15)
        house.verify()


async def test_a_charge_whose_packs_were_revoked_with_its_hold_is_written_all_the_same(house: House) -> None:
    async def answer(request: Request, reply: Reply) -> None:
        (pack,) = house.meter.packs("acme").items
        house.meter.revoke("acme", pack.pack.id, cancel_holds=True)
        await plain()(request, reply)

    house.upstream.answer = answer
    async with house.ask() as got:
        assert got.status == 200
        assert got.headers["x-tokenwell-charged"] == "15"
        request_id = got.headers["x-tokenwell-request-id"]
    assert house.meter.request("acme", request_id)
    assert house.balance().overage_tokens == 15
    house.verify()


class Amnesia:
    """Commits, but forgets to tell: the next `times` batches end with CommitUnknown although they are written."""

    def __init__(self, house: House, times: int) -> None:
        self._batcher = house.meter.batcher
        self._commit = self._batcher._commit
        self._times = times
        self._batcher._commit = self.commit

    def commit(self, commands: Sequence[Any]) -> Any:
        """Commit in truth, and say that nobody knows."""
        answers = self._commit(commands)
        if self._times:
            self._times -= 1
            raise CommitUnknown
        return answers


async def test_a_hold_whose_commit_nobody_knows_of_is_asked_for_again_and_opened_once(house: House) -> None:
    Amnesia(house, times=1)
    async with house.ask() as answer:
        assert answer.status == 200
    assert house.balance().balance_tokens == GRANTED - 15
    house.verify()


async def test_a_hold_that_stays_unknown_is_unavailable(house: House) -> None:
    Amnesia(house, times=2)
    async with house.ask() as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "commit_unknown"
    assert house.upstream.requests == []
    assert house.balance().balance_tokens == GRANTED


async def test_a_charge_whose_commit_nobody_knows_of_is_written_once(house: House) -> None:
    async def answer(request: Request, reply: Reply) -> None:
        Amnesia(house, times=3)
        await plain()(request, reply)

    house.upstream.answer = answer
    async with house.ask() as got:
        assert got.status == 200
        assert got.headers["x-tokenwell-settlement"] == "pending"
    await until(lambda: not house.gateway._settlements._tasks)
    assert house.balance().balance_tokens == GRANTED - 15
    house.verify()


async def test_a_full_queue_turns_requests_away_for_a_moment(sqlite_url: str) -> None:
    async with house_on(sqlite_url, queue_limit=1) as house:
        answers = await asyncio.gather(*(house.ask() for _ in range(40)))
        statuses = [answer.status for answer in answers]
        busy = [answer for answer in answers if answer.status == 503]
        assert set(statuses) == {200, 503}
        assert all(answer.headers["retry-after"] == "1" for answer in busy)
        await until(lambda: not house.gateway._settlements._tasks)
        assert house.balance().balance_tokens == GRANTED - 15 * statuses.count(200)
        house.verify()


def _call(house: House) -> Call:
    held = house.meter.open_hold("acme", 1_000, key="request-1")
    return Call(
        organization_id="acme", request_id="request-1", hold_id=held.hold.id, key_id="key", model="a", session=None, reason=None
    )


BILL = Bill(usage=Usage(input_tokens=5, output_tokens=6), estimated=True)


async def test_a_caller_that_is_cancelled_is_charged_all_the_same(house: House) -> None:
    settlements = Settlements(house.meter)
    task = asyncio.ensure_future(settlements.settle(_call(house), BILL))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await settlements.drain(5)
    assert house.balance().balance_tokens == GRANTED - 11
    house.verify()


async def test_a_charge_is_given_up_after_a_while_and_written_to_the_log(
    house: House, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = LOST._value.get()
    settlements = Settlements(house.meter, patience_seconds=0.2)
    call = _call(house)
    outage = SqliteOutage(sqlite_url)
    outage.begin()
    assert await settlements.settle(call, BILL) is None
    await until(lambda: LOST._value.get() > before)
    outage.end()
    told = capsys.readouterr().out
    for fact in ("charge_lost", "acme", "request-1", call.hold_id, "store_unavailable", "input_tokens"):
        assert fact in told


async def test_a_stopping_gateway_waits_for_charges_and_tells_of_those_it_must_leave(
    house: House, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settlements = Settlements(house.meter)
    outage = SqliteOutage(sqlite_url)
    call = _call(house)
    outage.begin()
    settlements.settle_later(call, BILL)
    await settlements.drain(0.2)
    outage.end()
    assert "charge_lost" in capsys.readouterr().out
    settlements.settle_later(call, BILL)
    await settlements.drain(5)
    assert house.balance().balance_tokens == GRANTED - 11


async def test_a_key_cannot_be_checked_without_the_database_and_can_be_after(postgres_url: str) -> None:
    outage = PostgresOutage(postgres_url)
    async with house_on(postgres_url) as house:
        # A process that has just started knows no key.
        house.gateway._keys = Keys(house.meter.engine)
        await asyncio.to_thread(outage.begin)
        async with house.ask() as answer:
            assert answer.status == 503
        await asyncio.to_thread(outage.end)
        async with house.ask() as answer:
            assert answer.status == 200
        house.gateway._keys.close()
