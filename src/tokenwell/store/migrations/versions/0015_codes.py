"""Redemption codes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "code_batch",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("amount_tokens", sa.BigInteger(), nullable=False),
        sa.Column("codes", sa.BigInteger(), nullable=False),
        sa.Column("valid_days", sa.BigInteger(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "batch_id", name=op.f("pk_code_batch")),
    )
    op.create_table(
        "code",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("code_id", ID, nullable=False),
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("redeemed_for", ID, nullable=True),
        sa.Column("redeemed_at", sa.BigInteger(), nullable=True),
        sa.Column("redeemed_by", sa.Text(), nullable=True),
        sa.Column("pack_id", ID, nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "code_hash", name=op.f("pk_code")),
    )
    op.create_index("ix_code_batch", "code", ["organization_id", "batch_id"], unique=False)
