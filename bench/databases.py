"""Databases: a fresh one for everything that is measured, with the durability that users get by default, proved and printed."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.databases import fresh_postgres, postgres_server, sqlite_url_in
from tokenwell.store.dialects import connect_sqlite, parse_database

Setting = tuple[str, str]

_DURABLE = {
    "sqlite": {"journal_mode": "wal", "synchronous": "2"},
    "postgres": {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"},
}
_INFORMATIVE = {
    "sqlite": ("page_size", "cache_size", "wal_autocheckpoint"),
    "postgres": ("server_version", "wal_sync_method", "shared_buffers", "max_wal_size"),
}


class Databases(Protocol):
    """Makes databases of one kind."""

    kind: str

    def fresh(self) -> str:
        """Return the URL of a new, empty database."""

    def settle(self, url: str) -> None:
        """Write out what a bulk of work left behind, so that it is not paid for while something else is measured."""

    def settings(self, url: str) -> list[Setting]:
        """Return the settings that matter; raises AssertionError unless a commit survives a power cut."""


class SqliteDatabases:
    """SQLite files in a temporary directory."""

    kind = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fresh(self) -> str:
        """Return the URL of a file that does not exist yet."""
        return sqlite_url_in(self._directory)

    def settle(self, url: str) -> None:
        """Copy the log into the file."""
        connection = connect_sqlite(parse_database(url))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        os.sync()

    def settings(self, url: str) -> list[Setting]:
        """Return the settings of a connection opened as the writer opens its own."""
        connection = connect_sqlite(parse_database(url))
        names = (*_DURABLE["sqlite"], *_INFORMATIVE["sqlite"])
        found = {name: str(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names}
        connection.close()
        return [("SQLite", sqlite3.sqlite_version), *_proved("sqlite", found)]


class PostgresDatabases:
    """Databases on one PostgreSQL server."""

    kind = "postgres"

    def __init__(self, server_url: str, stack: ExitStack) -> None:
        self._server_url = server_url
        self._stack = stack

    def fresh(self) -> str:
        """Return the URL of a database that was just created."""
        return self._stack.enter_context(fresh_postgres(self._server_url))

    def settle(self, url: str) -> None:
        """Vacuum, analyze and checkpoint."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
        os.sync()

    def settings(self, url: str) -> list[Setting]:
        """Return the settings of a connection."""
        with psycopg.connect(url, autocommit=True) as connection:
            names = (*_DURABLE["postgres"], *_INFORMATIVE["postgres"])
            found = {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in names}  # type: ignore[index]
        return [("PostgreSQL", found.pop("server_version")), *_proved("postgres", found)]


def _proved(kind: str, found: dict[str, Any]) -> list[Setting]:
    for name, value in _DURABLE[kind].items():
        assert found[name] == value, f"{name} is {found[name]}: a benchmark counts only with {value}"
    return list(found.items())


@contextmanager
def open_databases(kind: str) -> Iterator[Databases]:
    """Yield fresh databases of a kind; all are gone afterwards. `TEST_DATABASE_URL` names another PostgreSQL server."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="tokenwell_bench_", ignore_cleanup_errors=True) as directory:
            yield SqliteDatabases(Path(directory))
        return
    with postgres_server() as server_url, ExitStack() as stack:
        yield PostgresDatabases(server_url, stack)


def machine() -> list[Setting]:
    """Return what is measured on."""
    load = os.getloadavg()[0]
    return [
        ("Tokenwell", version("tokenwell")),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())),
        ("psycopg", f"{psycopg.__version__} ({psycopg.pq.__impl__})"),
        ("load before", f"{load:.2f}" + (" – others are working on this machine" if load > 0.5 else "")),
    ]
