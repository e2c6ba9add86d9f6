"""Disputes in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from tokenwell.core.happenings import Actor
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import dispute as _dispute


class DisputeStatus(StrEnum):
    """What a dispute has come to. Refunding: it was decided, and the tokens are being given back."""

    OPEN = "open"
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    ANSWERED = "answered"


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger line that somebody disputes: line `seq`, of a request that was charged `amount_tokens` there."""

    id: str
    organization_id: str
    seq: int
    request_id: str
    amount_tokens: int
    status: DisputeStatus
    note: str
    opened_at: datetime
    opened_by: Actor
    answer: str = ""
    refund_tokens: int | None = None
    decided_at: datetime | None = None
    decided_by: Actor | None = None


def _from(row: Sequence[Any]) -> Dispute:
    return Dispute(
        organization_id=row[0],
        id=row[1],
        seq=row[2],
        request_id=row[3],
        amount_tokens=row[4],
        status=DisputeStatus(row[5]),
        note=row[6],
        opened_at=from_micros(row[7]),
        opened_by=msgspec.json.decode(row[8], type=Actor),
        answer=row[9],
        refund_tokens=row[10],
        decided_at=None if row[11] is None else from_micros(row[11]),
        decided_by=None if row[12] is None else msgspec.json.decode(row[12], type=Actor),
    )


def add_dispute(connection: Connection, dispute: Dispute) -> None:
    """Insert an open dispute; raises sqlalchemy's IntegrityError where the line is disputed already."""
    connection.execute(
        insert(_dispute).values(
            organization_id=dispute.organization_id,
            dispute_id=dispute.id,
            seq=dispute.seq,
            request_id=dispute.request_id,
            amount_tokens=dispute.amount_tokens,
            status=dispute.status.value,
            note=dispute.note,
            opened_at=to_micros(dispute.opened_at),
            opened_by=msgspec.json.encode(dispute.opened_by).decode(),
            answer="",
        )
    )


def find_dispute(
    connection: Connection, organization_id: str, *, dispute_id: str | None = None, seq: int | None = None
) -> Dispute | None:
    """Return a dispute of the organization by its id or its line, or None."""
    which = _dispute.c.dispute_id == dispute_id if seq is None else _dispute.c.seq == seq
    row = connection.execute(select(_dispute).where(_dispute.c.organization_id == organization_id, which)).first()
    return None if row is None else _from(row)


def disputes_of(connection: Connection, organization_id: str, seqs: Sequence[int]) -> dict[int, Dispute]:
    """Return the disputes of some lines of the organization, by line."""
    query = select(_dispute).where(_dispute.c.organization_id == organization_id, _dispute.c.seq.in_(seqs))
    return {row[2]: _from(row) for row in connection.execute(query)}


def disputes(
    connection: Connection, organization_id: str | None, *, statuses: Sequence[DisputeStatus], before: str | None, limit: int
) -> list[Dispute]:
    """Return disputes of one organization or of all, the latest first, those before the id `before`."""
    query = select(_dispute).where(_dispute.c.status.in_([status.value for status in statuses]))
    if organization_id is not None:
        query = query.where(_dispute.c.organization_id == organization_id)
    if before is not None:
        query = query.where(_dispute.c.dispute_id < before)
    return [_from(row) for row in connection.execute(query.order_by(_dispute.c.dispute_id.desc()).limit(limit))]


def decide(
    connection: Connection,
    dispute: Dispute,
    *,
    status: DisputeStatus,
    answer: str,
    by: Actor,
    at: datetime,
    refund_tokens: int | None = None,
) -> bool:
    """Answer an open dispute, or note how much of it is being refunded; returns whether it was open."""
    return _change(
        connection,
        dispute,
        DisputeStatus.OPEN,
        status=status.value,
        answer=answer,
        refund_tokens=refund_tokens,
        decided_at=to_micros(at),
        decided_by=msgspec.json.encode(by).decode(),
    )


def finish_refund(connection: Connection, dispute: Dispute) -> bool:
    """Close a dispute that was refunded; returns whether that was news."""
    return _change(connection, dispute, DisputeStatus.REFUNDING, status=DisputeStatus.REFUNDED.value)


def undo_refund(connection: Connection, dispute: Dispute) -> None:
    """Open a dispute again whose refund was refused."""
    undone = {"answer": "", "refund_tokens": None, "decided_at": None, "decided_by": None}
    _change(connection, dispute, DisputeStatus.REFUNDING, status=DisputeStatus.OPEN.value, **undone)


def _change(connection: Connection, dispute: Dispute, present: DisputeStatus, **values: Any) -> bool:
    changed = connection.execute(
        update(_dispute)
        .where(
            _dispute.c.organization_id == dispute.organization_id,
            _dispute.c.dispute_id == dispute.id,
            _dispute.c.status == present.value,
        )
        .values(**values)
    )
    return changed.rowcount > 0
