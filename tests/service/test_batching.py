"""Batching alone, before a commit that the test holds in its hand: who writes, in which order, and who hears what."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain
from typing import Any

import pytest
import structlog

from tests.doubles import START
from tokenwell.core.commands import Command, Release
from tokenwell.core.health import State
from tokenwell.core.receipts import Answer, Released
from tokenwell.errors import AiStopped, CommitUnknown, StoreBusy, StoreUnavailable
from tokenwell.service.batching import Batcher

PATIENCE_SECONDS = 60
"""A test that waits so long has lost a wake-up: it fails instead of waiting for ever."""


def command(name: str, *, subject: str | None = None, organization_id: str = "acme") -> Release:
    """Return a command with its name for a key; its subject is the hold, its own unless another is given."""
    return Release(organization_id=organization_id, key=name.encode(), fingerprint=b"", hold_id=subject or name)


def answer_to(command: Command) -> Answer:
    """Return the answer that tells which command it is to."""
    name = command.key.decode()
    return Released(organization_id=command.organization_id, at=START, balance_tokens=0, state=State.NORMAL, hold_id=name)


class Ledger:
    """A commit that keeps what it is given and waits while it is shut. It fails for a batch with a command named in `errors`, and
    refuses those named in `refused`."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: list[int] = []
        self.errors: dict[str, BaseException] = {}
        self.refused: dict[str, Exception] = {}
        self.writers = 0
        self._open = threading.Event()
        self._open.set()
        self._entered = threading.Semaphore(0)

    def __call__(self, commands: Sequence[Command]) -> list[Answer | Exception]:
        self.writers += 1
        assert self.writers == 1, "two batches are committed at once"
        batch = [each.key.decode() for each in commands]
        self.batches.append(batch)
        self.threads.append(threading.get_ident())
        self._entered.release()
        self._open.wait()
        self.writers -= 1
        for name in batch:
            if name in self.errors:
                raise self.errors[name]
        return [self.refused.get(name) or answer_to(each) for name, each in zip(batch, commands, strict=True)]

    def shut(self) -> None:
        """Commit nothing from now on."""
        self._open.clear()

    def open(self) -> None:
        """Commit what waits, and all that comes."""
        self._open.set()

    def wait(self) -> None:
        """Wait until another batch is being committed."""
        assert self._entered.acquire(timeout=PATIENCE_SECONDS)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def batcher(ledger: Ledger) -> Iterator[Batcher]:
    batcher = Batcher(ledger, queue_limit=100, batch_limit=10)
    yield batcher
    ledger.open()
    batcher.close()


class Callers:
    """Calls in threads that no test waits for: one that is never answered fails its test and no more."""

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call in a new thread; the future tells what came of it."""
        future = Future[Any]()

        def run() -> None:
            try:
                future.set_result(call(*args))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future


@pytest.fixture
def callers() -> Callers:
    return Callers()


def waiting(batcher: Batcher) -> int:
    """Return how many commands wait."""
    return len(batcher._queue)  # nothing else tells when the next caller has come


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that some thread is about to make true."""
    ticks = threading.Event()
    for _ in range(PATIENCE_SECONDS * 1000):
        if condition():
            return
        ticks.wait(0.001)
    raise AssertionError("what was waited for never came")


def names(futures: Sequence[Future[Answer]]) -> list[str]:
    """Return which commands were answered."""
    return [future.result(PATIENCE_SECONDS).hold_id for future in futures]  # type: ignore[attr-defined]


def behind(batcher: Batcher, ledger: Ledger, callers: Callers, *commands: Command) -> list[Future[Answer]]:
    """Submit commands one after the other while the first of them is being committed."""
    ledger.shut()
    futures = [callers.submit(batcher.submit, commands[0])]
    ledger.wait()
    for place, each in enumerate(commands[1:]):
        futures.append(callers.submit(batcher.submit, each))
        until(lambda place=place: waiting(batcher) == place + 1)
    return futures


# Alone


def test_a_plain_caller_alone_commits_at_once_on_its_own_thread(batcher: Batcher, ledger: Ledger) -> None:
    for name in ("a", "b"):
        assert batcher.submit(command(name)) == answer_to(command(name))
    assert ledger.batches == [["a"], ["b"]]
    assert set(ledger.threads) == {threading.get_ident()}


async def test_a_coroutine_alone_commits_at_once_on_another_thread(batcher: Batcher, ledger: Ledger) -> None:
    for name in ("a", "b"):
        assert await batcher.asubmit(command(name)) == answer_to(command(name))
    assert ledger.batches == [["a"], ["b"]]
    assert threading.get_ident() not in ledger.threads


# Together


def test_those_who_come_meanwhile_are_committed_together_in_their_order(batcher: Batcher, ledger: Ledger, callers: Callers) -> None:
    futures = behind(batcher, ledger, callers, *(command(name) for name in "abcde"))
    ledger.open()
    assert names(futures) == list("abcde")
    assert ledger.batches == [["a"], ["b", "c", "d", "e"]]


async def test_coroutines_that_come_meanwhile_are_committed_together_in_their_order(batcher: Batcher, ledger: Ledger) -> None:
    ledger.shut()
    tasks = [asyncio.create_task(batcher.asubmit(command("a")))]
    await asyncio.to_thread(ledger.wait)
    tasks += [asyncio.create_task(batcher.asubmit(command(name))) for name in "bcde"]
    await asyncio.sleep(0)
    ledger.open()
    assert await asyncio.gather(*tasks) == [answer_to(command(name)) for name in "abcde"]
    assert ledger.batches == [["a"], ["b", "c", "d", "e"]]


async def test_what_an_event_loop_has_to_do_at_this_moment_is_committed_together(
    batcher: Batcher, ledger: Ledger, callers: Callers
) -> None:
    async def submit(name: str) -> Answer:
        for _ in range(20):
            callers.submit(int).result(PATIENCE_SECONDS)  # other threads have their turn meanwhile, the writer's too
        return await batcher.asubmit(command(name))

    await asyncio.gather(*(submit(f"{number}") for number in range(5)))
    assert ledger.batches == [["0", "1", "2", "3", "4"]]


async def test_an_event_loop_that_is_stuck_keeps_no_other_one_waiting(batcher: Batcher, ledger: Ledger, callers: Callers) -> None:
    is_stuck, go_on = threading.Event(), threading.Event()

    async def stuck() -> list[Answer]:
        first = asyncio.create_task(batcher.asubmit(command("first")))
        await asyncio.to_thread(ledger.wait)
        second = asyncio.create_task(batcher.asubmit(command("second")))
        await asyncio.sleep(0)
        is_stuck.set()
        go_on.wait()
        return [await first, await second]

    ledger.shut()
    other = callers.submit(asyncio.run, stuck())
    await asyncio.to_thread(is_stuck.wait, PATIENCE_SECONDS)
    mine = asyncio.create_task(batcher.asubmit(command("mine")))
    await asyncio.to_thread(until, lambda: waiting(batcher) == 2)
    ledger.open()
    try:
        assert await asyncio.wait_for(mine, PATIENCE_SECONDS) == answer_to(command("mine"))
    finally:
        go_on.set()
    assert await asyncio.wrap_future(other) == [answer_to(command("first")), answer_to(command("second"))]


def test_a_batch_has_a_limit(batcher: Batcher, ledger: Ledger, callers: Callers) -> None:
    everyone = [f"{number:02}" for number in range(26)]
    futures = behind(batcher, ledger, callers, *(command(name) for name in everyone))
    ledger.open()
    assert names(futures) == everyone
    assert [len(batch) for batch in ledger.batches] == [1, 10, 10, 5]
    assert list(chain(*ledger.batches)) == everyone


def test_a_second_command_on_a_key_or_subject_waits_for_the_batch_after(batcher: Batcher, ledger: Ledger, callers: Callers) -> None:
    commands = [
        command("x"),
        command("a"),
        command("b", subject="s"),
        command("a"),
        command("c", subject="s"),
        command("d"),
        command("a"),
    ]
    futures = behind(batcher, ledger, callers, *commands)
    ledger.open()
    assert names(futures) == ["x", "a", "b", "a", "c", "d", "a"]
    assert ledger.batches == [["x"], ["a", "b", "d"], ["a", "c"], ["a"]]


def test_a_command_that_waited_goes_before_those_that_came_after_it(ledger: Ledger, callers: Callers) -> None:
    batcher = Batcher(ledger, queue_limit=100, batch_limit=3)
    futures = behind(batcher, ledger, callers, *(command(name) for name in "xaabcd"))
    ledger.open()
    assert names(futures) == list("xaabcd")
    assert ledger.batches == [["x"], ["a", "b", "c"], ["a", "d"]]
    batcher.close()


def test_the_same_key_in_two_organizations_is_not_the_same(batcher: Batcher, ledger: Ledger, callers: Callers) -> None:
    futures = behind(batcher, ledger, callers, command("x"), command("a"), command("a", organization_id="other"))
    ledger.open()
    assert names(futures) == ["x", "a", "a"]
    assert ledger.batches == [["x"], ["a", "a"]]


def test_many_on_one_key_all_get_their_turn(batcher: Batcher, ledger: Ledger, callers: Callers) -> None:
    futures = behind(batcher, ledger, callers, *[command("a")] * 40)
    ledger.open()
    assert names(futures) == ["a"] * 40
    assert ledger.batches == [["a"]] * 40


# Errors


def test_each_caller_hears_its_own_error(batcher: Batcher, ledger: Ledger, callers: Callers) -> None:
    ledger.refused = {"b": AiStopped(balance_tokens=1), "d": AiStopped(balance_tokens=2)}
    futures = behind(batcher, ledger, callers, *(command(name) for name in "abcd"))
    ledger.open()
    outcomes = [future.exception(PATIENCE_SECONDS) or future.result().hold_id for future in futures]  # type: ignore[attr-defined]
    assert outcomes == ["a", ledger.refused["b"], "c", ledger.refused["d"]]


async def test_each_coroutine_hears_its_own_error(batcher: Batcher, ledger: Ledger) -> None:
    ledger.refused = {"b": AiStopped(balance_tokens=1)}
    tasks = [batcher.asubmit(command(name)) for name in "abc"]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes == [answer_to(command("a")), ledger.refused["b"], answer_to(command("c"))]


@pytest.mark.parametrize("error", [StoreUnavailable(reason="gone"), CommitUnknown(), StoreBusy("locked")])
def test_a_failed_commit_is_told_to_all_of_its_batch_and_to_nobody_else(
    batcher: Batcher, ledger: Ledger, callers: Callers, error: Exception
) -> None:
    ledger.errors = {"c": error}
    first, *rest = behind(batcher, ledger, callers, *(command(name) for name in "abcd"))
    ledger.open()
    assert names([first]) == ["a"]
    told = [future.exception(PATIENCE_SECONDS) for future in rest]
    assert [(type(each), str(each), getattr(each, "details", None)) for each in told] == [
        (type(error), str(error), error.details)  # type: ignore[attr-defined]
    ] * 3
    assert len({id(each) for each in told}) == 3
    assert batcher.submit(command("e")) == answer_to(command("e"))


def test_a_defect_that_one_command_meets_fails_no_other(batcher: Batcher, ledger: Ledger, callers: Callers) -> None:
    ledger.errors = {"poison": ZeroDivisionError()}
    futures = behind(batcher, ledger, callers, *(command(name) for name in ("a", "b", "poison", "c")))
    with structlog.testing.capture_logs():
        ledger.open()
        assert names([futures[0], futures[1], futures[3]]) == ["a", "b", "c"]
        assert type(futures[2].exception(PATIENCE_SECONDS)) is ZeroDivisionError
    assert ledger.batches == [["a"], ["b", "poison", "c"], ["b"], ["poison"], ["c"]]


async def test_an_error_in_commit_does_not_end_the_writers_thread(batcher: Batcher, ledger: Ledger) -> None:
    with structlog.testing.capture_logs():
        for error in (ZeroDivisionError(), StoreUnavailable(), MemoryError()):
            ledger.errors = {"a": error}
            with pytest.raises(type(error)):
                await batcher.asubmit(command("a"))
            assert await batcher.asubmit(command("b")) == answer_to(command("b"))


def test_an_interrupted_leader_leaves_its_batch_with_an_unknown_outcome_and_the_rest_with_a_writer(
    batcher: Batcher, ledger: Ledger, callers: Callers
) -> None:
    ledger.errors = {"b": KeyboardInterrupt()}
    commands = [command("a"), command("b"), command("c"), command("d", subject="c"), command("e", subject="c")]
    futures = behind(batcher, ledger, callers, *commands)
    ledger.open()
    assert [type(future.exception(PATIENCE_SECONDS)) for future in futures[1:3]] == [KeyboardInterrupt, CommitUnknown]
    assert names([futures[0], *futures[3:]]) == ["a", "d", "e"]


# The limit


def test_a_full_queue_refuses_and_takes_more_when_it_has_emptied(ledger: Ledger, callers: Callers) -> None:
    batcher = Batcher(ledger, queue_limit=5, batch_limit=10)
    futures = behind(batcher, ledger, callers, *(command(name) for name in "abcdef"))
    for refuse in (lambda: batcher.submit(command("g")), lambda: asyncio.run(batcher.asubmit(command("g")))):
        for _ in range(3):
            error = callers.submit(refuse).exception(PATIENCE_SECONDS)
            assert isinstance(error, StoreBusy)
            assert error.details == {"waiting": 5}
    ledger.open()
    assert names(futures) == list("abcdef")
    assert batcher.submit(command("g")) == answer_to(command("g"))
    batcher.close()


# The end


def test_a_closed_batcher_refuses(ledger: Ledger) -> None:
    batcher = Batcher(ledger, queue_limit=5, batch_limit=10)
    asyncio.run(batcher.asubmit(command("a")))
    batcher.close()
    batcher.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        batcher.submit(command("b"))
    with pytest.raises(StoreUnavailable, match="closed"):
        asyncio.run(batcher.asubmit(command("b")))
    assert ledger.batches == [["a"]]


def test_closing_commits_what_waits(ledger: Ledger, callers: Callers) -> None:
    batcher = Batcher(ledger, queue_limit=50, batch_limit=3)
    futures = behind(batcher, ledger, callers, *(command(f"{number}") for number in range(10)))
    closing = callers.submit(batcher.close)
    until(lambda: batcher._closed)
    with pytest.raises(StoreUnavailable):
        batcher.submit(command("late"))
    ledger.open()
    closing.result(PATIENCE_SECONDS)
    assert names(futures) == [f"{number}" for number in range(10)]


async def test_closing_commits_what_coroutines_wait_for(ledger: Ledger) -> None:
    batcher = Batcher(ledger, queue_limit=50, batch_limit=3)
    ledger.shut()
    tasks = [asyncio.create_task(batcher.asubmit(command(f"{number}"))) for number in range(10)]
    await asyncio.to_thread(ledger.wait)
    closing = asyncio.create_task(asyncio.to_thread(batcher.close))
    await asyncio.to_thread(until, lambda: batcher._closed)
    ledger.open()
    assert await asyncio.gather(*tasks) == [answer_to(command(f"{number}")) for number in range(10)]
    await closing


# Hand-over


def every_answer(batcher: Batcher, *, threads: int, loops: int, tasks: int, each: int) -> Counter[str]:
    """Call from many threads and coroutines of several event loops at once; returns how often each command was answered."""
    heard = Counter[str]()
    lock = threading.Lock()

    def hear(answer: Any) -> None:
        with lock:
            heard[answer.hold_id] += 1

    def call(caller: int) -> None:
        for number in range(each):
            hear(batcher.submit(command(f"thread{caller}-{number}")))

    async def acall(caller: str) -> None:
        for number in range(each):
            hear(await batcher.asubmit(command(f"{caller}-{number}")))

    async def gather(loop: int) -> None:
        await asyncio.gather(*(acall(f"loop{loop}-task{task}") for task in range(tasks)))

    running = [threading.Thread(target=call, args=(caller,), daemon=True) for caller in range(threads)]
    running += [threading.Thread(target=lambda loop=loop: asyncio.run(gather(loop)), daemon=True) for loop in range(loops)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "a caller was never answered"
    return heard


@pytest.mark.parametrize(("threads", "loops"), [(32, 0), (0, 3), (24, 3)], ids=["threads", "coroutines", "both"])
@pytest.mark.parametrize("batch_limit", [1, 3, 256])
def test_no_caller_waits_for_ever_however_they_come(ledger: Ledger, threads: int, loops: int, batch_limit: int) -> None:
    batcher = Batcher(ledger, queue_limit=10_000, batch_limit=batch_limit)
    heard = every_answer(batcher, threads=threads, loops=loops, tasks=8, each=300)
    batcher.close()
    assert set(heard.values()) == {1}
    assert len(heard) == (threads + loops * 8) * 300
    assert Counter(chain(*ledger.batches)) == heard


def test_callers_on_few_keys_are_all_answered(ledger: Ledger, callers: Callers) -> None:
    batcher = Batcher(ledger, queue_limit=10_000, batch_limit=4)
    futures = [callers.submit(batcher.submit, command(f"{number % 3}")) for number in range(300)]
    assert Counter(names(futures)) == {"0": 100, "1": 100, "2": 100}
    batcher.close()
