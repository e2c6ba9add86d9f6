"""Drivers: one dedicated connection of the writer to SQLite or PostgreSQL, with just what the writer asks of it."""

from __future__ import annotations

import select
import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import psycopg
from sqlalchemy import Table

from tokenwell.errors import StoreBusy
from tokenwell.store import schema, statements
from tokenwell.store.dialects import Database, connect_postgres, connect_sqlite, translate
from tokenwell.store.pipeline import Pipeline, is_in_doubt
from tokenwell.store.rows import Row

Query = tuple[str, Sequence[Any]]

_CHUNKS = (64, 16, 4, 1)
_VERSION = statements.VERSION_PLACE
_SPENT = ("remaining_tokens", "organization_id", "pack_id")


class Driver(Protocol):
    """What the writer needs of a database."""

    verifies_first: bool
    """Whether a transaction always reads under its lock; otherwise versions are guarded when it is written."""

    one_organization: bool
    """Whether a transaction may hold rows of one organization only (sharded PostgreSQL)."""

    committing: bool
    """Whether a COMMIT was sent and its outcome not yet seen."""

    def begin(self, organization_ids: list[str]) -> dict[str, int] | None:
        """Begin a transaction that nobody else's write to these organizations can overlap.

        Returns their versions, or None where nobody else has written anything since the last transaction of this driver.
        """

    def versions(self, organization_ids: list[str]) -> dict[str, int]:
        """Return the versions of the accounts that exist."""

    def read(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Answer several queries, on PostgreSQL in one round trip."""

    def write(
        self, accounts: list[Row], spent: list[Row], changes: Sequence[tuple[Table, list[Row]]], *, begun: bool, only_moved: bool
    ) -> None:
        """Write the accounts (guarded by their version), what packs have left, and all other rows, and commit.

        `spent` are remaining tokens, organization and id of packs of which nothing else has changed; `only_moved` says that of
        the accounts nothing has but totals, last line and version.
        """

    def rollback(self) -> None:
        """Leave the transaction, if one is open."""

    def close(self) -> None:
        """Close the connection."""


class SqliteDriver:
    """SQLite: BEGIN IMMEDIATE makes the writer the only one, so that what it reads stays true."""

    verifies_first = True
    one_organization = False

    def __init__(self, database: Database) -> None:
        self.committing = False
        self._data_version: int | None = None
        self._connection = connect_sqlite(database)
        self._execute = self._connection.execute

    def begin(self, organization_ids: list[str]) -> dict[str, int] | None:
        self._execute("BEGIN IMMEDIATE")
        data_version = self._execute("PRAGMA data_version").fetchone()[0]
        if data_version == self._data_version:
            return None
        versions = self.versions(organization_ids)
        self._data_version = data_version
        return versions

    def versions(self, organization_ids: list[str]) -> dict[str, int]:
        one = "SELECT version FROM account WHERE organization_id = ?"
        found: dict[str, int] = {}
        for organization_id in organization_ids:
            row = self._execute(one, (organization_id,)).fetchone()
            if row is not None:
                found[organization_id] = row[0]
        return found

    def read(self, queries: Sequence[Query]) -> list[list[Row]]:
        return [self._execute(sql, parameters).fetchall() for sql, parameters in queries]

    def write(
        self, accounts: list[Row], spent: list[Row], changes: Sequence[tuple[Table, list[Row]]], *, begun: bool, only_moved: bool
    ) -> None:
        if only_moved:
            for row in accounts:
                self._execute(statements.MOVE_ACCOUNT_LOCKED, (*row[1:7], row[_VERSION] + 1, row[0]))
        else:
            self._insert(schema.account, [(*row[:_VERSION], row[_VERSION] + 1, *row[_VERSION + 1 :]) for row in accounts])
        for row in spent:
            self._execute(statements.SPEND_PACK, row)
        for table, rows in changes:
            self._insert(table, rows)
        self.committing = True
        try:
            self._execute("COMMIT")
        except sqlite3.Error as error:
            # A COMMIT that finds the file locked leaves the transaction as it is, to be rolled back.
            self.committing = not isinstance(translate(error), StoreBusy)
            raise
        self.committing = False

    def _insert(self, table: Table, rows: list[Row]) -> None:
        # Many rows a statement: the interpreter lock changes hands at every statement, not at every row.
        start = 0
        for size in _CHUNKS:
            while len(rows) - start >= size:
                chunk = rows[start : start + size]
                self._execute(statements.insert_values(table, size), [value for row in chunk for value in row])
                start += size

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


class PostgresDriver:
    """PostgreSQL: decided on what was read before, written in one round trip, guarded by the accounts' versions."""

    verifies_first = False

    def __init__(self, database: Database) -> None:
        self.committing = False
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None
        self._pipeline: Pipeline | None = None
        self._encode = msgspec.json.Encoder().encode
        try:
            self.one_organization = self._has_citus()
        except psycopg.Error:
            self.close()
            raise

    def _connect(self) -> psycopg.Connection[Any]:
        connection = self._connection
        if connection is not None:
            # An idle connection with something to read was closed by the server: better known before a commit than in it.
            if not connection.closed and not select.select([connection.fileno()], [], [], 0)[0]:
                return connection
            connection.close()
        self._connection = connect_postgres(self._database)
        self._pipeline = Pipeline(self._connection)
        return self._connection

    def _has_citus(self) -> bool:
        return bool(self._connect().execute("SELECT 1 FROM pg_extension WHERE extname = 'citus'").fetchall())

    def begin(self, organization_ids: list[str]) -> dict[str, int]:
        connection = self._connect()
        with connection.pipeline():
            connection.execute("BEGIN")
            cursor = connection.execute(statements.LOCK_ACCOUNTS, (organization_ids,))
        return dict(cursor.fetchall())

    def versions(self, organization_ids: list[str]) -> dict[str, int]:
        return dict(self._connect().execute(statements.VERSIONS, (organization_ids,)).fetchall())

    def read(self, queries: Sequence[Query]) -> list[list[Row]]:
        connection = self._connection if self._in_transaction() else self._connect()
        assert connection is not None
        if len(queries) == 1:
            sql, parameters = queries[0]
            return [connection.execute(sql.replace("?", "%s"), parameters).fetchall()]
        with connection.pipeline():
            cursors = [connection.execute(sql.replace("?", "%s"), parameters) for sql, parameters in queries]
        return [cursor.fetchall() for cursor in cursors]

    def write(
        self, accounts: list[Row], spent: list[Row], changes: Sequence[tuple[Table, list[Row]]], *, begun: bool, only_moved: bool
    ) -> None:
        if not begun:
            self._connect()
        pipeline = self._pipeline
        assert pipeline is not None
        batch = self._account_statements(accounts, begun=begun, only_moved=only_moved)
        if len(spent) == 1:
            batch.append((statements.SPEND_ONE_PACK, spent[0]))
        elif spent:
            batch.append((statements.SPEND_PACKS, (self._encode([dict(zip(_SPENT, row, strict=True)) for row in spent]).decode(),)))
        for table, rows in changes:
            if len(rows) == 1:
                batch.append((statements.insert_row(table), rows[0]))
            elif rows:
                batch.append((statements.insert_json(table), (self._json(table, rows),)))
        batch.append(("COMMIT", ()))
        pipeline.prepare(batch)
        self.committing = True
        try:
            pipeline.run(batch)
        except psycopg.Error as error:
            self.committing = is_in_doubt(error)
            raise
        self.committing = False

    def _account_statements(self, accounts: list[Row], *, begun: bool, only_moved: bool) -> list[Query]:
        batch: list[Query] = [] if begun else [("BEGIN", ())]
        if len(accounts) == 1:
            row = accounts[0]
            if only_moved:
                return [*batch, (statements.MOVE_ACCOUNT, (*row[1:7], row[_VERSION], row[0]))]
            return [*batch, (statements.UPDATE_ACCOUNT, (*row[1:], row[0]))]
        if not begun:
            batch.append((statements.LOCK_LISTED, (self._encode([row[0] for row in accounts]).decode(),)))
        return [*batch, (statements.UPDATE_ACCOUNTS, (self._json(schema.account, accounts),))]

    def _json(self, table: Table, rows: list[Row]) -> str:
        names = statements.names_of(table)
        binary = statements.binary_columns(table)
        records = [dict(zip(names, row, strict=True)) for row in rows]
        for place in binary:
            name = names[place]
            for record in records:
                value = record[name]
                if value is not None:
                    record[name] = "\\x" + value.hex()
        return self._encode(records).decode()

    def _in_transaction(self) -> bool:
        connection = self._connection
        return connection is not None and not connection.closed and connection.info.transaction_status.name != "IDLE"

    def rollback(self) -> None:
        if self._connection is not None and self._in_transaction():
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def open_driver(database: Database) -> Driver:
    """Return the writer's connection."""
    return SqliteDriver(database) if database.is_sqlite else PostgresDriver(database)


UNIQUE_OR_GUARD = {"23505", "23502"}
"""SQLSTATEs that say a key was used before, or an account was written by somebody else."""


def is_conflict(error: Exception) -> bool:
    """Return whether a write failed because something it assumed is no longer true; it must be decided again."""
    if isinstance(error, sqlite3.IntegrityError):
        return error.sqlite_errorcode in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
    return isinstance(error, psycopg.Error) and error.sqlstate in UNIQUE_OR_GUARD
