"""The schema: one set of tables for SQLite, PostgreSQL and sharded PostgreSQL.

Every tenant table has organization_id first in its primary key and within every unique index, so that it can be distributed by it.
The indexes of idempotency keys begin with the key: those are ordered by time, so all organizations write at the index's end.
Instants are microseconds since 1970-01-01 UTC; an expiry of "never" is the largest 64-bit number, so that it sorts last.

Holds and journal lines have no foreign key: they are only written together with their account's row, which has one, and a check
for each of them would cost more than the line itself.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Id = Text().with_variant(Text(collation="C"), "postgresql")
"""An identifier; compared byte by byte on every database."""

Instant = BigInteger
Tokens = BigInteger

organization = Table(
    "organization",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("organization_id"),
)

account = Table(
    "account",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("balance_tokens", Tokens, nullable=False),
    Column("held_tokens", Tokens, nullable=False),
    Column("overage_tokens", Tokens, nullable=False),
    Column("warning_tokens", Tokens),
    Column("reserve_tokens", Tokens),
    Column("pack_count", BigInteger, nullable=False),
    Column("last_closed_seq", BigInteger, nullable=False),
    Column("next_expiry_at", Instant, nullable=False),
    Column("next_lapse_at", Instant, nullable=False),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    CheckConstraint("balance_tokens >= 0 AND held_tokens >= 0 AND overage_tokens >= 0", name="not_negative"),
    sqlite_with_rowid=False,
)

pack = Table(
    "pack",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("pack_id", Id, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("total_tokens", Tokens, nullable=False),
    Column("remaining_tokens", Tokens, nullable=False),
    Column("repaid_tokens", Tokens, nullable=False),
    Column("returned_tokens", Tokens, nullable=False),
    Column("granted_at", Instant, nullable=False),
    Column("granted_seq", BigInteger, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("revoked_seq", BigInteger),
    Column("closed_seq", BigInteger),
    Column("note", Text, nullable=False),
    Column("is_open", SmallInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "pack_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    CheckConstraint("remaining_tokens BETWEEN 0 AND total_tokens", name="within_total"),
    Index("ix_pack_number", "organization_id", "number", unique=True),
    Index(
        "ix_pack_burn_down",
        "organization_id",
        "priority",
        "expires_at",
        "granted_at",
        "pack_id",
        sqlite_where=text("is_open = 1"),
        postgresql_where=text("is_open = 1"),
    ),
    Index("ix_pack_due", "organization_id", "expires_at", sqlite_where=text("is_open = 1"), postgresql_where=text("is_open = 1")),
    Index(
        "ix_pack_closed",
        "organization_id",
        "closed_seq",
        sqlite_where=text("closed_seq IS NOT NULL"),
        postgresql_where=text("closed_seq IS NOT NULL"),
    ),
    Index(
        "ix_pack_repaid",
        "organization_id",
        "granted_seq",
        sqlite_where=text("repaid_tokens > returned_tokens"),
        postgresql_where=text("repaid_tokens > returned_tokens"),
    ),
    sqlite_with_rowid=False,
)

hold = Table(
    "hold",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("hold_id", Id, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("tokens", Tokens, nullable=False),
    Column("status", Text, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("opened_seq", BigInteger, nullable=False),
    Column("lapses_at", Instant, nullable=False),
    Column("opened_balance_tokens", Tokens, nullable=False),
    Column("opened_flags", SmallInteger, nullable=False),
    Column("closed_at", Instant),
    Column("used_tokens", Tokens),
    Column("settled_fingerprint", LargeBinary),
    Column("balance_after_tokens", Tokens, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "hold_id"),
    Index("ix_hold_key", "key", "organization_id", unique=True),
    Index(
        "ix_hold_open",
        "organization_id",
        "lapses_at",
        sqlite_where=text("status = 'open'"),
        postgresql_where=text("status = 'open'"),
    ),
    sqlite_with_rowid=False,
)

entry = Table(
    "entry",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_tokens", Tokens, nullable=False),
    Column("balance_after_tokens", Tokens, nullable=False),
    Column("pack_id", Text),
    Column("pack_remaining_tokens", Tokens),
    Column("key", LargeBinary),
    Column("fingerprint", LargeBinary),
    Column("request_id", Text),
    Column("part", BigInteger, nullable=False),
    Column("parts", BigInteger, nullable=False),
    Column("prompt_tokens", Tokens),
    Column("completion_tokens", Tokens),
    Column("model", Text),
    Column("session", Text),
    Column("reason", Text),
    Column("service_id", Text),
    Column("key_id", Text),
    Column("flags", SmallInteger, nullable=False),
    Column("detail", Text),
    Column("note", Text, nullable=False),
    Column("ref_seq", BigInteger),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("organization_id", "seq"),
    Index(
        "ix_entry_key",
        "key",
        "organization_id",
        unique=True,
        sqlite_where=text("key IS NOT NULL"),
        postgresql_where=text("key IS NOT NULL"),
    ),
    Index(
        "ix_entry_ref",
        "organization_id",
        "ref_seq",
        sqlite_where=text("ref_seq IS NOT NULL"),
        postgresql_where=text("ref_seq IS NOT NULL"),
    ),
)

rollup = Table(
    "rollup",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("bucket_at", Instant, nullable=False),
    Column("model", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("service_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("debited_tokens", Tokens, nullable=False),
    Column("refunded_tokens", Tokens, nullable=False),
    Column("overage_tokens", Tokens, nullable=False),
    Column("prompt_tokens", Tokens, nullable=False),
    Column("completion_tokens", Tokens, nullable=False),
    Column("requests", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "bucket_at", "model", "reason", "service_id", "key_id"),
    sqlite_with_rowid=False,
)

rate = Table(
    "rate",
    metadata,
    Column("model", Text, nullable=False),
    Column("effective_at", Instant, nullable=False),
    Column("input_millionths", BigInteger, nullable=False),
    Column("cache_read_millionths", BigInteger, nullable=False),
    Column("cache_write_millionths", BigInteger, nullable=False),
    Column("output_millionths", BigInteger, nullable=False),
    Column("reasoning_millionths", BigInteger, nullable=False),
    PrimaryKeyConstraint("model", "effective_at"),
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
    PrimaryKeyConstraint("organization_id", "key_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    Index("ix_gateway_key_secret", "secret_hash"),
)

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
