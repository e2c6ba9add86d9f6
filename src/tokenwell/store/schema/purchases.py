"""Purchases: the offers of the platform, and what organizations bought of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, Text, text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

offer = Table(
    "offer",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("offer_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("amount_tokens", Tokens, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("valid_days", BigInteger),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("withdrawn_at", Instant),
    PrimaryKeyConstraint("organization_id", "offer_id"),
)

_UNDECIDED = "status IN ('open', 'waiting', 'paid')"

purchase = Table(
    "purchase",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("purchase_id", Id, nullable=False),
    Column("offer_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("amount_tokens", Tokens, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("valid_days", BigInteger),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("started_by", Text, nullable=False),
    Column("session_id", Text),
    Column("address", Text),
    Column("payment_id", Text),
    Column("paid_at", Instant),
    Column("pack_id", Id),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("chargeback", Text, nullable=False),
    Column("asked_at", Instant, nullable=False),
    PrimaryKeyConstraint("organization_id", "purchase_id"),
    ForeignKeyConstraint(["organization_id"], ["organization.organization_id"]),
    Index("ix_purchase_order", "purchase_id"),
    Index("ix_purchase_payment", "payment_id"),
    Index("ix_purchase_undecided", "status", "asked_at", sqlite_where=text(_UNDECIDED), postgresql_where=text(_UNDECIDED)),
)
