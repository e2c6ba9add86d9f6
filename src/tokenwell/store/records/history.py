"""History: an organization as it was at a past instant, from its journal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, case, func, select

from tokenwell.core.account import Account
from tokenwell.core.grants import ExtendDetail
from tokenwell.core.instants import EPOCH
from tokenwell.core.journal import GENESIS
from tokenwell.core.packs import Pack, PackStatus
from tokenwell.store import reader, schema

_entry = schema.entry


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """An organization's totals at an instant; `seq` and `head_hash` are those of the last line before it."""

    seq: int
    head_hash: bytes
    balance_tokens: int
    held_tokens: int
    overage_tokens: int
    active_packs: int
    active_total_tokens: int


def totals_at(connection: Connection, account: Account, at: datetime) -> Totals:
    """Return the totals at an instant before the account's last write: everything due by then has been written."""
    line = reader.last_line_at(connection, account.organization_id, at, upto_seq=account.seq)
    seq = 0 if line is None else line.seq
    active = [pack for pack in _packs_after(connection, account.organization_id, seq) if pack.status(at) is PackStatus.ACTIVE]
    return Totals(
        seq=seq,
        head_hash=GENESIS if line is None else line.hash,
        balance_tokens=0 if line is None else line.balance_after_tokens,
        held_tokens=reader.held_at(connection, account.organization_id, at),
        overage_tokens=reader.overage_at(connection, account.organization_id, seq),
        active_packs=len(active),
        active_total_tokens=sum(pack.total_tokens for pack in active),
    )


def packs_at(connection: Connection, account: Account, at: datetime) -> list[Pack]:
    """Return every pack as it was at an instant before the account's last write, the latest grant first."""
    line = reader.last_line_at(connection, account.organization_id, at, upto_seq=account.seq)
    return _packs_after(connection, account.organization_id, 0 if line is None else line.seq)


def _packs_after(connection: Connection, organization_id: str, seq: int) -> list[Pack]:
    """Return the packs as they were after line `seq`: as they are now, less what the lines since have changed."""
    changed = _changes_since(connection, organization_id, seq)
    returned = _returned_since(connection, organization_id, seq)
    expiries = _expiries_before(connection, organization_id, seq)
    now = [
        pack
        for pack in reader.packs(connection, organization_id, now=EPOCH, status=None, before=None, limit=None)
        if pack.granted_seq <= seq
    ]
    return [_rewound(pack, seq, changed.get(pack.id, (0, 0)), returned.get(pack.id, 0), expiries) for pack in now]


def _rewound(pack: Pack, seq: int, change: tuple[int, int], returned: int, expiries: dict[str, datetime | None]) -> Pack:
    remaining, repaid = change
    changes: dict[str, Any] = {
        "remaining_tokens": pack.remaining_tokens - remaining,
        "repaid_tokens": pack.repaid_tokens - repaid,
        "returned_tokens": pack.returned_tokens - returned,
        "expires_at": expiries.get(pack.id, pack.expires_at),
    }
    if pack.revoked_seq is not None and pack.revoked_seq > seq:
        changes |= {"revoked_at": None, "revoked_seq": None}
    if pack.closed_seq is not None and pack.closed_seq > seq:
        changes["closed_seq"] = None
    return msgspec.structs.replace(pack, **changes)


def _changes_since(connection: Connection, organization_id: str, seq: int) -> dict[str, tuple[int, int]]:
    amount, kind = _entry.c.amount_tokens, _entry.c.kind
    remaining = func.sum(case((kind == "refund", amount), (kind.in_(["debit", "overage_repaid"]), -amount), else_=0))
    repaid = func.sum(case((kind == "overage_repaid", amount), else_=0))
    rows = connection.execute(
        select(_entry.c.pack_id, remaining, repaid)
        .where(_entry.c.organization_id == organization_id, _entry.c.seq > seq, _entry.c.pack_id.is_not(None))
        .group_by(_entry.c.pack_id)
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in rows}


def _returned_since(connection: Connection, organization_id: str, seq: int) -> dict[str, int]:
    """Return what packs got back since of the overage they had repaid: refunds of overage lines."""
    charged = _entry.alias("charged")
    rows = connection.execute(
        select(_entry.c.pack_id, func.sum(_entry.c.amount_tokens))
        .join(charged, and_(charged.c.organization_id == _entry.c.organization_id, charged.c.seq == _entry.c.ref_seq))
        .where(
            _entry.c.organization_id == organization_id,
            charged.c.organization_id == organization_id,
            _entry.c.seq > seq,
            _entry.c.kind == "refund",
            charged.c.kind == "overage",
        )
        .group_by(_entry.c.pack_id)
    )
    return {row[0]: int(row[1]) for row in rows}


def _expiries_before(connection: Connection, organization_id: str, seq: int) -> dict[str, datetime | None]:
    """Return the expiry that packs extended since then had before the first of those extensions."""
    rows = connection.execute(
        select(_entry.c.pack_id, _entry.c.detail)
        .where(_entry.c.organization_id == organization_id, _entry.c.seq > seq, _entry.c.kind == "extend")
        .order_by(_entry.c.seq)
    )
    before: dict[str, datetime | None] = {}
    for pack_id, detail in rows:
        before.setdefault(pack_id, msgspec.json.decode(detail, type=ExtendDetail).before)
    return before
