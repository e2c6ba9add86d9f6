"""Holds that grow"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("hold", sa.Column("growths", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "growth",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("hold_id", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("tokens_before", sa.BigInteger(), nullable=False),
        sa.Column("lapses_before", sa.BigInteger(), nullable=False),
        sa.Column("tokens_after", sa.BigInteger(), nullable=False),
        sa.Column("lapses_after", sa.BigInteger(), nullable=False),
        sa.Column("balance_tokens", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "hold_id", "number", name=op.f("pk_growth")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_growth_key", "growth", ["key", "hold_id", "organization_id"], unique=True)
    op.create_index("ix_growth_at", "growth", ["organization_id", "at"], unique=False)
