"""Top-ups: requests for tokens, and what became of them."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, Text, text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

topup = Table(
    "topup",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("topup_id", Id, nullable=False),
    Column("status", Text, nullable=False),
    Column("amount_tokens", Tokens, nullable=False),
    Column("note", Text, nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("terms", Text),
    Column("decided_at", Instant),
    Column("decided_by", Text),
    Column("reason", Text, nullable=False),
    Column("pack_id", Id),
    PrimaryKeyConstraint("organization_id", "topup_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    Index(
        "ix_topup_open",
        "organization_id",
        unique=True,
        sqlite_where=text("status IN ('open', 'approving')"),
        postgresql_where=text("status IN ('open', 'approving')"),
    ),
    Index("ix_topup_order", "topup_id"),
)
