"""Recurring grants"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("schedule_id", ID, nullable=False),
        sa.Column("amount_tokens", sa.BigInteger(), nullable=False),
        sa.Column("recurrence", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("valid_days", sa.BigInteger(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("next_number", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("paused_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "schedule_id", name=op.f("pk_schedule")),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_schedule_organization")),
    )
    op.create_index(
        "ix_schedule_due",
        "schedule",
        ["next_at", "organization_id"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL AND paused_at IS NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL AND paused_at IS NULL"),
    )
