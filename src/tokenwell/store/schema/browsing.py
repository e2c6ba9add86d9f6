"""Browsing: what is summed up from the journal in the background, so that any filter of a long ledger is quick.

A block is BLOCK_LINES lines of an organization's journal, counted from its first. For every value that a block's debit and refund
lines have in a dimension (a model, a session, a pack, …) one row tells how many there are and their sums. Only whole blocks are
written, and never changed: the journal is append-only. A session's row sums up its lines up to the organization's mark; the lines
after the mark are few, and are read themselves.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, PrimaryKeyConstraint, Table, Text

from tokenwell.store.schema.columns import Id, Instant, Tokens, metadata

journal_mark = Table(
    "journal_mark",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("seq", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id"),
    sqlite_with_rowid=False,
)

ledger_block = Table(
    "ledger_block",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("dimension", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("lines", BigInteger, nullable=False),
    Column("debited_tokens", Tokens, nullable=False),
    Column("refunded_tokens", Tokens, nullable=False),
    Column("prompt_tokens", Tokens, nullable=False),
    Column("completion_tokens", Tokens, nullable=False),
    PrimaryKeyConstraint("organization_id", "dimension", "value", "block"),
    sqlite_with_rowid=False,
)

session_summary = Table(
    "session_summary",
    metadata,
    Column("organization_id", Id, nullable=False),
    Column("session", Text, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("debited_tokens", Tokens, nullable=False),
    Column("refunded_tokens", Tokens, nullable=False),
    Column("overage_tokens", Tokens, nullable=False),
    Column("prompt_tokens", Tokens, nullable=False),
    Column("completion_tokens", Tokens, nullable=False),
    Column("requests", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "session"),
    Index("ix_session_summary_latest", "organization_id", "last_seq"),
    sqlite_with_rowid=False,
)
