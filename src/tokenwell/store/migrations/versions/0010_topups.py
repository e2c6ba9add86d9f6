"""Top-up requests"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "topup",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("topup_id", ID, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("amount_tokens", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("pack_id", ID, nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "topup_id", name=op.f("pk_topup")),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_topup_organization")),
    )
    op.create_index(
        "ix_topup_open",
        "topup",
        ["organization_id"],
        unique=True,
        sqlite_where=sa.text("status IN ('open', 'approving')"),
        postgresql_where=sa.text("status IN ('open', 'approving')"),
    )
    op.create_index("ix_topup_order", "topup", ["topup_id"], unique=False)
