"""Columns: what all tables share. How constraints are named, and the types of identifiers, instants and tokens."""

from __future__ import annotations

from sqlalchemy import BigInteger, MetaData, Text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Id = Text().with_variant(Text(collation="C"), "postgresql")
"""An identifier; compared byte by byte on every database."""

Instant = BigInteger
Tokens = BigInteger
