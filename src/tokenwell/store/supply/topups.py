"""Top-up requests in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from tokenwell.core.happenings import Actor
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import topup as _topup


class TopupStatus(StrEnum):
    """What a request has come to. Approving: somebody approved it, and the pack is being granted."""

    OPEN = "open"
    APPROVING = "approving"
    APPROVED = "approved"
    DECLINED = "declined"
    CANCELLED = "cancelled"


WAITING = (TopupStatus.OPEN, TopupStatus.APPROVING)
"""The statuses of a request that is not closed."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The pack a request was approved with."""

    total_tokens: int
    expires_at: datetime | None = None
    priority: int = 0
    note: str = ""


class Topup(msgspec.Struct, frozen=True, kw_only=True):
    """A request for tokens. `terms` and `pack_id` are those of the pack it was approved with, `reason` why it was declined."""

    id: str
    organization_id: str
    status: TopupStatus
    amount_tokens: int
    note: str
    asked_at: datetime
    asked_by: Actor
    terms: Terms | None = None
    decided_at: datetime | None = None
    decided_by: Actor | None = None
    reason: str = ""
    pack_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it waits for a decision, or for the pack it was approved with."""
        return self.status in WAITING


def _from(row: Sequence[Any]) -> Topup:
    return Topup(
        organization_id=row[0],
        id=row[1],
        status=TopupStatus(row[2]),
        amount_tokens=row[3],
        note=row[4],
        asked_at=from_micros(row[5]),
        asked_by=msgspec.json.decode(row[6], type=Actor),
        terms=None if row[7] is None else msgspec.json.decode(row[7], type=Terms),
        decided_at=None if row[8] is None else from_micros(row[8]),
        decided_by=None if row[9] is None else msgspec.json.decode(row[9], type=Actor),
        reason=row[10],
        pack_id=row[11],
    )


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def add_topup(connection: Connection, topup: Topup) -> None:
    """Insert an open request; raises sqlalchemy's IntegrityError where there is no such organization, or an open one already."""
    connection.execute(
        insert(_topup).values(
            organization_id=topup.organization_id,
            topup_id=topup.id,
            status=topup.status.value,
            amount_tokens=topup.amount_tokens,
            note=topup.note,
            asked_at=to_micros(topup.asked_at),
            asked_by=_json(topup.asked_by),
            reason="",
        )
    )


def find_topup(connection: Connection, organization_id: str, topup_id: str) -> Topup | None:
    """Return a request of the organization, or None."""
    own = (_topup.c.organization_id == organization_id) & (_topup.c.topup_id == topup_id)
    row = connection.execute(select(_topup).where(own)).first()
    return None if row is None else _from(row)


def topups(
    connection: Connection,
    organization_id: str | None,
    *,
    statuses: Sequence[TopupStatus],
    before: str | None,
    limit: int,
) -> list[Topup]:
    """Return requests of one organization or of all, the latest first, those before the id `before`."""
    query = select(_topup).where(_topup.c.status.in_([status.value for status in statuses]))
    if organization_id is not None:
        query = query.where(_topup.c.organization_id == organization_id)
    if before is not None:
        query = query.where(_topup.c.topup_id < before)
    return [_from(row) for row in connection.execute(query.order_by(_topup.c.topup_id.desc()).limit(limit))]


def begin_approval(connection: Connection, organization_id: str, topup_id: str, *, terms: Terms, by: Actor, at: datetime) -> bool:
    """Note with what terms an open request is being approved; returns whether it was open."""
    return _change(
        connection,
        organization_id,
        topup_id,
        (TopupStatus.OPEN,),
        status=TopupStatus.APPROVING,
        terms=_json(terms),
        decided_at=to_micros(at),
        decided_by=_json(by),
    )


def undo_approval(connection: Connection, organization_id: str, topup_id: str) -> bool:
    """Open a request again whose pack could not be granted; returns whether it was being approved."""
    return _change(
        connection,
        organization_id,
        topup_id,
        (TopupStatus.APPROVING,),
        status=TopupStatus.OPEN,
        terms=None,
        decided_at=None,
        decided_by=None,
    )


def finish_approval(connection: Connection, topup: Topup, pack_id: str) -> bool:
    """Close a request with the pack that was granted for it, whatever it had become since; returns whether that was news."""
    assert topup.terms is not None
    assert topup.decided_by is not None
    assert topup.decided_at is not None
    others = tuple(status for status in TopupStatus if status is not TopupStatus.APPROVED)
    return _change(
        connection,
        topup.organization_id,
        topup.id,
        others,
        status=TopupStatus.APPROVED,
        terms=_json(topup.terms),
        decided_at=to_micros(topup.decided_at),
        decided_by=_json(topup.decided_by),
        reason="",
        pack_id=pack_id,
    )


def close(
    connection: Connection, organization_id: str, topup_id: str, *, status: TopupStatus, reason: str, by: Actor, at: datetime
) -> bool:
    """Decline or cancel an open request; returns whether it was open."""
    return _change(
        connection,
        organization_id,
        topup_id,
        (TopupStatus.OPEN,),
        status=status,
        reason=reason,
        decided_at=to_micros(at),
        decided_by=_json(by),
    )


def _change(
    connection: Connection,
    organization_id: str,
    topup_id: str,
    present: Sequence[TopupStatus],
    *,
    status: TopupStatus,
    **values: Any,
) -> bool:
    changed = connection.execute(
        update(_topup)
        .where(
            _topup.c.organization_id == organization_id,
            _topup.c.topup_id == topup_id,
            _topup.c.status.in_([each.value for each in present]),
        )
        .values(status=status.value, **values)
    )
    return changed.rowcount > 0
