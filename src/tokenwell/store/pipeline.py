"""A pipeline of prepared statements on PostgreSQL: any number of writes, one round trip.

It speaks to libpq through psycopg's own binding, because the hot path sends the same six statements for ever: preparing,
adapting and fetching each of them anew costs several times what the server needs to run them. Reads go through psycopg proper.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq

Statement = tuple[str, Sequence[Any]]

_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE)


class Pipeline:
    """Runs statements, with `$1, $2, …` for parameters, on a connection in autocommit mode. Results are not kept."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._libpq = connection.pgconn
        self._names: dict[str, bytes] = {}
        self._poller = select.poll()
        self._poller.register(connection.fileno(), select.POLLIN)

    def prepare(self, statements: Sequence[Statement]) -> None:
        """Prepare those of the statements that this connection has not seen before."""
        for sql, _ in statements:
            if sql not in self._names:
                name = f"tokenwell_{len(self._names)}".encode()
                result = self._libpq.prepare(name, sql.encode())
                if result.status != pq.ExecStatus.COMMAND_OK:
                    raise _error_of(result)
                self._names[sql] = name

    def run(self, statements: Sequence[Statement]) -> None:
        """Run prepared statements in order, and return when all have succeeded.

        Raises the first error; what follows the failing statement was not run. Raises CommitFailed where the last statement, the
        COMMIT, failed, and OperationalError if the connection is lost: the outcome is unknown then.
        """
        libpq = self._libpq
        libpq.enter_pipeline_mode()
        for sql, parameters in statements:
            libpq.send_query_prepared(self._names[sql], [_text(value) for value in parameters])
        libpq.pipeline_sync()
        self._flush()
        error: psycopg.Error | None = None
        for place in range(len(statements) + 1):
            result = self._next_result()
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                break
            if result.status in _FAILED and error is None:
                error = _error_of(result)
                if place == len(statements) - 1:
                    error = CommitFailed(str(error))
        libpq.exit_pipeline_mode()
        if error is not None:
            raise error

    def _flush(self) -> None:
        while self._libpq.flush():
            self._poller.modify(self._libpq.socket, select.POLLIN | select.POLLOUT)
            for _, event in self._poller.poll():
                if event & ~select.POLLOUT:
                    self._libpq.consume_input()
            self._poller.modify(self._libpq.socket, select.POLLIN)

    def _next_result(self) -> pq.abc.PGresult:
        libpq = self._libpq
        while True:
            while libpq.is_busy():
                self._poller.poll()
                libpq.consume_input()
            result = libpq.get_result()
            if result is not None:
                return result
            # None separates the results of two statements; on a broken connection nothing else ever comes.
            if libpq.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError("the connection was lost")


class CommitFailed(psycopg.OperationalError):
    """The server answered COMMIT with an error: its work may be there all the same."""


def _error_of(result: pq.abc.PGresult) -> psycopg.Error:
    """Return the error of a failed statement; one without a code is the connection's, not the server's."""
    error = psycopg.errors.error_from_result(result)
    return error if error.sqlstate else psycopg.OperationalError(str(error))


def is_in_doubt(error: psycopg.Error) -> bool:
    """Return whether a transaction may have been committed although `error` came instead of an answer: the connection was lost, the
    server went away, or the COMMIT itself failed. An error of a statement before it says that it was not."""
    return error.sqlstate is None or error.sqlstate[:2] in ("08", "57")


def _text(value: Any) -> bytes | None:
    """Return a parameter in the text format of the protocol."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return b"\\x" + value.hex().encode()
    return str(value).encode()
