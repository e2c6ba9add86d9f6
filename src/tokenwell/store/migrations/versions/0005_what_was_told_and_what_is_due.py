"""What was told and what is due"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("told_state", sa.Text(), server_default="normal", nullable=False))
    op.add_column("account", sa.Column("due_at", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(
        "UPDATE account SET due_at = CASE WHEN next_expiry_at < next_lapse_at THEN next_expiry_at ELSE next_lapse_at END, "
        "version = version + 1"
    )
    op.create_index("ix_account_due", "account", ["due_at", "organization_id"], unique=False)
