"""Offers and purchases"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "offer",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("offer_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("amount_tokens", sa.BigInteger(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("valid_days", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "offer_id", name=op.f("pk_offer")),
    )
    op.create_table(
        "purchase",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("purchase_id", ID, nullable=False),
        sa.Column("offer_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("amount_tokens", sa.BigInteger(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("valid_days", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("paid_at", sa.BigInteger(), nullable=True),
        sa.Column("pack_id", ID, nullable=True),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("chargeback", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "purchase_id", name=op.f("pk_purchase")),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_purchase_organization")),
    )
    undecided = sa.text("status IN ('open', 'waiting', 'paid')")
    op.create_index("ix_purchase_order", "purchase", ["purchase_id"], unique=False)
    op.create_index("ix_purchase_payment", "purchase", ["payment_id"], unique=False)
    op.create_index(
        "ix_purchase_undecided",
        "purchase",
        ["status", "asked_at"],
        unique=False,
        sqlite_where=undecided,
        postgresql_where=undecided,
    )
