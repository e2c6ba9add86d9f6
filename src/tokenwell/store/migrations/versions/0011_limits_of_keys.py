"""What passed with keys that have limits"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("hold", sa.Column("limited_key_id", sa.Text(), nullable=True))
    op.create_table(
        "key_usage",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("key_id", ID, nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("minute_requests", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("day_tokens", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.BigInteger(), nullable=False),
        sa.Column("month_tokens", sa.BigInteger(), nullable=False),
        sa.Column("held_tokens", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("held_tokens >= 0", name=op.f("ck_key_usage_not_negative")),
        sa.PrimaryKeyConstraint("organization_id", "key_id", name=op.f("pk_key_usage")),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE key_usage SET (fillfactor = 50)")
