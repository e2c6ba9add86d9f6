"""An oracle on a clock, for examples worked out by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.doubles import START, FrozenClock
from tests.oracle.model import Oracle
from tests.oracle.shapes import Answer

MICROSECOND = timedelta(microseconds=1)


class Told:
    """An oracle and the clock by which it is told its commands. Packs are `pack-1`, `pack-2`, …; holds `hold-1`, `hold-2`, …"""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.oracle = Oracle(created_at=START, warning=0, reserve=0)

    def __call__(self, command: str, **arguments: Any) -> Answer:
        return self.oracle.do(self.clock.now, command, **arguments)

    def lines(self, after_seq: int = 0) -> list[str]:
        """Return the lines after one, each as `kind amount pack remaining | balance`."""
        told = []
        for line in self.oracle.lines[after_seq:]:
            pack = f" {line.pack} {line.remaining}" if line.pack else ""
            told.append(f"{line.kind} {line.amount}{pack} | {line.balance}")
        return told

    def status(self) -> list[str]:
        """Return the status of every pack, the oldest first."""
        return [pack["status"] for pack in reversed(self.oracle.packs_at(self.clock.now))]

    def reading(self, name: str) -> Any:
        """Return one number of the balance as it is read now."""
        return self.oracle.balance_at(self.clock.now)[name]
