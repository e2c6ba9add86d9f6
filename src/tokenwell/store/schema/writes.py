"""Writes: what was answered to a write of the REST API, by its idempotency key."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, metadata

api_write = Table(
    "api_write",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("given", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("status", Integer),
    Column("answer", LargeBinary),
    PrimaryKeyConstraint("organization_id", "key"),
    Index("ix_api_write_age", "at"),
)
"""A write that was begun; with a status it was answered. Those of the platform have the organization ''."""
