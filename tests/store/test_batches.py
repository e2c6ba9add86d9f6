"""Both databases: what happens to one command of a batch happens to no other, and the queue never grows beyond its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from msgspec.structs import replace
from sqlalchemy import text

from tests.doubles import FrozenClock
from tests.store.gates import Gate, behind, gated
from tests.store.tenants import NO_THRESHOLDS, Tenant, at
from tokenwell import Meter, Receipt, State
from tokenwell.core.commands import Charge, Command, Debit
from tokenwell.errors import (
    AiStopped,
    AmountInvalid,
    BalanceHeld,
    HoldAlreadySettled,
    OrganizationNotFound,
    PackAlreadyRevoked,
    StoreBusy,
)

QUEUE_LIMIT = 20


@pytest.fixture
def gate(shared_url: str, meter: Meter) -> Iterator[Gate]:
    """A gate before the meter's writer."""
    with gated(meter, shared_url, queue_limit=QUEUE_LIMIT) as gate:
        yield gate


def outcomes_of(outcomes: list[Any]) -> list[int | type]:
    """Return the amount charged by each, or the type of its error."""
    return [outcome.amount_tokens if isinstance(outcome, Receipt) else type(outcome) for outcome in outcomes]


# One batch


async def test_a_refused_large_request_does_not_fail_small_ones_after_it(gate: Gate, tenant: Tenant) -> None:
    tenant.grant(10)
    debit = tenant.meter.aio.debit
    outcomes = await behind(gate, debit(tenant.id, 1), *(debit(tenant.id, amount) for amount in (2, 100, 3, 50, 4, 1)))
    assert outcomes_of(outcomes) == [1, 2, BalanceHeld, 3, BalanceHeld, 4, AiStopped]
    assert len(gate.batches[-1]) == 6
    assert tenant.lines(2) == ["debit 2 PK-1 7 | 7", "debit 3 PK-1 4 | 4", "debit 4 PK-1 0 | 0"]


async def test_a_grant_counts_for_the_requests_after_it_in_its_batch(gate: Gate, tenant: Tenant) -> None:
    aio = tenant.meter.aio
    outcomes = await behind(
        gate,
        aio.grant(tenant.id, 1),
        aio.debit(tenant.id, 5),
        aio.grant(tenant.id, 10, expires_at=at(60)),
        aio.debit(tenant.id, 11),
        aio.debit(tenant.id, 1),
    )
    assert outcomes_of(outcomes)[1::2] == [BalanceHeld, 11]
    assert type(outcomes[4]) is AiStopped
    assert tenant.lines(1) == ["grant 10 PK-2 10 | 11", "debit 10 PK-2 0 | 1", "debit 1 PK-1 0 | 0"]


async def test_a_key_repeated_while_it_waits_is_charged_once(gate: Gate, tenant: Tenant) -> None:
    tenant.grant(10)
    debit = tenant.meter.aio.debit
    outcomes = await behind(gate, debit(tenant.id, 1), *(debit(tenant.id, 7, key="k") for _ in range(6)))
    assert outcomes_of(outcomes) == [1] + [7] * 6
    assert [outcome.replayed for outcome in outcomes] == [False, False] + [True] * 5
    assert len({replace(outcome, replayed=False) for outcome in outcomes[1:]}) == 1
    assert tenant.totals()[0] == 2


async def test_two_commands_on_one_thing_are_decided_one_after_the_other(gate: Gate, tenant: Tenant) -> None:
    aio = tenant.meter.aio
    tenant.grant(100)
    tenant.grant(10)
    tenant.debit(10, key="k")
    hold_id = tenant.open_hold(5).hold.id
    outcomes = await behind(
        gate,
        aio.debit(tenant.id, 1),
        aio.settle(tenant.id, hold_id, 3),
        aio.settle(tenant.id, hold_id, 4),
        aio.revoke(tenant.id, "PK-2"),
        aio.revoke(tenant.id, "PK-2"),
        aio.refund(tenant.id, "k", 6),
        aio.refund(tenant.id, "k", 6),
    )
    assert [type(outcome) for outcome in outcomes[2::2]] == [HoldAlreadySettled, PackAlreadyRevoked, AmountInvalid]
    assert tenant.totals()[0] == 110 - 10 - 1 - 3 - 10 + 6


async def test_organizations_in_one_batch_do_not_see_each_other(gate: Gate, tenant: Tenant) -> None:
    debit = tenant.meter.aio.debit
    rich, poor = Tenant(tenant.meter, tenant.clock), Tenant(tenant.meter, tenant.clock)
    rich.grant(100)
    tenant.grant(1)
    outcomes = await behind(
        gate, debit(tenant.id, 1), debit(poor.id, 1), debit("nobody", 1), debit(rich.id, 60), debit(rich.id, 60)
    )
    assert outcomes_of(outcomes) == [1, AiStopped, OrganizationNotFound, 60, BalanceHeld]
    assert (rich.problems(), poor.problems()) == ((), ())


class Nonsense(Command, frozen=True, kw_only=True):
    """A command that nobody can decide."""


async def test_a_command_that_breaks_the_code_fails_alone(gate: Gate, tenant: Tenant) -> None:
    tenant.grant(10)
    aio, submit = tenant.meter.aio, tenant.meter.batcher.asubmit
    nonsense = Nonsense(organization_id=tenant.id, key=b"nonsense........", fingerprint=b"")
    with structlog.testing.capture_logs() as logs:
        outcomes = await behind(gate, aio.debit(tenant.id, 1), aio.debit(tenant.id, 2), submit(nonsense), aio.debit(tenant.id, 3))
    assert outcomes_of(outcomes) == [1, 2, KeyError, 3]
    assert logs[0]["event"] == "batch_failed"
    assert tenant.totals() == (4, 0, 0, State.NORMAL)
    assert tenant.debit(4).balance_tokens == 0


async def test_a_command_that_breaks_the_database_fails_alone(gate: Gate, tenant: Tenant) -> None:
    tenant.grant(10)
    aio, submit = tenant.meter.aio, tenant.meter.batcher.asubmit
    charge = Charge(amount_tokens=1, prompt_tokens=2**70, completion_tokens=0)
    poison = Debit(organization_id=tenant.id, key=b"poison..........", fingerprint=b"", request_id="poison", charge=charge)
    with structlog.testing.capture_logs():
        outcomes = await behind(gate, aio.debit(tenant.id, 1), aio.debit(tenant.id, 2), submit(poison), aio.debit(tenant.id, 3))
    assert outcomes_of(outcomes)[:2] + outcomes_of(outcomes)[3:] == [1, 2, 3]
    assert isinstance(outcomes[2], Exception)
    assert tenant.totals() == (4, 0, 0, State.NORMAL)
    assert tenant.debit(4).balance_tokens == 0


# Callers that go away


async def test_a_cancelled_caller_disturbs_nobody_and_its_retry_is_charged_once(gate: Gate, tenant: Tenant) -> None:
    tenant.grant(100)
    debit = tenant.meter.aio.debit
    gate.shut()
    first = asyncio.create_task(debit(tenant.id, 1))
    await asyncio.to_thread(gate.wait)
    tasks = [asyncio.create_task(debit(tenant.id, 2, key=f"k{number}")) for number in range(10)]
    await asyncio.sleep(0)
    for task in [first, *tasks[::2]]:
        task.cancel()
    gate.open()
    outcomes = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert outcomes_of(outcomes) == [asyncio.CancelledError] + [asyncio.CancelledError, 2] * 5
    again = [await debit(tenant.id, 2, key=f"k{number}") for number in range(10)]
    assert all(receipt.replayed for receipt in again[1::2])
    assert tenant.totals()[0] == 79


async def test_a_hold_whose_caller_is_cancelled_is_released(meter: Meter, tenant: Tenant) -> None:
    tenant.grant(10)
    inside = asyncio.Event()

    async def work() -> None:
        async with meter.aio.hold(tenant.id, 5):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    assert tenant.totals()[1] == 5
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tenant.totals() == (10, 0, 0, State.NORMAL)


def test_a_closed_event_loop_does_not_hold_up_the_writer(gate: Gate, tenant: Tenant) -> None:
    tenant.grant(10)

    async def leave() -> None:
        gate.shut()
        task = asyncio.create_task(tenant.meter.aio.debit(tenant.id, 1))
        await asyncio.to_thread(gate.wait)
        task.cancel()

    asyncio.run(leave())
    gate.open()
    assert tenant.debit(2).balance_tokens == 7


# A full queue


async def test_a_full_queue_refuses_at_once_and_takes_more_when_it_has_emptied(gate: Gate, tenant: Tenant) -> None:
    tenant.grant(1000)
    debit = tenant.meter.aio.debit
    gate.shut()
    tasks = [asyncio.create_task(debit(tenant.id, 1))]
    await asyncio.to_thread(gate.wait)
    tasks += [asyncio.create_task(debit(tenant.id, 1)) for _ in range(QUEUE_LIMIT)]
    await asyncio.sleep(0)
    refused = [asyncio.ensure_future(each) for each in (debit(tenant.id, 1), asyncio.to_thread(tenant.debit, 1))]
    await asyncio.wait(refused, timeout=60)
    gate.open()
    for error in await asyncio.gather(*refused, return_exceptions=True):
        assert isinstance(error, StoreBusy)
        assert (error.retryable, error.details) == (True, {"waiting": QUEUE_LIMIT})
    assert outcomes_of(await asyncio.gather(*tasks)) == [1] * (QUEUE_LIMIT + 1)
    assert (await debit(tenant.id, 1)).balance_tokens == 1000 - QUEUE_LIMIT - 2


async def test_while_the_database_is_locked_no_more_wait_than_the_limit(
    shared_url: str, tenant: Tenant, clock: FrozenClock
) -> None:
    tenant.grant(1000)
    with Meter(shared_url, thresholds=NO_THRESHOLDS, clock=clock, migrate=False, queue_limit=8, batch_limit=4) as meter:
        with tenant.meter.engine.connect() as blocker:
            blocker.execute(text("UPDATE account SET version = version WHERE organization_id = :o"), {"o": tenant.id})
            tasks = {asyncio.create_task(meter.aio.debit(tenant.id, 1)) for _ in range(100)}
            waiting = tasks
            while len(waiting) > 8 + 4:
                done, waiting = await asyncio.wait(waiting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
                assert {type(task.exception()) for task in done} == {StoreBusy}
            blocker.rollback()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        charged = sum(isinstance(outcome, Receipt) for outcome in outcomes)
        assert 8 <= charged <= 12
        assert tenant.totals()[0] == 1000 - charged
        assert (await meter.aio.debit(tenant.id, 1)).balance_tokens == 999 - charged
