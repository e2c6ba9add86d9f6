"""Access: who and what may come in. AI services and their keys, platform keys, persons, memberships, sessions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKeyConstraint, Index, LargeBinary, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

ai_service = Table(
    "ai_service",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("service_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("reserve_tokens", Tokens),
    Column("default_session", Text),
    Column("default_reason", Text),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    PrimaryKeyConstraint("organization_id", "service_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    Index("ix_ai_service_name", "organization_id", "name", unique=True),
)

gateway_key = Table(
    "gateway_key",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("key_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    Column("service_id", Id),
    Column("scopes", Text),
    Column("models", Text),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_day", Tokens),
    Column("tokens_per_month", Tokens),
    PrimaryKeyConstraint("organization_id", "key_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    Index("ix_gateway_key_secret", "secret_hash"),
    Index("ix_gateway_key_service", "organization_id", "service_id", "key_id"),
)

platform_key = Table(
    "platform_key",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("key_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    PrimaryKeyConstraint("organization_id", "key_id"),
    Index("ix_platform_key_secret", "secret_hash"),
    Index("ix_platform_key_order", "key_id"),
)

creation = Table(
    "creation",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("given", Text, nullable=False),
    Column("subject", Id, nullable=False),
    Column("at", Instant, nullable=False),
    PrimaryKeyConstraint("organization_id", "key"),
)
"""What was created under an idempotency key, and out of what input. Platform-wide things have the organization ''."""

person = Table(
    "person",
    metadata,
    Column("person_id", Id, nullable=False),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("is_platform_admin", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    PrimaryKeyConstraint("person_id"),
    Index("ix_person_email", "email", unique=True),
)

membership = Table(
    "membership",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("person_id", Id, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("organization_id", "person_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    ForeignKeyConstraint(["person_id"], ["person.person_id"]),
    Index("ix_membership_person", "person_id"),
)

session = Table(
    "session",
    metadata,
    Column("token_hash", LargeBinary, nullable=False),
    Column("person_id", Id, nullable=False),
    Column("csrf_token", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("source", Text),
    Column("agent", Text),
    PrimaryKeyConstraint("token_hash"),
    ForeignKeyConstraint(["person_id"], ["person.person_id"]),
    Index("ix_session_person", "person_id"),
)

sign_in_failure = Table(
    "sign_in_failure",
    metadata,
    Column("subject", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("failure_id", Id, nullable=False),
    PrimaryKeyConstraint("subject", "at", "failure_id"),
)
