"""Stored answers: whose those are that a provider keeps."""

from __future__ import annotations

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

stored_answer = Table(
    "stored_answer",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("answer_id", Id, nullable=False),
    Column("model", Text, nullable=False),
    Column("tokens", Tokens, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("served_by", Text),
    PrimaryKeyConstraint("organization_id", "answer_id"),
    Index("ix_stored_answer_age", "created_at"),
)
