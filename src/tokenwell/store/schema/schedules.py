"""Schedules: packs that are granted again and again."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, SmallInteger, Table, Text, text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

schedule = Table(
    "schedule",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("schedule_id", Id, nullable=False),
    Column("amount_tokens", Tokens, nullable=False),
    Column("recurrence", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("valid_days", BigInteger),
    Column("priority", SmallInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("next_number", BigInteger, nullable=False),
    Column("next_at", Instant),
    Column("granted", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("paused_at", Instant),
    Column("ended_at", Instant),
    PrimaryKeyConstraint("organization_id", "schedule_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    Index(
        "ix_schedule_due",
        "next_at",
        "organization_id",
        sqlite_where=text("next_at IS NOT NULL AND paused_at IS NULL"),
        postgresql_where=text("next_at IS NOT NULL AND paused_at IS NULL"),
    ),
)
