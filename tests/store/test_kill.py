"""Both databases: a process is killed in the middle of load. Nothing acknowledged is lost, nothing is there twice, nobody waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.store.killing import Memory, assert_nothing_lost, assert_retries_charge_once, kill, start_victim
from tests.store.tenants import NO_THRESHOLDS
from tokenwell import Meter
from tokenwell.service.ports import system_clock

ROUNDS = 3
ACKNOWLEDGED = 120
"""So many charges are acknowledged before the kill, each round."""


@pytest.fixture
def stocked_url(database_url: str) -> Iterator[str]:
    """A database with the organization "acme" and many packs."""
    with Meter(database_url, thresholds=NO_THRESHOLDS) as meter:
        meter.create_organization("acme")
        for pack in range(30):
            meter.grant("acme", 97, priority=pack)
        meter.grant("acme", "1M", priority=1000)
    yield database_url
    with Meter(database_url, thresholds=NO_THRESHOLDS, clock=lambda: system_clock() + timedelta(hours=1)) as meter:
        assert meter.balance("acme").held_tokens == 0, "holds of the dead lapse"
        meter.debit("acme", 1)
        assert [verified.problems for verified in meter.verify()] == [()]


def test_a_killed_process_loses_no_acknowledged_charge_and_repeats_none(stocked_url: str) -> None:
    memory = Memory()
    for number in range(ROUNDS):
        victim = start_victim(stocked_url, "acme", f"round{number}")
        assert victim.stdout is not None
        enough = len(memory.acknowledged) + ACKNOWLEDGED
        memory.hear(victim.stdout, until=lambda enough=enough: len(memory.acknowledged) >= enough)
        kill(victim)
        memory.hear(victim.stdout)
        victim.stdout.close()
        with Meter(stocked_url, thresholds=NO_THRESHOLDS) as meter:
            assert_nothing_lost(meter, "acme", memory)
            assert meter.balance("acme").held_tokens > 0
    assert len(memory.tried) > len(memory.acknowledged) >= ROUNDS * ACKNOWLEDGED
    with Meter(stocked_url, thresholds=NO_THRESHOLDS) as meter:
        assert_retries_charge_once(meter, "acme", memory)


def test_a_killed_process_blocks_no_other(stocked_url: str) -> None:
    memory, other = Memory(), Memory()
    victim, survivor = (start_victim(stocked_url, "acme", name) for name in ("victim", "survivor"))
    assert victim.stdout is not None
    assert survivor.stdout is not None
    memory.hear(victim.stdout, until=lambda: len(memory.acknowledged) >= ACKNOWLEDGED)
    kill(victim)
    memory.hear(victim.stdout)
    victim.stdout.close()
    # What the survivor wrote before the kill may still stand in its pipe, which holds 64 KiB: fewer than so many lines.
    other.hear(survivor.stdout, until=lambda: len(other.acknowledged) >= 500)
    kill(survivor)
    other.hear(survivor.stdout)
    survivor.stdout.close()
    memory.tried |= other.tried
    memory.acknowledged |= other.acknowledged
    with Meter(stocked_url, thresholds=NO_THRESHOLDS) as meter:
        assert_nothing_lost(meter, "acme", memory)
        assert_retries_charge_once(meter, "acme", memory)
