"""Tokenwell and the oracle, driven side by side through every command and the clock, by two processes on one database.

`TOKENWELL_EXAMPLES=20` runs twenty times as many examples as usual. `TOKENWELL_SHRINK=1` looks for the shortest story that fails,
which takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.doubles import START
from tests.oracle import intents
from tests.oracle.intents import Intent
from tests.oracle.laws import check_laws
from tests.oracle.processes import Processes
from tests.oracle.side_by_side import Command
from tokenwell.errors import (
    AmountInvalid,
    HoldNotFound,
    IdempotencyConflict,
    PackNotFound,
    RequestInvalid,
    ThresholdsInvalid,
    TimestampNaive,
)

EXAMPLES = 50 * int(os.environ.get("TOKENWELL_EXAMPLES", "1"))
PHASES = set(Phase) - {Phase.explain} - (set() if os.environ.get("TOKENWELL_SHRINK") else {Phase.shrink})
MICROSECOND = timedelta(microseconds=1)
INSTANTS_REMEMBERED = 12

SIDE = st.integers(0, 2)
BY = st.integers(0, 1)
WHICH = st.integers(0, 9)
OVER = st.sampled_from([(0,), (1,), (0, 1)])


class ToldTwice(RuleBasedStateMachine):
    """Three organizations; after every command journal, balance and packs are compared, at the end every law and every past."""

    processes: ClassVar[Processes]

    def __init__(self) -> None:
        super().__init__()
        self.clock = self.processes.clock
        self.sides = [self.processes.side_by_side() for _ in range(3)]
        self.instants = {START}

    def tell(self, side: int, by: int, intent: Intent) -> None:
        """Carry a command out and note the instant."""
        told = self.sides[side]
        told.do(intent.command(told), by=by)
        self.instants |= {self.clock.now, self.clock.now - MICROSECOND}

    # Commands

    @initialize(meant=st.lists(intents.GRANTS, min_size=3, max_size=6))
    def begin(self, meant: list[Intent]) -> None:
        for number, intent in enumerate(meant):
            self.tell(number % 3, 0, intent)

    @rule(side=SIDE, meant=st.lists(intents.ANY, min_size=1, max_size=6))
    def talk(self, side: int, meant: list[Intent]) -> None:
        for number, intent in enumerate(meant):
            self.tell(side, number % 2, intent)

    @rule(side=SIDE, by=BY, intent=intents.GRANTS)
    def grant(self, side: int, by: int, intent: Intent) -> None:
        self.tell(side, by, intent)

    @rule(side=SIDE, by=BY, intent=intents.DEBITS)
    def debit(self, side: int, by: int, intent: Intent) -> None:
        self.tell(side, by, intent)

    @rule(side=SIDE, by=BY, intent=intents.HOLDS)
    def open_hold(self, side: int, by: int, intent: Intent) -> None:
        self.tell(side, by, intent)

    @rule(side=SIDE, by=BY, intent=intents.GROWTHS)
    def extend_hold(self, side: int, by: int, intent: Intent) -> None:
        self.tell(side, by, intent)

    @rule(side=SIDE, by=BY, intent=intents.SETTLES)
    def settle(self, side: int, by: int, intent: Intent) -> None:
        self.tell(side, by, intent)

    @rule(side=SIDE, by=BY, intent=intents.REFUNDS)
    def refund(self, side: int, by: int, intent: Intent) -> None:
        self.tell(side, by, intent)

    @rule(side=SIDE, by=BY, intent=st.one_of(intents.REVOKES, intents.EXTENDS, intents.RELEASES, intents.ADVANCES))
    def withdraw(self, side: int, by: int, intent: Intent) -> None:
        self.tell(side, by, intent)

    @rule(side=SIDE, by=BY, intent=intents.THRESHOLDS)
    def set_thresholds(self, side: int, by: int, intent: Intent) -> None:
        self.tell(side, by, intent)

    @rule(side=SIDE, meant=st.lists(intents.ANY, min_size=2, max_size=4), over=OVER, twin=st.booleans())
    def many_at_once(self, side: int, meant: list[Intent], over: tuple[int, ...], twin: bool) -> None:
        told = self.sides[side]
        commands = [intent.command(told) for intent in meant]
        told.do_together([*commands, commands[0]] if twin else commands, over=over)

    # Keys, bad input, other organizations

    @rule(side=SIDE, by=BY, which=WHICH)
    def repeat(self, side: int, by: int, which: int) -> None:
        told = self.sides[side]
        told.do(intents.newest(told.done, which, missing=told.done[-1]), by=by)

    @rule(side=SIDE, by=BY, which=WHICH, anew=st.booleans())
    def use_a_key_again_for_other_input(self, side: int, by: int, which: int, anew: bool) -> None:
        told = self.sides[side]
        keyed = [command for command in told.done if command.arguments.get("key")]
        used = intents.newest(keyed, which, missing=keyed[-1])
        assert told.do(otherwise(used, anew=anew), by=by) is IdempotencyConflict

    @rule(side=SIDE, by=BY, command=st.sampled_from(intents.INVALID))
    def say_something_invalid(self, side: int, by: int, command: Command) -> None:
        told = self.sides[side]
        assert told.do(command, by=by) in (AmountInvalid, RequestInvalid, ThresholdsInvalid, TimestampNaive)

    @rule(side=SIDE, by=BY, intent=st.one_of(intents.SETTLES, intents.RELEASES, intents.GROWTHS_OF_TOKENS, intents.REVOKES_BY_ID))
    def reach_for_what_another_organization_has(self, side: int, by: int, intent: Intent) -> None:
        told = self.sides[side]
        name, arguments = intent.command(self.sides[side - 1])
        fresh = {"key": told.fresh_key()} if "key" in arguments else {}
        assert told.do(Command(name, arguments | fresh), by=by) in (HoldNotFound, PackNotFound)

    # The clock

    @rule(seconds=st.integers(0, 15))
    def wait(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.look()

    @rule(seconds=st.integers(1, 15))
    def run_backwards(self, seconds: int) -> None:
        self.clock.now = max(START, self.clock.now - timedelta(seconds=seconds))
        self.look()

    @rule(which=st.integers(0, 3), just_before=st.booleans())
    def wait_for_an_expiry_or_a_lapse(self, which: int, just_before: bool) -> None:
        coming = self.coming()
        if coming:
            self.clock.now = coming[which % len(coming)] - (MICROSECOND if just_before else timedelta(0))
            self.look()

    def coming(self) -> list[datetime]:
        """Return the instants to come at which a pack expires or a hold lapses, the next first."""
        worlds = [side.oracle.world for side in self.sides]
        ends = [pack.expires_at for world in worlds for pack in world.packs if pack.expires_at]
        ends += [hold.lapses_at for world in worlds for hold in world.holds.values()]
        return sorted({end for end in ends if end > self.clock.now + MICROSECOND})

    def look(self) -> None:
        """Compare what readers see when nothing but the time has changed."""
        self.instants.add(self.clock.now)
        for number, side in enumerate(self.sides):
            side.compare_reading(by=number % 2)

    def teardown(self) -> None:
        """Compare every past that is remembered, and check every law, unless they disagree already."""
        self.clock.now = max(self.clock.now, *(side.now() for side in self.sides))
        past = sorted(instant.astimezone(UTC) for instant in self.instants if START <= instant <= self.clock.now)
        for side in self.sides if all(side.agreed for side in self.sides) else []:
            for instant in past[:: 1 + len(past) // INSTANTS_REMEMBERED]:
                side.compare_reading(instant)
            check_laws(side)


def otherwise(command: Command, *, anew: bool) -> Command:
    """Return a command under the same key that is not the same: another one altogether, or the same with one thing changed."""
    name, arguments = command
    if anew and name not in ("grant", "open_hold", "extend_hold"):
        return Command("grant", {"amount": 59, "key": arguments["key"]})
    changed: dict[str, Any] = {
        "revoke": {"cancel_holds": not arguments.get("cancel_holds")},
        "extend": {"expires_at": datetime(2090, 1, 1, tzinfo=UTC)},
        "extend_hold": {"more_tokens": arguments.get("more_tokens", 0) + 59},
    }
    return Command(name, arguments | changed.get(name, {"amount": (arguments.get("amount") or 0) + 59}))


@pytest.fixture
def machine(database_url: str) -> Iterator[type[ToldTwice]]:
    """The state machine on two Meters and a new database."""
    opened = Processes(database_url)
    yield type("ToldTwiceHere", (ToldTwice,), {"processes": opened})
    opened.close()


def test_tokenwell_and_the_oracle_agree_on_everything(machine: type[ToldTwice]) -> None:
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=40,
        phases=PHASES,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)
