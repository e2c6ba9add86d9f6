"""Burning: what a forecast reads. The packs that are open, and the tokens used hour by hour."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from tokenwell.core.burnrate import HOUR_MICROS, BurnHistory
from tokenwell.core.packs import Pack
from tokenwell.store import schema
from tokenwell.store.packs import is_open
from tokenwell.store.rows import pack_from

_pack, _rollup = schema.pack, schema.rollup


def open_packs(connection: Connection, organization_id: str) -> list[Pack]:
    """Return the packs that nothing has closed and that have something left, in burn-down order."""
    query = (
        select(_pack)
        .where(is_open(organization_id))
        .order_by(_pack.c.priority, _pack.c.expires_at, _pack.c.granted_at, _pack.c.pack_id)
    )
    return [pack_from(row) for row in connection.execute(query)]


def burn_history(connection: Connection, organization_id: str, *, since_hour: int, end_hour: int) -> BurnHistory | None:
    """Return the tokens used in each hour of [since_hour, end_hour), refunds taken off; None where nothing was ever used.

    An hour in which more was refunded than used counts as one without use.
    """
    first = select(func.min(_rollup.c.bucket_at)).where(_rollup.c.organization_id == organization_id)
    first_at = connection.execute(first).scalar_one()
    if first_at is None:
        return None
    hour = _rollup.c.bucket_at - _rollup.c.bucket_at % HOUR_MICROS
    used = func.sum(_rollup.c.debited_tokens + _rollup.c.overage_tokens - _rollup.c.refunded_tokens)
    rows = connection.execute(
        select(hour, used)
        .where(
            _rollup.c.organization_id == organization_id,
            _rollup.c.bucket_at >= since_hour * HOUR_MICROS,
            _rollup.c.bucket_at < end_hour * HOUR_MICROS,
        )
        .group_by(hour)
    ).all()
    tokens = {int(at) // HOUR_MICROS: max(0, int(amount)) for at, amount in rows}
    return BurnHistory(first_hour=max(since_hour, first_at // HOUR_MICROS), tokens=tokens)
