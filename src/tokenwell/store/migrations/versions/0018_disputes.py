"""Disputes and reconciliations"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "dispute",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("dispute_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("amount_tokens", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("refund_tokens", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "dispute_id", name=op.f("pk_dispute")),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_dispute_organization")),
    )
    op.create_index("ix_dispute_line", "dispute", ["organization_id", "seq"], unique=True)
    op.create_index("ix_dispute_order", "dispute", ["dispute_id"], unique=False)
    op.create_table(
        "reconciliation",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("reconciliation_id", ID, nullable=False),
        sa.Column("file_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("named", sa.BigInteger(), nullable=False),
        sa.Column("found", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "reconciliation_id", name=op.f("pk_reconciliation")),
    )
    op.create_index("ix_reconciliation_file", "reconciliation", ["organization_id", "file_hash"], unique=True)
    op.create_table(
        "reconciliation_line",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("reconciliation_id", ID, nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("their_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("their_output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("their_requests", sa.BigInteger(), nullable=False),
        sa.Column("our_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("our_output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("our_requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "reconciliation_id", "day", "model", name=op.f("pk_reconciliation_line")),
    )
