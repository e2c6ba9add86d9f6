"""Codes whose redemption was interrupted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    unfinished = sa.text("redeemed_for IS NOT NULL AND pack_id IS NULL")
    op.create_index(
        "ix_code_unfinished",
        "code",
        ["organization_id", "redeemed_at"],
        unique=False,
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
