"""Batching: many callers, one writer, one transaction for all that wait.

A caller alone commits at once: on its own thread if it is a plain call, on the writer's thread if it is a coroutine. While a
transaction commits, the next batch gathers; nobody waits for company. Only an event loop that has more to do at this moment does
that first, since its coroutines could not hear an answer earlier anyway: what they bring meanwhile is in the same batch. The queue
is bounded: a full one refuses with StoreBusy.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import structlog

from tokenwell.core.commands import Command
from tokenwell.core.receipts import Answer
from tokenwell.errors import CommitUnknown, StoreBusy, StoreError, StoreUnavailable

log = structlog.get_logger()

Commit = Callable[[Sequence[Command]], list[Answer | Exception]]


class Waiter:
    """A command in the queue, and where its answer goes."""

    __slots__ = ("answer", "command", "done", "future", "loop")

    def __init__(self, command: Command, future: asyncio.Future[Answer] | None = None) -> None:
        self.command = command
        self.future = future
        self.loop = None if future is None else future.get_loop()
        self.answer: Answer | Exception | None = None
        self.done: threading.Event | None = threading.Event() if future is None else None


class Batcher:
    """Gathers commands into batches and hands each batch to `commit`, one at a time."""

    def __init__(self, commit: Commit, *, queue_limit: int, batch_limit: int) -> None:
        self._commit = commit
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._queue: deque[Waiter] = deque()
        self._writing = threading.Lock()
        self._work = threading.Semaphore(0)
        self._idle = True
        self._closed = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def submit(self, command: Command) -> Answer:
        """Commit a command and return its answer, or raise its error. Raises StoreBusy if too many wait."""
        (waiter,) = self._enqueue_all([Waiter(command)])
        answer = self._await_turn(waiter)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _await_turn(self, waiter: Waiter) -> Answer | Exception:
        assert waiter.done is not None
        # Whoever finds the writer free writes for all who wait; the others find their answer ready when it is their turn.
        while waiter.answer is None:
            if self._writing.acquire(blocking=False):
                try:
                    if waiter.answer is None:
                        self._write_batch()
                finally:
                    self._writing.release()
                    self._wake_next()
            else:
                waiter.done.wait()
                waiter.done.clear()
        return waiter.answer

    def submit_many(self, commands: Sequence[Command]) -> list[Answer | Exception]:
        """Commit many commands, as many to a transaction as go into it; returns an answer or an error for each, in order.

        Raises StoreBusy if too many wait already: then none was taken.
        """
        waiters = self._enqueue_all([Waiter(command) for command in commands])
        return [self._await_turn(waiter) for waiter in waiters]

    async def asubmit(self, command: Command) -> Answer:
        """Commit a command without blocking the event loop. A cancelled caller's command may still be committed."""
        loop = asyncio.get_running_loop()
        waiter = Waiter(command, loop.create_future())
        self._enqueue_all([waiter])
        loop.call_soon(self._call_writer)
        assert waiter.future is not None
        return await waiter.future

    async def asubmit_many(self, commands: Sequence[Command]) -> list[Answer | Exception]:
        """Commit many commands, as `submit_many` does, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        waiters = self._enqueue_all([Waiter(command, loop.create_future()) for command in commands])
        loop.call_soon(self._call_writer)
        outcomes = await asyncio.gather(*(waiter.future for waiter in waiters if waiter.future), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
        return cast("list[Answer | Exception]", outcomes)

    def _call_writer(self) -> None:
        if self._thread is None:
            self._start()
        if self._idle:
            self._idle = False
            self._work.release()

    def _enqueue_all(self, waiters: list[Waiter]) -> list[Waiter]:
        """Queue them if there is room; many at once may go beyond the limit where nobody else waits."""
        if self._closed:
            raise StoreUnavailable("the meter is closed")
        waiting = len(self._queue)
        if waiting and waiting + len(waiters) > self._queue_limit:
            raise StoreBusy(waiting=waiting)
        self._queue.extend(waiters)
        return waiters

    def close(self) -> None:
        """Commit what waits, then stop."""
        self._closed = True
        if self._thread is not None:
            self._work.release()
            self._thread.join()
        with self._writing:
            while self._queue:
                self._write_batch()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tokenwell-writer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._work.acquire()
            while True:
                with self._writing:
                    self._write_batch()
                self._idle = True
                waiting = tuple(self._queue)
                if len(waiting) < self._batch_limit and (not waiting or self._is_called_back(waiting)):
                    break

    def _is_called_back(self, waiting: Sequence[Waiter]) -> bool:
        """Let those who wait call the writer, loops once they have done what they can do now; return whether anybody will."""
        called = False
        for loop in {waiter.loop for waiter in waiting}:
            if loop is None:
                thread = next(waiter.done for waiter in waiting if waiter.done is not None)
                thread.set()
                called = True
                continue
            try:
                loop.call_soon_threadsafe(loop.call_soon, self._call_writer)
                called = True
            except RuntimeError:
                continue  # it was closed
        return called

    def _wake_next(self) -> None:
        """Pass the writer's role on: to the thread that waits first in the queue, else to the writer's thread."""
        try:
            waiter = self._queue[0]
        except IndexError:
            return
        if waiter.done is not None:
            waiter.done.set()
        else:
            self._work.release()

    def _write_batch(self) -> None:
        batch = self._take()
        if not batch:
            return
        try:
            answers: Sequence[Any] = self._commit_all([waiter.command for waiter in batch])
        except BaseException:
            # The leading thread was interrupted: nobody can tell the others what became of their commands.
            self._answer(batch, [CommitUnknown() for _ in batch])
            raise
        self._answer(batch, answers)

    def _commit_all(self, commands: Sequence[Command]) -> Sequence[Answer | Exception]:
        try:
            return self._commit(commands)
        except StoreError as error:
            return [type(error)(error.message, **error.details) for _ in commands]
        except Exception as error:
            # A defect that one command meets must not fail the others: each is tried by itself.
            if len(commands) > 1:
                log.warning("batch_failed", commands=len(commands), error=repr(error))
                return [self._commit_all([command])[0] for command in commands]
            # Without the values of variables: they are the caller's.
            log.error("command_failed", command=type(commands[0]).__name__, traceback=traceback.format_exc())
            return [error]

    def _take(self) -> list[Waiter]:
        """Take the next batch: in order, but a second command on the same key or subject waits for the batch after."""
        batch: list[Waiter] = []
        later: list[Waiter] = []
        seen: set[Any] = set()
        queue = self._queue
        while queue and len(batch) < self._batch_limit and len(later) < self._batch_limit:
            waiter = queue.popleft()
            command = waiter.command
            key, subject = (command.organization_id, command.key), (command.organization_id, command.subject)
            if key in seen or subject in seen:
                later.append(waiter)
                continue
            seen.add(key)
            seen.add(subject)
            batch.append(waiter)
        queue.extendleft(reversed(later))
        return batch

    def _answer(self, batch: Sequence[Waiter], answers: Sequence[Any]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}
        for waiter, answer in zip(batch, answers, strict=True):
            waiter.answer = answer
            if waiter.loop is not None:
                loops.setdefault(waiter.loop, []).append(waiter)
            elif waiter.done is not None:
                waiter.done.set()
        for loop, waiters in loops.items():
            try:
                loop.call_soon_threadsafe(_resolve, waiters)
            except RuntimeError:
                # The loop was closed: nobody is left to hear the answer.
                continue


def _resolve(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        future, answer = waiter.future, waiter.answer
        if future is None or future.done():
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            assert answer is not None
            future.set_result(answer)
