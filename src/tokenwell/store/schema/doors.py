"""Doors: the ways in beside a password. Links that open once, second factors with their recovery codes, how a person reads."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, LargeBinary, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, metadata

access_link = Table(
    "access_link",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("link_id", Id, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("email", Text),
    Column("role", Text),
    Column("person_id", Id),
    Column("created_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    PrimaryKeyConstraint("organization_id", "link_id"),
    Index("ix_access_link_token", "token_hash"),
    Index("ix_access_link_expiry", "expires_at"),
)

second_factor = Table(
    "second_factor",
    metadata,
    Column("person_id", Id, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("person_id"),
    ForeignKeyConstraint(["person_id"], ["person.person_id"]),
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("person_id", Id, nullable=False),
    Column("code_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("person_id", "code_hash"),
    ForeignKeyConstraint(["person_id"], ["person.person_id"]),
)

person_preference = Table(
    "person_preference",
    metadata,
    Column("person_id", Id, nullable=False),
    Column("language", Text),
    Column("zone", Text),
    PrimaryKeyConstraint("person_id"),
    ForeignKeyConstraint(["person_id"], ["person.person_id"]),
)

person_identity = Table(
    "person_identity",
    metadata,
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("person_id", Id, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("issuer", "subject"),
    ForeignKeyConstraint(["person_id"], ["person.person_id"]),
    Index("ix_person_identity_person", "person_id"),
)
