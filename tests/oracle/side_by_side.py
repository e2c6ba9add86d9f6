"""One organization told twice: by Meters on a database and by an oracle, which must agree on everything after every step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple

from tests.doubles import FrozenClock
from tests.oracle.model import Oracle
from tests.oracle.projection import balance_shown, events_of, journal_of, kind_of, line_of, new_id_in, pack_shown, shown
from tests.oracle.shapes import Answer, Line
from tests.oracle.telling import Event
from tokenwell import Meter
from tokenwell.core.journal import Entry
from tokenwell.core.receipts import Answer as Answered
from tokenwell.errors import TokenwellError

Outcome = Answer | type[TokenwellError]
"""What a command came to: its answer, or the kind of its refusal."""


class Command(NamedTuple):
    """A command by the name of its method, and what it is called with."""

    name: str
    arguments: dict[str, Any]


class Happened(NamedTuple):
    """A command that was carried out: what it came to, and the id of the pack or the hold that it brought."""

    command: Command
    outcome: Outcome
    new_id: str


class SideBySide:
    """Drives Meters (as many processes on one database) and the oracle through the same commands."""

    def __init__(self, meters: Sequence[Meter], clock: FrozenClock, organization_id: str) -> None:
        self.meters = meters
        self.clock = clock
        self.organization_id = organization_id
        self.oracle = Oracle(created_at=clock.now)
        self.entries: list[Entry] = []
        self.told: list[Event] = []
        self.done: list[Command] = []
        self.keys_used = 0
        self.asked_at: set[datetime] = set()
        self.agreed = True
        meters[0].create_organization(organization_id)

    def now(self) -> datetime:
        """Return the instant at which the next command is decided."""
        return max(self.clock.now, self.oracle.world.now)

    def fresh_key(self) -> str:
        """Return a key that no command has used."""
        self.keys_used += 1
        return f"key-{self.keys_used}"

    # Commands

    def do(self, command: Command, *, by: int = 0) -> Outcome:
        """Carry a command out by one of the Meters; fails unless the oracle comes to the same."""
        self.agreed = False
        self.asked_at.add(self.clock.now)
        happened = self.call(command, by=by)
        expected = self.expect(self.oracle, happened)
        assert happened.outcome == expected, f"{command} came to\n{happened.outcome}\nand not to\n{expected}"
        self.keep(command, happened.outcome)
        self.entries += self.unread(by=by)
        if len(self.entries) > len(self.oracle.lines):
            self.oracle = self.oracle.close_due(self.clock.now)
        self.compare(by=by)
        return happened.outcome

    def do_together(self, commands: Sequence[Command], *, over: Sequence[int]) -> None:
        """Carry commands out at the same time, the Meters of `over` in turn; fails unless they came to what some order of them,
        one after the other, comes to. With one Meter they are coroutines, with several threads."""
        self.agreed = False
        self.asked_at.add(self.clock.now)
        if len(set(over)) == 1:
            happened = asyncio.run(self._gather(commands, self.meters[over[0]]))
        else:
            with ThreadPoolExecutor(len(commands)) as threads:
                meters = [over[index % len(over)] for index in range(len(commands))]
                happened = list(threads.map(lambda command, by: self.call(command, by=by), commands, meters))
        self.entries += self.unread(by=over[0])
        self.told = events_of(self.meters[over[0]], self.organization_id)
        ordered = self.in_some_order(self.oracle, happened) or self.in_some_order(self.oracle.close_due(self.clock.now), happened)
        assert ordered is not None, (
            "no order explains:\n" + "\n".join(map(str, happened)) + "\n" + "\n".join(map(str, self.written()))
        )
        self.oracle = ordered
        for command, outcome, _ in happened:
            self.keep(command, outcome)
        self.compare(by=over[-1])

    async def _gather(self, commands: Sequence[Command], meter: Meter) -> list[Happened]:
        return await asyncio.gather(*(self._call_soon(command, meter) for command in commands))

    async def _call_soon(self, command: Command, meter: Meter) -> Happened:
        try:
            answer = await getattr(meter.aio, command.name)(self.organization_id, **command.arguments)
        except TokenwellError as refusal:
            return Happened(command, kind_of(refusal), "")
        return Happened(command, shown(answer), new_id_in(answer))

    def call(self, command: Command, *, by: int = 0) -> Happened:
        """Carry a command out by a Meter alone."""
        try:
            answer: Answered = getattr(self.meters[by], command.name)(self.organization_id, **command.arguments)
        except TokenwellError as refusal:
            return Happened(command, kind_of(refusal), "")
        assert answer.organization_id == self.organization_id
        return Happened(command, shown(answer), new_id_in(answer))

    def expect(self, oracle: Oracle, happened: Happened) -> Outcome:
        """Return what an oracle says a command comes to, and let it learn the command."""
        name, arguments = happened.command
        try:
            return oracle.do(self.clock.now, name, new_id=happened.new_id, **arguments)
        except TokenwellError as refusal:
            return type(refusal)

    def in_some_order(self, oracle: Oracle, happened: Sequence[Happened]) -> Oracle | None:
        """Return an oracle that carried the commands out in an order that explains outcomes and journal, None if there is none."""
        written = self.written()
        if not happened:
            return oracle if oracle.lines == written and oracle.events == self.told else None
        for index, first in enumerate(happened):
            fork = oracle.fork()
            if self.expect(fork, first) != first.outcome or fork.lines != written[: len(fork.lines)]:
                continue
            if fork.events != self.told[: len(fork.events)]:
                continue
            ordered = self.in_some_order(fork, [*happened[:index], *happened[index + 1 :]])
            if ordered is not None:
                return ordered
        return None

    def keep(self, command: Command, outcome: Outcome) -> None:
        """Remember a command that was carried out for the first time."""
        if isinstance(outcome, dict) and not outcome["replayed"]:
            self.done.append(command)

    # Comparing

    def unread(self, *, by: int = 0) -> list[Entry]:
        """Return the lines written since the last time."""
        return journal_of(self.meters[by], self.organization_id, after_seq=len(self.entries))

    def written(self) -> list[Line]:
        """Return every line that was read so far."""
        return [line_of(entry) for entry in self.entries]

    def compare(self, *, by: int = 0) -> None:
        """Fail unless the journal, the balance and the packs that a Meter shows are those of the oracle."""
        written, expected = self.written(), self.oracle.lines
        assert written == expected, "journal:\n" + "\n".join(map(str, written)) + "\nand not\n" + "\n".join(map(str, expected))
        told, events = events_of(self.meters[by], self.organization_id), self.oracle.events
        assert told == events, "events:\n" + "\n".join(map(str, told)) + "\nand not\n" + "\n".join(map(str, events))
        self.compare_reading(by=by)
        self.agreed = True

    def compare_reading(self, as_of: datetime | None = None, *, by: int = 0) -> None:
        """Fail unless balance and packs, now or as of a past instant, are those of the oracle."""
        balance = self.meters[by].balance(self.organization_id, as_of=as_of)
        if as_of is None and balance.as_of != self.now() and balance.as_of in self.asked_at:
            # A refused command closed a hold that had lapsed: no line tells, but the clock does not run back before it.
            self.oracle = self.oracle.close_due(balance.as_of)
        at = as_of or self.now()
        assert balance.as_of == at
        assert balance_shown(balance) == self.oracle.balance_at(at)
        lines = self.meters[by].packs(self.organization_id, as_of=as_of, limit=200).items
        assert [pack_shown(line.pack, line.status) for line in lines] == self.oracle.packs_at(at)
