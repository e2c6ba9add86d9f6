"""Processes: several Meters on one database, as if each ran in a process of its own."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from itertools import count

from tests.doubles import START, FrozenClock
from tests.oracle.inputs import RATES
from tests.oracle.side_by_side import SideBySide
from tokenwell import Meter, Rate, Thresholds


class Processes:
    """Two Meters on one database, and their clock. Every organization they are asked about has an id of its own."""

    def __init__(self, url: str) -> None:
        self.clock = FrozenClock()
        self.meters = [Meter(url, thresholds=Thresholds(8, 3), clock=self.clock) for _ in range(2)]
        self.organizations = (f"org-{number}" for number in count(1))
        for model, (prompt, completion) in RATES.items():
            if model is not None:
                since = START - timedelta(days=1)
                self.meters[0].set_rate(
                    Rate(model=model, effective_at=since, input_millionths=prompt, output_millionths=completion)
                )

    def side_by_side(self) -> SideBySide:
        """Return a new organization, told twice, its time beginning anew."""
        self.clock.now = START
        return SideBySide(self.meters, self.clock, next(self.organizations))

    def close(self) -> None:
        """Close both Meters."""
        with ExitStack() as stack:
            for meter in self.meters:
                stack.callback(meter.close)
