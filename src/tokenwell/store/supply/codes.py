"""Redemption codes in tables. Every function works in the caller's transaction. Of a code only its hash is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from tokenwell.core.happenings import PLATFORM, Actor
from tokenwell.core.instants import NEVER_MICROS, expiry_micros, from_micros, to_micros
from tokenwell.store.schema import code as _code
from tokenwell.store.schema import code_batch as _batch
from tokenwell.store.schema import organization as _organization


class CodeBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Codes that were made together. Each grants a pack of `amount_tokens`, valid for `valid_days` from when it is redeemed (None:
    for ever). They can be redeemed until `expires_at` (None: for ever), unless the batch was revoked."""

    id: str
    amount_tokens: int
    codes: int
    valid_days: int | None = None
    priority: int = 0
    note: str = ""
    expires_at: datetime | None = None
    created_at: datetime
    created_by: Actor
    revoked_at: datetime | None = None
    redeemed: int = 0


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """One code of a batch, for whom and by whom it was redeemed."""

    id: str
    code_hash: bytes
    batch: CodeBatch
    redeemed_for: str | None = None
    redeemed_at: datetime | None = None
    redeemed_by: Actor | None = None
    pack_id: str | None = None


class Redeemed(msgspec.Struct, frozen=True, kw_only=True):
    """A code that was redeemed: for which organization, when and by whom. `pack_id` is None while its pack is being granted."""

    id: str
    organization_id: str
    organization_name: str
    at: datetime
    by: Actor
    pack_id: str | None


def _batch_from(row: Sequence[Any], redeemed: int = 0) -> CodeBatch:
    return CodeBatch(
        id=row[1],
        amount_tokens=row[2],
        codes=row[3],
        valid_days=row[4],
        priority=row[5],
        note=row[6],
        expires_at=None if row[7] == NEVER_MICROS else from_micros(row[7]),
        created_at=from_micros(row[8]),
        created_by=msgspec.json.decode(row[9], type=Actor),
        revoked_at=None if row[10] is None else from_micros(row[10]),
        redeemed=redeemed,
    )


def add_batch(connection: Connection, batch: CodeBatch, hashes: Sequence[tuple[str, bytes]]) -> None:
    """Insert a batch with the id and the hash of each of its codes."""
    connection.execute(
        insert(_batch).values(
            organization_id=PLATFORM,
            batch_id=batch.id,
            amount_tokens=batch.amount_tokens,
            codes=batch.codes,
            valid_days=batch.valid_days,
            priority=batch.priority,
            note=batch.note,
            expires_at=expiry_micros(batch.expires_at),
            created_at=to_micros(batch.created_at),
            created_by=msgspec.json.encode(batch.created_by).decode(),
        )
    )
    rows = [{"organization_id": PLATFORM, "code_hash": each, "code_id": code_id, "batch_id": batch.id} for code_id, each in hashes]
    connection.execute(insert(_code), rows)


def find_batch(connection: Connection, batch_id: str) -> CodeBatch | None:
    """Return a batch, or None."""
    row = connection.execute(select(_batch).where(_batch.c.organization_id == PLATFORM, _batch.c.batch_id == batch_id)).first()
    return None if row is None else _batch_from(row, _redeemed(connection, [batch_id]).get(batch_id, 0))


def batches(connection: Connection, *, before: str | None, limit: int) -> list[CodeBatch]:
    """Return batches, the latest first, those before the id `before`."""
    query = select(_batch).where(_batch.c.organization_id == PLATFORM)
    if before is not None:
        query = query.where(_batch.c.batch_id < before)
    rows = connection.execute(query.order_by(_batch.c.batch_id.desc()).limit(limit)).all()
    redeemed = _redeemed(connection, [row[1] for row in rows])
    return [_batch_from(row, redeemed.get(row[1], 0)) for row in rows]


def _redeemed(connection: Connection, batch_ids: Sequence[str]) -> dict[str, int]:
    rows = connection.execute(
        select(_code.c.batch_id, func.count())
        .where(_code.c.organization_id == PLATFORM, _code.c.batch_id.in_(batch_ids), _code.c.redeemed_for.is_not(None))
        .group_by(_code.c.batch_id)
    )
    return {row[0]: row[1] for row in rows}


def redeemed_codes(connection: Connection, batch_id: str, *, before: str | None, limit: int) -> list[Redeemed]:
    """Return the codes of a batch that were redeemed, by their ids from the last to the first, those before the id `before`."""
    query = select(
        _code.c.code_id, _code.c.redeemed_for, _code.c.redeemed_at, _code.c.redeemed_by, _code.c.pack_id, _organization.c.name
    ).join_from(_code, _organization, _organization.c.organization_id == _code.c.redeemed_for)
    query = query.where(_code.c.organization_id == PLATFORM, _code.c.batch_id == batch_id, _code.c.redeemed_for.is_not(None))
    if before is not None:
        query = query.where(_code.c.code_id < before)
    return [
        Redeemed(
            id=row[0],
            organization_id=row[1],
            organization_name=row[5],
            at=from_micros(row[2]),
            by=msgspec.json.decode(row[3], type=Actor),
            pack_id=row[4],
        )
        for row in connection.execute(query.order_by(_code.c.code_id.desc()).limit(limit))
    ]


def revoke_batch(connection: Connection, batch_id: str, at: datetime) -> bool:
    """Revoke what of a batch is not redeemed; returns whether it was not revoked before."""
    changed = connection.execute(
        update(_batch)
        .where(_batch.c.organization_id == PLATFORM, _batch.c.batch_id == batch_id, _batch.c.revoked_at.is_(None))
        .values(revoked_at=to_micros(at))
    )
    return changed.rowcount > 0


def find_code(connection: Connection, code_hash: bytes) -> Code | None:
    """Return the code with a hash, or None."""
    row = connection.execute(select(_code).where(_code.c.organization_id == PLATFORM, _code.c.code_hash == code_hash)).first()
    if row is None:
        return None
    batch = connection.execute(select(_batch).where(_batch.c.organization_id == PLATFORM, _batch.c.batch_id == row[3])).one()
    return _code_from(row, _batch_from(batch))


def _code_from(row: Sequence[Any], batch: CodeBatch) -> Code:
    return Code(
        id=row[2],
        code_hash=row[1],
        batch=batch,
        redeemed_for=row[4],
        redeemed_at=None if row[5] is None else from_micros(row[5]),
        redeemed_by=None if row[6] is None else msgspec.json.decode(row[6], type=Actor),
        pack_id=row[7],
    )


def unfinished_codes(connection: Connection, before: datetime, limit: int) -> list[Code]:
    """Return codes that were claimed before an instant and have no pack yet, the longest ago first."""
    own = (_code.c.organization_id == PLATFORM) & _code.c.redeemed_for.is_not(None) & _code.c.pack_id.is_(None)
    query = select(_code).where(own, _code.c.redeemed_at < to_micros(before)).order_by(_code.c.redeemed_at).limit(limit)
    rows = connection.execute(query).all()
    batches = {name: find_batch(connection, name) for name in {row[3] for row in rows}}
    return [_code_from(row, batch) for row in rows if (batch := batches[row[3]]) is not None]


def claim_code(connection: Connection, code_hash: bytes, *, organization_id: str, at: datetime, by: Actor) -> bool:
    """Note for which organization a code is redeemed; returns whether nobody did before."""
    changed = connection.execute(
        update(_code)
        .where(_code.c.organization_id == PLATFORM, _code.c.code_hash == code_hash, _code.c.redeemed_for.is_(None))
        .values(redeemed_for=organization_id, redeemed_at=to_micros(at), redeemed_by=msgspec.json.encode(by).decode())
    )
    return changed.rowcount > 0


def unclaim_code(connection: Connection, code_hash: bytes, *, organization_id: str) -> None:
    """Free a code whose pack could not be granted."""
    connection.execute(
        update(_code)
        .where(
            _code.c.organization_id == PLATFORM,
            _code.c.code_hash == code_hash,
            _code.c.redeemed_for == organization_id,
            _code.c.pack_id.is_(None),
        )
        .values(redeemed_for=None, redeemed_at=None, redeemed_by=None)
    )


def set_pack(connection: Connection, code_hash: bytes, pack_id: str) -> bool:
    """Note the pack that a code granted; returns whether that was news."""
    changed = connection.execute(
        update(_code)
        .where(_code.c.organization_id == PLATFORM, _code.c.code_hash == code_hash, _code.c.pack_id.is_(None))
        .values(pack_id=pack_id)
    )
    return changed.rowcount > 0
