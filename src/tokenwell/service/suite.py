"""The suite: every service on one database, as the API and the console are given them."""

from __future__ import annotations

from tokenwell.service.browsing import Browsing
from tokenwell.service.indexing import Indexing
from tokenwell.service.keys import Keys
from tokenwell.service.meter import Meter
from tokenwell.service.people import People


class Suite:
    """The meter and the services around it. It closes what it opened; the meter is closed by who opened that."""

    def __init__(self, meter: Meter, *, people: People | None = None) -> None:
        self.meter = meter
        self.people = people or People(meter.engine, meter.clock)
        self.keys = Keys(meter.engine, meter.clock)
        self.browsing = Browsing(meter, Indexing(meter.engine))

    def close(self) -> None:
        """Close what the suite opened."""
        self.keys.close()
