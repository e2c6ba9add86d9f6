"""Writes of the REST API and what was answered to them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_write",
        sa.Column("organization_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("given", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "key", name=op.f("pk_api_write")),
    )
    op.create_index("ix_api_write_age", "api_write", ["at"])


def downgrade() -> None:
    op.drop_table("api_write")
