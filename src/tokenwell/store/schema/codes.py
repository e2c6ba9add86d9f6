"""Codes: batches of redemption codes. They belong to the platform, whose organization is empty, until one is redeemed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, PrimaryKeyConstraint, SmallInteger, Table, Text, text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

code_batch = Table(
    "code_batch",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("batch_id", Id, nullable=False),
    Column("amount_tokens", Tokens, nullable=False),
    Column("codes", BigInteger, nullable=False),
    Column("valid_days", BigInteger),
    Column("priority", SmallInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revoked_at", Instant),
    PrimaryKeyConstraint("organization_id", "batch_id"),
)

code = Table(
    "code",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("code_hash", LargeBinary, nullable=False),
    Column("code_id", Id, nullable=False),
    Column("batch_id", Id, nullable=False),
    Column("redeemed_for", Id),
    Column("redeemed_at", Instant),
    Column("redeemed_by", Text),
    Column("pack_id", Id),
    PrimaryKeyConstraint("organization_id", "code_hash"),
    Index("ix_code_batch", "organization_id", "batch_id"),
    Index(
        "ix_code_unfinished",
        "organization_id",
        "redeemed_at",
        sqlite_where=text("redeemed_for IS NOT NULL AND pack_id IS NULL"),
        postgresql_where=text("redeemed_for IS NOT NULL AND pack_id IS NULL"),
    ),
)
