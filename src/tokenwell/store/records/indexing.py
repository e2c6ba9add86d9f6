"""Indexing: sums up journal lines that are written already, block by block, off the hot path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy
from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.store import schema

BLOCK_LINES = 512
"""How many lines of a journal one block covers. Line n (from 1) is in block (n − 1) // BLOCK_LINES."""

DIMENSIONS = {
    "model": "model",
    "session": "session",
    "reason": "reason",
    "pack": "pack_id",
    "service": "service_id",
    "key": "key_id",
}
"""What a ledger can be filtered by, and the column that holds it; `kind` and `all` are dimensions of blocks as well."""

_entry, _mark, _block, _session = schema.entry, schema.journal_mark, schema.ledger_block, schema.session_summary
_SUMS = ("debited_tokens", "refunded_tokens", "overage_tokens", "prompt_tokens", "completion_tokens", "requests")


class Digest(msgspec.Struct, frozen=True):
    """What the lines after `after` up to `upto` come to."""

    organization_id: str
    after: int
    upto: int
    blocks: list[dict[str, Any]]
    sessions: list[dict[str, Any]]


def is_charged() -> ColumnElement[bool]:
    """Return what tells the lines of the Usage Ledger from the rest of the journal."""
    return _entry.c.kind.in_(["debit", "refund"])


def _sum(condition: ColumnElement[bool], column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(case((condition, column), else_=0)), 0)


def ledger_sums() -> list[ColumnElement[Any]]:
    """Return what is summed of ledger lines: how many, debited, refunded, prompt and completion tokens."""
    debit = _entry.c.kind == "debit"
    return [
        func.count(),
        _sum(debit, _entry.c.amount_tokens),
        _sum(_entry.c.kind == "refund", _entry.c.amount_tokens),
        _sum(debit, _entry.c.prompt_tokens),
        _sum(debit, _entry.c.completion_tokens),
    ]


def session_sums() -> list[ColumnElement[Any]]:
    """Return what is summed of a session's lines, as `rollup` sums: debited, refunded, overage, prompt, completion, requests."""
    debit, overage = _entry.c.kind == "debit", _entry.c.kind == "overage"
    begins = and_(debit | overage, _entry.c.part == 1, _entry.c.ref_seq.is_(None))
    return [
        _sum(debit, _entry.c.amount_tokens),
        _sum(_entry.c.kind == "refund", _entry.c.amount_tokens),
        _sum(overage, _entry.c.amount_tokens),
        _sum(debit, _entry.c.prompt_tokens),
        _sum(debit, _entry.c.completion_tokens),
        _sum(begins, literal(1)),
    ]


def session_rows(connection: Connection, organization_id: str, after: int, upto: int, *only: ColumnElement[bool]) -> Sequence[Any]:
    """Return session, first and last line and instant, and the sums, of each session with lines in (after, upto]."""
    ends = [func.min(_entry.c.seq), func.max(_entry.c.seq), func.min(_entry.c.at), func.max(_entry.c.at)]
    return connection.execute(
        select(_entry.c.session, *ends, *session_sums())
        .where(
            _entry.c.organization_id == organization_id,
            _entry.c.seq > after,
            _entry.c.seq <= upto,
            _entry.c.session.is_not(None),
            _entry.c.kind.in_(["debit", "refund", "overage"]),
            *only,
        )
        .group_by(_entry.c.session)
    ).all()


def behind(connection: Connection, limit: int) -> list[str]:
    """Return organizations whose journal has a whole block after the mark."""
    account = schema.account
    done = func.coalesce(_mark.c.seq, 0)
    query = select(account.c.organization_id).outerjoin_from(account, _mark, account.c.organization_id == _mark.c.organization_id)
    return [row[0] for row in connection.execute(query.where(account.c.seq - done >= BLOCK_LINES).limit(limit))]


def mark_of(connection: Connection, organization_id: str) -> int:
    """Return the last line that is summed up; the end of a block, or 0."""
    return connection.execute(select(_mark.c.seq).where(_mark.c.organization_id == organization_id)).scalar_one_or_none() or 0


def digest(connection: Connection, organization_id: str, *, limit: int) -> Digest | None:
    """Return what the next whole blocks come to, at most `limit` of them; None where there is none."""
    after = mark_of(connection, organization_id)
    account = schema.account
    last = connection.execute(select(account.c.seq).where(account.c.organization_id == organization_id)).scalar_one_or_none() or 0
    upto = after + min(limit, (last - after) // BLOCK_LINES) * BLOCK_LINES
    if upto <= after:
        return None
    blocks = _blocks(connection, organization_id, after, upto, "all", literal(""))
    blocks += _blocks(connection, organization_id, after, upto, "kind", _entry.c.kind)
    for dimension, column in DIMENSIONS.items():
        blocks += _blocks(connection, organization_id, after, upto, dimension, _entry.c[column])
    names = ("session", "first_seq", "last_seq", "first_at", "last_at", *_SUMS)
    sessions = [
        {"organization_id": organization_id, **dict(zip(names, (row[0], *map(int, row[1:])), strict=True))}
        for row in session_rows(connection, organization_id, after, upto)
    ]
    return Digest(organization_id, after, upto, blocks, sessions)


def _blocks(
    connection: Connection, organization_id: str, after: int, upto: int, dimension: str, value: ColumnElement[Any]
) -> list[dict[str, Any]]:
    block = ((_entry.c.seq - 1) // literal(BLOCK_LINES, literal_execute=True)).label("block")
    rows = connection.execute(
        select(value.label("value"), block, *ledger_sums())
        .where(
            _entry.c.organization_id == organization_id,
            _entry.c.seq > after,
            _entry.c.seq <= upto,
            is_charged(),
            value.is_not(None),
        )
        .group_by(sqlalchemy.text("value"), sqlalchemy.text("block"))
    )
    names = ("block", "lines", "debited_tokens", "refunded_tokens", "prompt_tokens", "completion_tokens")
    return [
        {
            "organization_id": organization_id,
            "dimension": dimension,
            "value": row[0],
            **dict(zip(names, map(int, row[1:]), strict=True)),
        }
        for row in rows
    ]


def advance(connection: Connection, found: Digest) -> bool:
    """Write a digest in the caller's transaction and move the mark; False, and nothing written, if somebody else moved it.

    Raises sqlalchemy's IntegrityError where somebody else wrote the first mark at the same moment.
    """
    own = _mark.c.organization_id == found.organization_id
    if found.after:
        moved = connection.execute(_mark.update().where(own, _mark.c.seq == found.after).values(seq=found.upto)).rowcount
        if not moved:
            return False
    else:
        connection.execute(_mark.insert().values(organization_id=found.organization_id, seq=found.upto))
    if found.blocks:
        connection.execute(_block.insert(), found.blocks)
    if found.sessions:
        insert: Any = sqlite.insert(_session) if connection.dialect.name == "sqlite" else postgresql.insert(_session)
        changes = {name: getattr(insert.excluded, name) for name in ("last_seq", "last_at")}
        changes |= {name: _session.c[name] + getattr(insert.excluded, name) for name in _SUMS}
        connection.execute(
            insert.on_conflict_do_update(index_elements=["organization_id", "session"], set_=changes), found.sessions
        )
    return True
