"""Events by kind: what the platform is told of in every organization"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_event_kind", "event", ["kind", "event_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_event_kind", table_name="event")
