"""What is done while the database cannot be reached, by organization"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policy", sa.Column("when_away", sa.Text(), nullable=False, server_default="refuse"))
    op.add_column("policy", sa.Column("away_seconds", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("policy", sa.Column("away_tokens", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in ("away_tokens", "away_seconds", "when_away"):
        op.drop_column("policy", name)
