"""Workers: other processes that work on a database at the same moment, with meters of their own.

A task is a generator function: what stands before its one `yield` prepares it; what stands after it runs when all are ready.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Self

from tests.store.tenants import NO_THRESHOLDS
from tokenwell import Meter
from tokenwell.errors import TokenwellError

PATIENCE_SECONDS = 60
"""A worker that says nothing for so long hangs: the test fails instead of waiting for ever."""

Task = Callable[..., Generator[None, None, Any]]
Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""A method of the meter, and what it is called with."""

Outcome = Any
"""What a call answered, or the error it raised."""


def call(method: str, *args: Any, **kwargs: Any) -> Call:
    """Return a call to be made by a worker."""
    return method, args, kwargs


class Workers:
    """Processes that wait for tasks."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[tuple[BaseProcess, Connection]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, task: Task, arguments: Sequence[dict[str, Any]]) -> list[Any]:
        """Run a task in as many workers as there are arguments, all starting together; returns what each returned."""
        if not self._processes:
            self._start()
        pipes = [pipe for _, pipe in self._processes[: len(arguments)]]
        assert len(pipes) == len(arguments)
        try:
            for pipe, each in zip(pipes, arguments, strict=True):
                pipe.send((task, each))
            for pipe in pipes:
                _hear(pipe, "ready")
            for pipe in pipes:
                pipe.send("go")
            return [_hear(pipe, "done") for pipe in pipes]
        except BaseException:
            self._stop()  # whatever they are at: the next task gets new ones
            raise

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        for _ in range(self._count):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._processes.append((process, ours))

    def _stop(self) -> None:
        for process, pipe in self._processes:
            process.kill()
            process.join()
            pipe.close()
        self._processes.clear()


def _hear(pipe: Connection, expected: str) -> Any:
    assert pipe.poll(PATIENCE_SECONDS), "a worker hangs"
    what, value = pipe.recv()
    assert what == expected, value
    return value


def _serve(pipe: Connection) -> None:
    while True:
        task, arguments = pipe.recv()
        try:
            steps = task(**arguments)
            next(steps)
            pipe.send(("ready", None))
            pipe.recv()
            try:
                next(steps)
            except StopIteration as stop:
                pipe.send(("done", stop.value))
        except BaseException:
            pipe.send(("failed", traceback.format_exc()))


def race(url: str, scripts: list[list[Call]], mode: str = "threads", **options: Any) -> Generator[None, None, list[list[Outcome]]]:
    """Run scripts at the same time on one meter: each in a thread, in a coroutine (mode "tasks"), or half and half ("mixed")."""
    with Meter(url, thresholds=NO_THRESHOLDS, migrate=False, **options) as meter:
        outcomes: list[list[Outcome]] = [[] for _ in scripts]
        places = range(len(scripts))
        in_tasks = {"threads": [], "tasks": list(places), "mixed": list(places[1::2])}[mode]
        go = threading.Event()

        def run_thread(place: int) -> None:
            go.wait()
            outcomes[place].extend(_outcome(meter, each) for each in scripts[place])

        async def run_task(place: int) -> None:
            for each in scripts[place]:
                outcomes[place].append(await _async_outcome(meter, each))

        async def run_tasks() -> None:
            await asyncio.gather(*(run_task(place) for place in in_tasks))

        def run_loop() -> None:
            go.wait()
            asyncio.run(run_tasks())

        threads = [threading.Thread(target=run_thread, args=(place,)) for place in places if place not in in_tasks]
        threads.append(threading.Thread(target=run_loop))
        for thread in threads:
            thread.start()
        yield
        go.set()
        for thread in threads:
            thread.join()
        return outcomes


def _outcome(meter: Meter, each: Call) -> Outcome:
    method, args, kwargs = each
    try:
        return getattr(meter, method)(*args, **kwargs)
    except TokenwellError as error:
        return error
    except Exception:
        return traceback.format_exc()


async def _async_outcome(meter: Meter, each: Call) -> Outcome:
    method, args, kwargs = each
    try:
        return await getattr(meter.aio, method)(*args, **kwargs)
    except TokenwellError as error:
        return error
    except Exception:
        return traceback.format_exc()


def migrate(urls: list[str]) -> Generator[None, None, None]:
    """Open every database, one after the other: each may be migrated by another worker at the same moment."""
    yield
    for url in urls:
        Meter(url).close()
