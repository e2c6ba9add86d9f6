"""Migration: brings a database's schema up to date."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tokenwell.store.dialects import translate
from tokenwell.store.isolation import prepare

_DIRECTORY = Path(__file__).parent / "migrations"
_LOCK = 0x746F6B656E77656C  # "tokenwel": one process migrates at a time


def migrate(engine: sqlalchemy.Engine, *, tenant_role: str = "") -> tuple[str | None, str | None]:
    """Bring the schema up to date, its row-level security too; returns the revision before and after. Safe when several processes
    start at once. `tenant_role` is let read what is the tenants'.

    Raises StoreUnavailable, StoreBusy.
    """
    try:
        moved = _migrate(engine)
        prepare(engine, tenant_role)
    except sqlalchemy.exc.DBAPIError as error:
        raise translate(error) or error from error
    return moved


def _migrate(engine: sqlalchemy.Engine) -> tuple[str | None, str | None]:
    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY))
    head = ScriptDirectory.from_config(config).get_current_head()
    before = revision_of(engine)
    if before == head:
        return before, head
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
        if engine.dialect.name == "postgresql":
            guard.execute(sqlalchemy.text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        try:
            with engine.connect() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
        finally:
            if engine.dialect.name == "postgresql":
                guard.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
    return before, head


def revision_of(engine: sqlalchemy.Engine) -> str | None:
    """Return the revision a database is at, None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
