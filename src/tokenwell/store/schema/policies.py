"""Policies: what an organization has decided for its gateway."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

policy = Table(
    "policy",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("when_short", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("when_away", Text, nullable=False, server_default="refuse"),
    Column("away_seconds", BigInteger, nullable=False, server_default="0"),
    Column("away_tokens", Tokens, nullable=False, server_default="0"),
    PrimaryKeyConstraint("organization_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
)
