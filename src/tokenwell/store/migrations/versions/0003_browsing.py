"""What makes a long ledger quick to browse"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "journal_mark",
        sa.Column("organization_id", ID, nullable=False),
        *_numbers("seq"),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_journal_mark")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_block",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        *_numbers("block", "lines", "debited_tokens", "refunded_tokens", "prompt_tokens", "completion_tokens"),
        sa.PrimaryKeyConstraint("organization_id", "dimension", "value", "block", name=op.f("pk_ledger_block")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session_summary",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        *_numbers("first_seq", "last_seq", "first_at", "last_at"),
        *_numbers("debited_tokens", "refunded_tokens", "overage_tokens", "prompt_tokens", "completion_tokens", "requests"),
        sa.PrimaryKeyConstraint("organization_id", "session", name=op.f("pk_session_summary")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_session_summary_latest", "session_summary", ["organization_id", "last_seq"], unique=False)
