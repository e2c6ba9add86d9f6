"""Outlooks: what the last forecast of an organization said, so that all of them can be put in order by it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, PrimaryKeyConstraint, Table

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

outlook = Table(
    "outlook",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("at", Instant, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("pack_count", BigInteger, nullable=False),
    Column("stops_at", Instant),
    Column("tokens_per_day", Tokens, nullable=False),
    PrimaryKeyConstraint("organization_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    sqlite_with_rowid=False,
)
