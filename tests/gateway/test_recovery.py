"""Recovery: what a process that is gone had under way is finished by the next one, once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.gateway.conftest import GRANTED, House, asked, house_on, until
from tests.gateway.outages import SqliteOutage
from tests.gateway.upstreams import Reply, Request, plain
from tokenwell.core.usage import Usage
from tokenwell.gateway.calls import Bill, Call
from tokenwell.gateway.keeping import Keeping, orphans
from tokenwell.gateway.recovery import Recovery
from tokenwell.gateway.settlement import Settlements

BILL = Bill(usage=Usage(input_tokens=5, output_tokens=6))


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """The directory that processes share."""
    return tmp_path / "spool"


def admitted(house: House, name: str) -> Call:
    """Return a call that runs on a hold of 1,000 tokens."""
    held = house.meter.open_hold("acme", 1_000, key=name)
    return Call(organization_id="acme", request_id=name, hold_id=held.hold.id, key_id="k", model="m", session=None, reason=None)


def gone(directory: Path, *calls: Call) -> Keeping:
    """Return the files of a process that was killed with these calls under way: their providers were asked."""
    keeping = Keeping(directory)
    for call in calls:
        keeping.logbook.begin(call, prompt_tokens=10, completion_tokens=20)
        keeping.logbook.ask(call.request_id)
    os.close(keeping._lock)
    return keeping


def recovery(house: House, directory: Path) -> Recovery:
    """Return the recovery of the next process."""
    return Recovery(directory, Settlements(house.meter))


async def test_what_was_under_way_is_charged_or_released_by_the_next_process(database_url: str, spool: Path) -> None:
    async with house_on(database_url) as house:
        calls = [admitted(house, name) for name in ("asked", "failed", "used", "waiting")]
        book = gone(spool, *calls[:3]).logbook
        book.fail("failed")
        book.use("used", BILL)
        book.begin(calls[3], prompt_tokens=10, completion_tokens=20)
        await recovery(house, spool).run()
        assert {line.entry.request_id: (line.entry.amount_tokens, line.entry.flags > 0) for line in house.lines()} == {
            "asked": (30, True),
            "used": (11, False),
        }
        house.verify()
        assert os.listdir(spool) == ["door.lock"]


async def test_what_was_charged_before_the_end_is_not_charged_again(house: House, spool: Path) -> None:
    call, other = admitted(house, "a"), admitted(house, "b")
    gone(spool, call, other)
    house.meter.settle("acme", call.hold_id, usage=BILL.usage, model="m")
    house.meter.release("acme", other.hold_id)
    house.meter.debit("acme", usage=BILL.usage, already_used=True, key="b")
    await recovery(house, spool).run()
    assert house.balance().balance_tokens == GRANTED - 22
    house.verify()


async def test_files_of_a_process_that_lives_are_left_alone(house: House, spool: Path) -> None:
    keeping = Keeping(spool)
    keeping.logbook.begin(admitted(house, "a"), prompt_tokens=10, completion_tokens=20)
    await recovery(house, spool).run()
    assert house.balance().held_tokens == 1_000
    assert list(orphans(spool)) == []
    keeping.logbook.end("a")
    keeping.close()
    assert os.listdir(spool) == ["door.lock"]


async def test_what_the_database_does_not_take_waits_for_the_next_time(house: House, sqlite_url: str, spool: Path) -> None:
    gone(spool, admitted(house, "a"), admitted(house, "b"))
    outage = SqliteOutage(sqlite_url)
    outage.begin()
    await recovery(house, spool).run()
    outage.end()
    assert house.balance().balance_tokens == GRANTED
    for _ in range(2):
        await recovery(house, spool).run()
        assert house.balance().balance_tokens == GRANTED - 60
    house.verify()


async def test_a_server_that_stops_leaves_the_charges_that_wait_to_the_next_one(
    sqlite_url: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenwell.gateway.app.DRAIN_SECONDS", 0.2)
    outage = SqliteOutage(sqlite_url)
    async with house_on(sqlite_url, directory=spool) as house:

        async def answer(request: Request, reply: Reply) -> None:
            outage.begin()
            await plain()(request, reply)

        house.upstream.answer = answer
        async with house.ask(asked()) as got:
            assert got.headers["x-tokenwell-settlement"] == "pending"
    outage.end()
    async with house_on(sqlite_url, granted=0, directory=spool) as house:
        await until(lambda: house.balance().balance_tokens == GRANTED - 15)
        house.verify()


async def test_every_call_of_a_gateway_leaves_its_logbook(house: House) -> None:
    for streams in (False, True):
        async with house.ask(asked(stream=streams)) as got:
            await got.read()
    house.upstream.answer = plain(usage=None)
    async with house.ask() as got:
        await got.read()
    await until(lambda: len(house.gateway._keeping.logbook) == 0)


def test_a_directory_that_cannot_be_used_is_told_and_does_without(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool.touch()
    keeping = Keeping.opened(spool)
    assert (keeping.directory, keeping.logbook.is_kept) == (None, False)
    assert "spool_directory_unusable" in capsys.readouterr().out
    keeping.close()
