"""The lines of packs' lives have an index of their own"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

IS_LIFE = "kind IN ('grant', 'expire', 'revoke', 'extend', 'overage_repaid')"


def upgrade() -> None:
    op.create_index(
        "ix_entry_life",
        "entry",
        ["organization_id", "pack_id", "kind", "amount_tokens", "seq"],
        unique=False,
        sqlite_where=sa.text(IS_LIFE),
        postgresql_where=sa.text(IS_LIFE),
    )


def downgrade() -> None:
    op.drop_index("ix_entry_life", table_name="entry")
