"""A worker whose clock jumps: `python -m tests.alerts.worker DATABASE_URL SEED` runs every job until it is killed."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import datetime, timedelta

from tokenwell.config import Settings
from tokenwell.service.ports import system_clock
from tokenwell.wiring.jobs import open_runner
from tokenwell.wiring.opening import open_meter, open_suite

SECONDS = [0] * 6 + [20, 180, 7_200, -20, -10_800]
"""How far its clock is off, again and again."""

LEASE = timedelta(seconds=1.5)
CLAIM = timedelta(seconds=3)


class JumpyClock:
    """A clock that is set, again and again, to a time that is not now."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._offset = timedelta()
        self._left = 0

    def __call__(self) -> datetime:
        """Return what time it seems to be."""
        if self._left == 0:
            self._offset = timedelta(seconds=self._random.choice(SECONDS))
            self._left = self._random.randrange(20, 200)
        self._left -= 1
        return system_clock() + self._offset


def main() -> None:
    """Run jobs until killed."""
    url, seed = sys.argv[1:]
    settings = Settings(database_url=url, alerts_allowed_hosts="127.0.0.1", secret_key="k" * 32)
    with open_meter(settings, clock=JumpyClock(seed)) as meter:
        suite = open_suite(meter, settings)
        asyncio.run(open_runner(suite, settings, lease=LEASE, claim=CLAIM).run())


if __name__ == "__main__":
    main()
