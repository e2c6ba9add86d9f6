"""Disputes of ledger lines, and the exports of providers that the ledger was compared with."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

dispute = Table(
    "dispute",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("dispute_id", Id, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("amount_tokens", Tokens, nullable=False),
    Column("status", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("refund_tokens", Tokens),
    Column("decided_at", Instant),
    Column("decided_by", Text),
    PrimaryKeyConstraint("organization_id", "dispute_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    Index("ix_dispute_line", "organization_id", "seq", unique=True),
    Index("ix_dispute_order", "dispute_id"),
)

reconciliation = Table(
    "reconciliation",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("reconciliation_id", Id, nullable=False),
    Column("file_hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("form", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("named", BigInteger, nullable=False),
    Column("found", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("by", Text, nullable=False),
    Column("timed", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("organization_id", "reconciliation_id"),
    Index("ix_reconciliation_file", "organization_id", "file_hash", unique=True),
)

reconciliation_line = Table(
    "reconciliation_line",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("reconciliation_id", Id, nullable=False),
    Column("day", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("their_input_tokens", Tokens, nullable=False),
    Column("their_output_tokens", Tokens, nullable=False),
    Column("their_requests", BigInteger, nullable=False),
    Column("our_input_tokens", Tokens, nullable=False),
    Column("our_output_tokens", Tokens, nullable=False),
    Column("our_requests", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "reconciliation_id", "day", "model"),
)
