"""Alembic's environment: migrations run on the connection that was handed in.

On PostgreSQL each has a transaction of its own, and a lock keeps other processes away meanwhile. On SQLite all of them have one,
begun before the revision is read: a process that waited for it finds nothing left to do.
"""

from __future__ import annotations

from alembic import context

from tokenwell.store.schema import metadata

connection = context.config.attributes["connection"]
is_sqlite = connection.dialect.name == "sqlite"
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    transaction_per_migration=not is_sqlite,
)
with context.begin_transaction():
    context.run_migrations()
