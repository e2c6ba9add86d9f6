"""Databases out of reach, for as long as a test wants."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url


class SqliteOutage:
    """A database whose tables are out of reach, or one of them."""

    def __init__(self, url: str, *tables: str) -> None:
        self._path = url.removeprefix("sqlite:///")
        self._tables = tables or ("hold",)

    def begin(self) -> None:
        """Take the tables away."""
        for table in self._tables:
            self._run(f"ALTER TABLE {table} RENAME TO {table}_away")

    def end(self) -> None:
        """Put them back."""
        for table in self._tables:
            self._run(f"ALTER TABLE {table}_away RENAME TO {table}")

    def _run(self, statement: str) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.execute(statement)
        finally:
            connection.close()


class PostgresOutage:
    """A database that drops its connections and takes no new ones."""

    def __init__(self, url: str) -> None:
        self._name = str(make_url(url).database)
        self._server = make_url(url).set(database="postgres").render_as_string(hide_password=False)

    def begin(self) -> None:
        """Drop every connection."""
        self._run("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        with psycopg.connect(self._server, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self._name,))

    def end(self) -> None:
        """Take connections again."""
        self._run("ALTER DATABASE {} ALLOW_CONNECTIONS true")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as admin:
            admin.execute(sql.SQL(statement).format(sql.Identifier(self._name)))


def outage_of(url: str, *tables: str) -> Any:
    """Return the outage of a database; of SQLite, of some of its tables."""
    return SqliteOutage(url, *tables) if url.startswith("sqlite") else PostgresOutage(url)
