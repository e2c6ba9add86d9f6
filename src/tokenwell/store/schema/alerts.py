"""Alerts: who is told and how, what was sent and answered, what was read; and the jobs that see to it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, PrimaryKeyConstraint, SmallInteger, Table, Text, text

from tokenwell.store.schema.columns import Id, Instant, metadata

channel = Table(
    "channel",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("channel_id", Id, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("kinds", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("quiet_from", SmallInteger),
    Column("quiet_until", SmallInteger),
    Column("digest_at", SmallInteger),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    PrimaryKeyConstraint("organization_id", "channel_id"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("delivery_id", Id, nullable=False),
    Column("channel_home", Id, nullable=False),
    Column("channel_id", Id, nullable=False),
    Column("kind", Text, nullable=False),
    Column("event_id", Id),
    Column("sealed", LargeBinary),
    Column("status", Text, nullable=False),
    Column("is_bundled", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_until", Instant),
    Column("finished_at", Instant),
    Column("tried_at", Instant),
    PrimaryKeyConstraint("organization_id", "delivery_id"),
    Index(
        "ix_delivery_once",
        "organization_id",
        "event_id",
        "channel_home",
        "channel_id",
        unique=True,
        sqlite_where=text("event_id IS NOT NULL"),
        postgresql_where=text("event_id IS NOT NULL"),
    ),
    Index(
        "ix_delivery_due",
        "channel_home",
        "channel_id",
        "due_at",
        sqlite_where=text("status = 'due'"),
        postgresql_where=text("status = 'due'"),
    ),
    Index("ix_delivery_log", "channel_home", "channel_id", "delivery_id"),
    Index("ix_delivery_finished", "finished_at"),
)

attempt = Table(
    "attempt",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("delivery_id", Id, nullable=False),
    Column("attempt_id", Id, nullable=False),
    Column("at", Instant, nullable=False),
    Column("took_millis", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("status", SmallInteger),
    Column("answer", Text, nullable=False),
    PrimaryKeyConstraint("organization_id", "delivery_id", "attempt_id"),
)

event_read = Table(
    "event_read",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("person_id", Id, nullable=False),
    Column("event_id", Id, nullable=False),
    Column("at", Instant, nullable=False),
    PrimaryKeyConstraint("organization_id", "person_id", "event_id"),
)

told = Table(
    "told",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("subject", Text, nullable=False),
    Column("at", Instant, nullable=False),
    PrimaryKeyConstraint("organization_id", "subject"),
)

job = Table(
    "job",
    metadata,
    Column("name", Id, nullable=False),
    Column("owner", Text),
    Column("turn", BigInteger, nullable=False),
    Column("leased_until", Instant),
    Column("next_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("took_millis", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("runs", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("failed_at", Instant),
    Column("failure", Text, nullable=False),
    PrimaryKeyConstraint("name"),
)
