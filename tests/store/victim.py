"""A victim: charges one organization from threads and coroutines, telling every call and answer, until it is killed.

`python -m tests.store.victim URL ORGANIZATION NAME`
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec

from tests.store.killing import Told
from tests.store.tenants import NO_THRESHOLDS
from tokenwell import Meter

CALLERS = 4
"""So many threads, and as many coroutines."""

HOLD_TTL = timedelta(minutes=10)


def tell(told: Told) -> None:
    """Write one line, whole."""
    os.write(1, msgspec.json.encode(told) + b"\n")


def script(name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, key and arguments for ever: debits, some of which are refunded, and holds, some of which are settled."""
    for number in itertools.count():
        amount = number % 9 + 1
        yield "debit", f"{name}-{number}", {"amount": amount}
        if number % 3 == 0:
            yield "refund", f"{name}-{number}-back", {"request_id": f"{name}-{number}", "amount": 1}
        if number % 4 == 0:
            yield "open_hold", f"{name}-{number}-held", {"amount": amount}
        if number % 8 == 0:
            yield "settle", f"{name}-{number}-held", {"amount": amount}


def run_thread(meter: Meter, organization_id: str, name: str) -> None:
    """Run a script on plain calls."""
    hold_id = ""
    for method, key, kwargs in script(name):
        if method == "open_hold":
            hold_id = meter.open_hold(organization_id, **kwargs, key=key, ttl=HOLD_TTL).hold.id
        elif method == "settle":
            tell(Told(method, key, kwargs | {"hold_id": hold_id}))
            tell(Told(method, key, kwargs, meter.settle(organization_id, hold_id, **kwargs).amount_tokens))
        else:
            tell(Told(method, key, kwargs))
            tell(Told(method, key, kwargs, getattr(meter, method)(organization_id, **kwargs, key=key).amount_tokens))


async def run_task(meter: Meter, organization_id: str, name: str) -> None:
    """Run a script on coroutines."""
    hold_id = ""
    for method, key, kwargs in script(name):
        if method == "open_hold":
            hold_id = (await meter.aio.open_hold(organization_id, **kwargs, key=key, ttl=HOLD_TTL)).hold.id
        elif method == "settle":
            tell(Told(method, key, kwargs | {"hold_id": hold_id}))
            tell(Told(method, key, kwargs, (await meter.aio.settle(organization_id, hold_id, **kwargs)).amount_tokens))
        else:
            tell(Told(method, key, kwargs))
            tell(Told(method, key, kwargs, (await getattr(meter.aio, method)(organization_id, **kwargs, key=key)).amount_tokens))


async def run_tasks(meter: Meter, organization_id: str, name: str) -> None:
    """Run several scripts as coroutines."""
    await asyncio.gather(*(run_task(meter, organization_id, f"{name}-task{caller}") for caller in range(CALLERS)))


def main(url: str, organization_id: str, name: str) -> None:
    """Charge until killed."""
    meter = Meter(url, thresholds=NO_THRESHOLDS)
    for caller in range(CALLERS):
        threading.Thread(target=run_thread, args=(meter, organization_id, f"{name}-thread{caller}")).start()
    asyncio.run(run_tasks(meter, organization_id, name))


if __name__ == "__main__":
    main(*sys.argv[1:])
