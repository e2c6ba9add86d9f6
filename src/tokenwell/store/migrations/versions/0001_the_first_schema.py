"""The first schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "organization",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_organization")),
    )
    op.create_table(
        "person",
        sa.Column("person_id", ID, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("is_platform_admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person")),
    )
    op.create_index("ix_person_email", "person", ["email"], unique=True)
    op.create_table(
        "rate",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.BigInteger(), nullable=False),
        sa.Column("input_millionths", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_millionths", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_millionths", sa.BigInteger(), nullable=False),
        sa.Column("output_millionths", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_millionths", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "effective_at", name=op.f("pk_rate")),
    )
    op.create_table(
        "rollup",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("bucket_at", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("debited_tokens", sa.BigInteger(), nullable=False),
        sa.Column("refunded_tokens", sa.BigInteger(), nullable=False),
        sa.Column("overage_tokens", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "bucket_at", "model", "reason", "service_id", "key_id", name=op.f("pk_rollup")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sign_in_failure",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("failure_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("subject", "at", "failure_id", name=op.f("pk_sign_in_failure")),
    )
    op.create_table(
        "account",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("head_hash", sa.LargeBinary(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("balance_tokens", sa.BigInteger(), nullable=False),
        sa.Column("held_tokens", sa.BigInteger(), nullable=False),
        sa.Column("overage_tokens", sa.BigInteger(), nullable=False),
        sa.Column("warning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reserve_tokens", sa.BigInteger(), nullable=True),
        sa.Column("pack_count", sa.BigInteger(), nullable=False),
        sa.Column("last_closed_seq", sa.BigInteger(), nullable=False),
        sa.Column("next_expiry_at", sa.BigInteger(), nullable=False),
        sa.Column("next_lapse_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "balance_tokens >= 0 AND held_tokens >= 0 AND overage_tokens >= 0", name=op.f("ck_account_not_negative")
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_account_organization")),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_account")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "entry",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount_tokens", sa.BigInteger(), nullable=False),
        sa.Column("balance_after_tokens", sa.BigInteger(), nullable=False),
        sa.Column("pack_id", sa.Text(), nullable=True),
        sa.Column("pack_remaining_tokens", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("part", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("service_id", sa.Text(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("ref_seq", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "seq", name=op.f("pk_entry")),
    )
    op.create_index(
        "ix_entry_key",
        "entry",
        ["key", "organization_id"],
        unique=True,
        sqlite_where=sa.text("key IS NOT NULL"),
        postgresql_where=sa.text("key IS NOT NULL"),
    )
    op.create_index(
        "ix_entry_ref",
        "entry",
        ["organization_id", "ref_seq"],
        unique=False,
        sqlite_where=sa.text("ref_seq IS NOT NULL"),
        postgresql_where=sa.text("ref_seq IS NOT NULL"),
    )
    op.create_table(
        "gateway_key",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("key_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_gateway_key_organization")),
        sa.PrimaryKeyConstraint("organization_id", "key_id", name=op.f("pk_gateway_key")),
    )
    op.create_index("ix_gateway_key_secret", "gateway_key", ["secret_hash"], unique=False)
    op.create_table(
        "hold",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("hold_id", ID, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_seq", sa.BigInteger(), nullable=False),
        sa.Column("lapses_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_balance_tokens", sa.BigInteger(), nullable=False),
        sa.Column("opened_flags", sa.SmallInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("used_tokens", sa.BigInteger(), nullable=True),
        sa.Column("settled_fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("balance_after_tokens", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "hold_id", name=op.f("pk_hold")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_hold_key", "hold", ["key", "organization_id"], unique=True)
    op.create_index(
        "ix_hold_open",
        "hold",
        ["organization_id", "lapses_at"],
        unique=False,
        sqlite_where=sa.text("status = 'open'"),
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_table(
        "membership",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_membership_organization")),
        sa.ForeignKeyConstraint(["person_id"], ["person.person_id"], name=op.f("fk_membership_person")),
        sa.PrimaryKeyConstraint("organization_id", "person_id", name=op.f("pk_membership")),
    )
    op.create_index("ix_membership_person", "membership", ["person_id"], unique=False)
    op.create_table(
        "pack",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("pack_id", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("total_tokens", sa.BigInteger(), nullable=False),
        sa.Column("remaining_tokens", sa.BigInteger(), nullable=False),
        sa.Column("repaid_tokens", sa.BigInteger(), nullable=False),
        sa.Column("returned_tokens", sa.BigInteger(), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("granted_seq", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_seq", sa.BigInteger(), nullable=True),
        sa.Column("closed_seq", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("is_open", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("remaining_tokens BETWEEN 0 AND total_tokens", name=op.f("ck_pack_within_total")),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_pack_organization")),
        sa.PrimaryKeyConstraint("organization_id", "pack_id", name=op.f("pk_pack")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_pack_burn_down",
        "pack",
        ["organization_id", "priority", "expires_at", "granted_at", "pack_id"],
        unique=False,
        sqlite_where=sa.text("is_open = 1"),
        postgresql_where=sa.text("is_open = 1"),
    )
    op.create_index(
        "ix_pack_closed",
        "pack",
        ["organization_id", "closed_seq"],
        unique=False,
        sqlite_where=sa.text("closed_seq IS NOT NULL"),
        postgresql_where=sa.text("closed_seq IS NOT NULL"),
    )
    op.create_index(
        "ix_pack_due",
        "pack",
        ["organization_id", "expires_at"],
        unique=False,
        sqlite_where=sa.text("is_open = 1"),
        postgresql_where=sa.text("is_open = 1"),
    )
    op.create_index("ix_pack_number", "pack", ["organization_id", "number"], unique=True)
    op.create_index(
        "ix_pack_repaid",
        "pack",
        ["organization_id", "granted_seq"],
        unique=False,
        sqlite_where=sa.text("repaid_tokens > returned_tokens"),
        postgresql_where=sa.text("repaid_tokens > returned_tokens"),
    )
    op.create_table(
        "session",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("csrf_token", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.person_id"], name=op.f("fk_session_person")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_session")),
    )
    op.create_index("ix_session_person", "session", ["person_id"], unique=False)
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER entry_no_{verb.lower()} BEFORE {verb} ON entry "
        "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    # Room in each page keeps an update of a hot row in its page, touching no index.
    "postgresql": [
        "CREATE FUNCTION entry_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the journal is append-only' USING ERRCODE = '42501'; END $$",
        "CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION entry_append_only()",
        "CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON entry EXECUTE FUNCTION entry_append_only()",
        "ALTER TABLE account SET (fillfactor = 50)",
        "ALTER TABLE pack SET (fillfactor = 50)",
        "ALTER TABLE hold SET (fillfactor = 70)",
        "ALTER TABLE rollup SET (fillfactor = 50)",
    ],
}
