"""Who may frame the packs page of an organization"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "embedding",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("origins", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_embedding_organization")),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_embedding")),
    )


def downgrade() -> None:
    op.drop_table("embedding")
