"""Auditing: reads an organization's whole journal in one snapshot and compares what follows from it with the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy
from sqlalchemy import func, select

from tokenwell.core.audit import Auditor
from tokenwell.store import reader, schema
from tokenwell.store.rows import Row, entry_rows, rollup_rows

_CHUNK = 2_000


def audit(engine: sqlalchemy.Engine, organization_id: str, progress: Callable[[int], None]) -> Auditor:
    """Return the auditor after it has read everything; `progress` is told the lines read so far. Raises OrganizationNotFound."""
    auditor = Auditor(organization_id)
    sums: dict[Row, list[int]] = {}
    with reader.reading(engine) as connection:
        account = reader.account(connection, organization_id)
        while chunk := reader.lines(connection, organization_id, after=auditor.lines, limit=_CHUNK):
            for entry in chunk:
                auditor.read(entry)
            _add(sums, rollup_rows(entry_rows(chunk)))
            progress(auditor.lines)
            if auditor.lines != chunk[-1].seq:
                break
        auditor.compare_account(account)
        auditor.compare_packs(reader.packs(connection, organization_id, now=account.last_at, status=None, before=None, limit=None))
        auditor.compare_sums("rollup", _rollups(connection, organization_id), sums)
        held = connection.execute(
            select(func.coalesce(func.sum(schema.hold.c.tokens), 0)).where(
                schema.hold.c.organization_id == organization_id, schema.hold.c.status == "open"
            )
        ).scalar_one()
        auditor.compare_sums("held", {organization_id: account.held_tokens}, {organization_id: int(held)})
    return auditor


def _add(sums: dict[Row, list[int]], rows: list[Row]) -> None:
    for row in rows:
        known = sums.setdefault(row[:6], [0] * 6)
        for place, value in enumerate(row[6:]):
            known[place] += value


def _rollups(connection: sqlalchemy.Connection, organization_id: str) -> dict[Any, list[int]]:
    rows = connection.execute(select(schema.rollup).where(schema.rollup.c.organization_id == organization_id))
    return {tuple(row[:6]): list(row[6:]) for row in rows}
