"""What made tokens owed is found by an index"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    owed = sa.text("kind IN ('overage', 'advance')")
    op.create_index(
        "ix_entry_owed",
        "entry",
        ["organization_id", "kind", "seq", "amount_tokens"],
        unique=False,
        sqlite_where=owed,
        postgresql_where=owed,
    )
