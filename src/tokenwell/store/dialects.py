"""Dialects: what differs between SQLite and PostgreSQL when a connection is opened, and what their errors mean."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from tokenwell.errors import RequestInvalid, StoreBusy, StoreError, StoreUnavailable

SQLITE_BUSY_SECONDS = 10
"""How long a writer waits for another process's transaction on SQLite."""

_SQLITE_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -65536",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA temp_store = MEMORY",
)
_TURNS = 200
_TURN_SECONDS = 0.05
"""How often, and how far apart, a new SQLite file is tried that others turn to its write-ahead log."""

_POSTGRES_RETRY = {"40001", "40P01", "55P03"}
_POSTGRES_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A server that vanishes without a word is noticed within seconds. What the URL itself says goes before."""


class Database(msgspec.Struct, frozen=True):
    """Where the tables live."""

    url: URL

    @property
    def is_sqlite(self) -> bool:
        """Whether it is an SQLite file; otherwise it is PostgreSQL."""
        return self.url.get_backend_name() == "sqlite"


def parse_database(url: str) -> Database:
    """Return the database of `sqlite:///file.db` (four slashes: an absolute path) or `postgresql://user@host/name`.

    Raises RequestInvalid for anything else, an in-memory SQLite included: every connection would see another database.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise RequestInvalid("the database URL cannot be read", field="database_url") from None
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return Database(parsed.set(drivername="sqlite", database=str(Path(parsed.database).absolute())))
    if backend in ("postgresql", "postgres"):
        return Database(parsed.set(drivername="postgresql+psycopg"))
    raise RequestInvalid("the database URL must be sqlite:///file.db or postgresql://…", field="database_url")


def open_engine(database: Database) -> sqlalchemy.Engine:
    """Return an engine for everything but the hot path. A transaction on SQLite begins with BEGIN IMMEDIATE, so that it never
    has to be upgraded; readers on autocommit connections take no lock. Errors do not tell what a statement was given: hashes and
    tokens are among that."""
    if not database.is_sqlite:
        pooled = {"pool_size": 8, "max_overflow": 24, "pool_pre_ping": True}
        return sqlalchemy.create_engine(database.url, connect_args=_network_of(database), hide_parameters=True, **pooled)
    arguments = {"check_same_thread": False, "timeout": SQLITE_BUSY_SECONDS, "isolation_level": None}
    engine = sqlalchemy.create_engine(database.url, connect_args=arguments, hide_parameters=True)

    @sqlalchemy.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        _prepare_sqlite(connection)

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def connect_sqlite(database: Database) -> sqlite3.Connection:
    """Return a driver connection whose transactions we begin ourselves."""
    connection = sqlite3.connect(
        str(database.url.database),
        isolation_level=None,
        check_same_thread=False,
        timeout=SQLITE_BUSY_SECONDS,
        cached_statements=256,
    )
    _prepare_sqlite(connection)
    return connection


def _prepare_sqlite(connection: sqlite3.Connection) -> None:
    """Set a fresh connection up. Two that turn a new file to its write-ahead log at the same moment do not wait for each other
    by themselves: SQLite tells the later one at once that the file is locked."""
    for attempt in range(_TURNS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt + 1 == _TURNS:
                raise
            time.sleep(_TURN_SECONDS)
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(pragma)


def connect_postgres(database: Database) -> psycopg.Connection[Any]:
    """Return a driver connection in autocommit mode: transactions are begun and committed by statement.

    The driver prepares nothing of its own on it: after a rollback it would deallocate all, the pipeline's statements too.
    """
    url = database.url.set(drivername="postgresql")
    dsn = url.render_as_string(hide_password=False)
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None, **_network_of(database))


def _network_of(database: Database) -> dict[str, Any]:
    return {name: value for name, value in _POSTGRES_NETWORK.items() if name not in database.url.query}


def translate(error: Exception) -> StoreError | None:
    """Return what a driver's error means for a caller; None if it is not the database's but a defect of ours."""
    if isinstance(error, DBAPIError):
        origin = error.orig
        return translate(origin) if isinstance(origin, Exception) else None
    if isinstance(error, sqlite3.DatabaseError):
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError):
            return None
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        return StoreBusy("the database is locked by another writer") if busy else StoreUnavailable(reason=str(error))
    if isinstance(error, psycopg.Error):
        if isinstance(error, psycopg.IntegrityError | psycopg.DataError):
            return None
        if error.sqlstate in _POSTGRES_RETRY:
            return StoreBusy("the database asked to try again")
        return StoreUnavailable(reason=next(iter(str(error).strip().splitlines()), type(error).__name__))
    return None
