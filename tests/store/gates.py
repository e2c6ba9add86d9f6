"""Gates: a writer that can be made to wait, so that a batch gathers behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.store.tenants import NO_THRESHOLDS
from tokenwell import Meter
from tokenwell.core.commands import Command
from tokenwell.core.receipts import Answer
from tokenwell.service.batching import Batcher, Commit
from tokenwell.service.ports import new_id
from tokenwell.store.dialects import parse_database
from tokenwell.store.writer import Writer

PATIENCE_SECONDS = 60
"""Whoever is not answered for so long never will be: the test fails instead of waiting for ever."""


class Gate:
    """A commit function that waits while it is shut, and keeps what it was given. `before` is told every batch that passes."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self.before: Callable[[Sequence[Command]], None] = lambda commands: None
        self._open = threading.Event()
        self._open.set()
        self._reached = threading.Event()
        self.batches: list[list[Command]] = []

    def __call__(self, commands: Sequence[Command]) -> list[Answer | Exception]:
        """Commit when the gate is open."""
        self.batches.append(list(commands))
        self._reached.set()
        self._open.wait()
        self.before(commands)
        return self._commit(commands)

    def shut(self) -> None:
        """Let nothing through from now on."""
        self._open.clear()
        self._reached.clear()

    def open(self) -> None:
        """Let everything through."""
        self._open.set()

    def wait(self) -> None:
        """Wait until a batch stands before the gate."""
        assert self._reached.wait(PATIENCE_SECONDS)


@contextmanager
def gated(meter: Meter, url: str, *, queue_limit: int = 1000) -> Iterator[Gate]:
    """Put a gate before a meter's writer."""
    writer = Writer(parse_database(url), thresholds=NO_THRESHOLDS, clock=meter.clock, new_id=new_id)
    gate = Gate(writer.commit)
    meter.batcher.close()
    meter.batcher = Batcher(gate, queue_limit=queue_limit, batch_limit=256)
    try:
        yield gate
    finally:
        gate.open()
        meter.batcher.close()
        writer.close()


async def behind(gate: Gate, first: Coroutine[Any, Any, Any], *others: Coroutine[Any, Any, Any]) -> list[Any]:
    """Let the others gather while the first is being committed; returns what each answered or raised."""
    gate.shut()
    tasks = [asyncio.create_task(first)]
    await asyncio.to_thread(gate.wait)
    tasks += [asyncio.create_task(other) for other in others]
    await asyncio.sleep(0)
    gate.open()
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.gather(*tasks, return_exceptions=True)
