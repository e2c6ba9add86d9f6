"""Happenings: what is told to people afterwards. Events of the ledger, and the acts of those who administer it."""

from __future__ import annotations

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, Text, text

from tokenwell.store.schema.columns import Id, Instant, metadata

event = Table(
    "event",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("event_id", Id, nullable=False),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("dispatched_at", Instant),
    PrimaryKeyConstraint("organization_id", "event_id"),
    Index(
        "ix_event_due",
        "event_id",
        "organization_id",
        sqlite_where=text("dispatched_at IS NULL"),
        postgresql_where=text("dispatched_at IS NULL"),
    ),
    Index("ix_event_kind", "kind", "event_id"),
)

act = Table(
    "act",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("act_id", Id, nullable=False),
    Column("at", Instant, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    PrimaryKeyConstraint("organization_id", "act_id"),
    Index("ix_act_order", "act_id"),
)
