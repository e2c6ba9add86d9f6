"""Stored answers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "stored_answer",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("answer_id", ID, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "answer_id", name=op.f("pk_stored_answer")),
    )
    op.create_index("ix_stored_answer_age", "stored_answer", ["created_at"], unique=False)
