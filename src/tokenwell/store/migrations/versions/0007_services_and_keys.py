"""AI services, what limits their keys, platform keys, and what was created under which idempotency key"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ai_service",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("service_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("reserve_tokens", sa.BigInteger(), nullable=True),
        sa.Column("default_session", sa.Text(), nullable=True),
        sa.Column("default_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "service_id", name=op.f("pk_ai_service")),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.organization_id"], name=op.f("fk_ai_service_organization")),
    )
    op.create_index("ix_ai_service_name", "ai_service", ["organization_id", "name"], unique=True)
    for name in ("service_id", "scopes", "models"):
        op.add_column("gateway_key", sa.Column(name, ID if name == "service_id" else sa.Text(), nullable=True))
    for name in ("requests_per_minute", "tokens_per_day", "tokens_per_month"):
        op.add_column("gateway_key", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_index("ix_gateway_key_service", "gateway_key", ["organization_id", "service_id", "key_id"], unique=False)
    op.create_table(
        "platform_key",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("key_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "key_id", name=op.f("pk_platform_key")),
    )
    op.create_index("ix_platform_key_secret", "platform_key", ["secret_hash"], unique=False)
    op.create_index("ix_platform_key_order", "platform_key", ["key_id"], unique=False)
    op.create_table(
        "creation",
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("given", sa.Text(), nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "key", name=op.f("pk_creation")),
    )
