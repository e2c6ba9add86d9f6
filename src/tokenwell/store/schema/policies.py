"""Policies: what an organization has decided for its gateway."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, metadata

policy = Table(
    "policy",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("when_short", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    PrimaryKeyConstraint("organization_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
)
