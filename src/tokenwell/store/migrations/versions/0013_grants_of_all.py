"""Packs of every organization are listed by their grant"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_pack_latest", "pack", ["pack_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_pack_latest", table_name="pack")
