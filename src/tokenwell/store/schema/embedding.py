"""Embedding: the origins whose pages may frame an organization's packs page."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, metadata

embedding = Table(
    "embedding",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("origins", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
    PrimaryKeyConstraint("organization_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
)
