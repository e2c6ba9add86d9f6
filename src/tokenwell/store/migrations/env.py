"""Alembic's environment: each migration runs in a transaction of its own, on the connection that was handed in."""

from __future__ import annotations

from alembic import context

from tokenwell.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
