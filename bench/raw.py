"""The bare loops beside which the engine is measured: a balance that is updated and a line that is inserted, nothing else.

No packs, no admission, no replay of a key, no journal number, no hash, no rollup. Two ways:

* the loop: every call is a transaction of its own, on a connection of its own, one thread for each caller. On PostgreSQL once
  statement by statement, as most programs are written, and once all in one round trip. On SQLite callers take turns at a lock of
  this process, which is fairer to all than SQLite's own waiting and no slower.
* the group commit: one thread writes for all callers, at most 256 in a transaction, with a statement per table. Its lines carry a
  unique key.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cache, partial
from typing import Any, Protocol

import psycopg

from bench.load import Call, Limit, Sample, drive_threads
from tokenwell.service.ports import new_bytes
from tokenwell.store.dialects import connect_sqlite, parse_database

AMOUNT = 1_000
BATCH_LIMIT = 256

Line = tuple[str, bytes]
Loop = Callable[[int], AbstractContextManager[list[Call]]]
"""Gives a number of callers, each with a connection of its own that lasts for a turn."""


class Raw(Protocol):
    """The bare loops on one database."""

    loops: dict[str, Loop]

    group: GroupCommit

    def close(self) -> None:
        """Close every connection."""


class GroupCommit:
    """One thread that commits what all callers want, a batch at a time."""

    def __init__(self, commit: Callable[[Sequence[Line]], None]) -> None:
        self._commit = commit
        self._queue: queue.SimpleQueue[tuple[Line, asyncio.Future[None] | threading.Lock] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="raw-writer", daemon=True)
        self._thread.start()

    async def asubmit(self, organization_id: str) -> None:
        """Charge, from a task."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(((organization_id, new_bytes()), future))
        await future

    def submit(self, organization_id: str) -> None:
        """Charge, from a thread."""
        done = threading.Lock()
        done.acquire()
        self._queue.put(((organization_id, new_bytes()), done))
        done.acquire()

    def close(self) -> None:
        """Stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < BATCH_LIMIT and batch[-1] is not None:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            waiting = [item for item in batch if item is not None]
            if waiting:
                self._commit([line for line, _ in waiting])
                _answer([waiter for _, waiter in waiting])
            if batch[-1] is None:
                return


def _answer(waiters: Sequence[asyncio.Future[None] | threading.Lock]) -> None:
    futures = [waiter for waiter in waiters if isinstance(waiter, asyncio.Future)]
    for waiter in waiters:
        if not isinstance(waiter, asyncio.Future):
            waiter.release()
    if futures:
        futures[0].get_loop().call_soon_threadsafe(_resolve, futures)


def _resolve(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _spent(lines: Sequence[Line]) -> list[tuple[str, int]]:
    return [(organization_id, count * AMOUNT) for organization_id, count in sorted(Counter(line[0] for line in lines).items())]


class SqliteRaw:
    """On SQLite, with the same settings as the engine's own connection."""

    def __init__(self, url: str, organizations: Sequence[str]) -> None:
        self._database = parse_database(url)
        self._lock = threading.Lock()
        connection = self._connect()
        connection.execute("CREATE TABLE balance (organization_id TEXT PRIMARY KEY, tokens INTEGER NOT NULL) WITHOUT ROWID")
        for table, key in (("line", ""), ("keyed", ", UNIQUE (organization_id, key)")):
            connection.execute(
                f"CREATE TABLE {table} (n INTEGER PRIMARY KEY, organization_id TEXT NOT NULL, key BLOB, tokens INTEGER NOT NULL, "
                f"at INTEGER NOT NULL{key})"
            )
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO balance VALUES (?, ?)", [(each, 10**15) for each in organizations])
        connection.execute("COMMIT")
        self.loops: dict[str, Loop] = {"raw loop": self._callers}
        self._writer = connection
        self.group = GroupCommit(self._commit)

    def _connect(self) -> sqlite3.Connection:
        return connect_sqlite(self._database)

    @contextmanager
    def _callers(self, count: int) -> Iterator[list[Call]]:
        with ExitStack() as stack:
            connections = [stack.enter_context(closing(self._connect())) for _ in range(count)]
            yield [_sqlite_caller(connection.execute, self._lock) for connection in connections]

    def _commit(self, lines: Sequence[Line]) -> None:
        execute = self._writer.execute
        execute("BEGIN IMMEDIATE")
        for spent in _chunks(_spent(lines)):
            execute(_sqlite_update(len(spent)), [value for organization_id, tokens in spent for value in (organization_id, tokens)])
        for chunk in _chunks(lines):
            execute(_sqlite_insert(len(chunk)), [value for line in chunk for value in line])
        execute("COMMIT")

    def close(self) -> None:
        """Close every connection."""
        self.group.close()
        self._writer.close()


def _sqlite_caller(execute: Callable[..., Any], lock: threading.Lock) -> Call:
    def call(organization_id: str) -> None:
        with lock:
            execute("BEGIN IMMEDIATE")
            execute("UPDATE balance SET tokens = tokens - ? WHERE organization_id = ?", (AMOUNT, organization_id))
            execute("INSERT INTO line (organization_id, tokens, at) VALUES (?, ?, unixepoch())", (organization_id, AMOUNT))
            execute("COMMIT")

    return call


def _chunks(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Few different sizes, so that few different statements are needed."""
    chunks: list[Sequence[Any]] = []
    start = 0
    for size in (64, 16, 4, 1):
        while len(items) - start >= size:
            chunks.append(items[start : start + size])
            start += size
    return chunks


@cache
def _sqlite_update(count: int) -> str:
    values = ", ".join(["(?, ?)"] * count)
    return (
        f"WITH spent (organization_id, tokens) AS (VALUES {values}) UPDATE balance SET tokens = balance.tokens - spent.tokens "
        "FROM spent WHERE balance.organization_id = spent.organization_id"
    )


@cache
def _sqlite_insert(count: int) -> str:
    return "INSERT INTO keyed (organization_id, key, tokens, at) VALUES " + ", ".join([f"(?, ?, {AMOUNT}, unixepoch())"] * count)


class PostgresRaw:
    """On PostgreSQL, through psycopg with prepared statements."""

    def __init__(self, url: str, organizations: Sequence[str]) -> None:
        self._url = url
        self._writer = self._connect()
        self._writer.execute(
            "CREATE TABLE balance (organization_id text PRIMARY KEY, tokens bigint NOT NULL) WITH (fillfactor = 50)"
        )
        for table, key in (("line", ""), ("keyed", ", UNIQUE (organization_id, key)")):
            self._writer.execute(
                f"CREATE TABLE {table} (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organization_id text NOT NULL, "
                f"key bytea, tokens bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(){key})"
            )
        self._writer.execute("INSERT INTO balance SELECT unnest(%s::text[]), %s", (list(organizations), 10**15))
        self.loops: dict[str, Loop] = {
            "raw loop": partial(self._callers, _postgres_caller),
            "raw loop, one round trip": partial(self._callers, _postgres_piped),
        }
        self.group = GroupCommit(partial(_postgres_commit, self._writer))

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._url, autocommit=True)
        connection.prepare_threshold = 1
        return connection

    @contextmanager
    def _callers(self, caller: Callable[[psycopg.Connection[Any]], Call], count: int) -> Iterator[list[Call]]:
        with ExitStack() as stack:
            yield [caller(stack.enter_context(closing(self._connect()))) for _ in range(count)]

    def close(self) -> None:
        """Close every connection."""
        self.group.close()
        self._writer.close()


_SPEND = "UPDATE balance SET tokens = tokens - %s WHERE organization_id = %s"
_NOTE = "INSERT INTO line (organization_id, tokens) VALUES (%s, %s)"


def _postgres_caller(connection: psycopg.Connection[Any]) -> Call:
    cursor = connection.cursor()

    def call(organization_id: str) -> None:
        cursor.execute("BEGIN")
        cursor.execute(_SPEND, (AMOUNT, organization_id))
        cursor.execute(_NOTE, (organization_id, AMOUNT))
        cursor.execute("COMMIT")

    return call


def _postgres_piped(connection: psycopg.Connection[Any]) -> Call:
    cursor = connection.cursor()

    def call(organization_id: str) -> None:
        with connection.pipeline():
            cursor.execute("BEGIN")
            cursor.execute(_SPEND, (AMOUNT, organization_id))
            cursor.execute(_NOTE, (organization_id, AMOUNT))
            cursor.execute("COMMIT")

    return call


def _postgres_commit(connection: psycopg.Connection[Any], lines: Sequence[Line]) -> None:
    spent = _spent(lines)
    with connection.pipeline():
        connection.execute("BEGIN")
        connection.execute(
            "UPDATE balance SET tokens = balance.tokens - spent.tokens FROM unnest(%s::text[], %s::bigint[]) "
            "AS spent (organization_id, tokens) WHERE balance.organization_id = spent.organization_id",
            ([organization_id for organization_id, _ in spent], [tokens for _, tokens in spent]),
        )
        connection.execute(
            "INSERT INTO keyed (organization_id, key, tokens) SELECT organization_id, key, %s "
            "FROM unnest(%s::text[], %s::bytea[]) AS new (organization_id, key)",
            (AMOUNT, [organization_id for organization_id, _ in lines], [key for _, key in lines]),
        )
        connection.execute("COMMIT")


def drive_loop(loop: Loop, callers: int, organizations: Sequence[str], limit: Limit) -> Sample:
    """Let so many callers of a loop take a turn."""
    with loop(callers) as calls:
        return drive_threads(calls, organizations, limit)


def open_raw(kind: str, url: str, organizations: Sequence[str]) -> Raw:
    """Make the bare tables in an empty database and return the loops on them."""
    return SqliteRaw(url, organizations) if kind == "sqlite" else PostgresRaw(url, organizations)
