"""Auditing: reads an organization's whole journal in one snapshot and compares what follows from it with the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy
from sqlalchemy import func, select

from tokenwell.core.account import Account
from tokenwell.core.audit import Auditor
from tokenwell.core.instants import NEVER_MICROS, expiry_micros, from_micros
from tokenwell.core.journal import Entry
from tokenwell.store import reader, schema
from tokenwell.store.rows import Row, entry_from, entry_rows, pack_from, rollup_rows

_CHUNK = 2_000
_NONSENSE = (KeyError, ValueError, TypeError, OverflowError, AttributeError, msgspec.MsgspecError)


def audit(engine: sqlalchemy.Engine, organization_id: str, progress: Callable[[int], None]) -> Auditor:
    """Return the auditor after it has read everything; `progress` is told the lines read so far. Raises OrganizationNotFound."""
    auditor = Auditor(organization_id)
    sums: dict[Row, list[int]] = {}
    with reader.reading(engine, organization_id) as connection:
        account = reader.account(connection, organization_id)
        last = 0
        while rows := reader.line_rows(connection, organization_id, after=last, limit=_CHUNK):
            last = rows[-1][1]
            _add(sums, rollup_rows(entry_rows(_read(auditor, rows))))
            progress(auditor.lines)
        auditor.compare_account(account)
        _compare_packs(connection, auditor, account)
        _compare_holds(connection, auditor, account)
        _compare_due(connection, auditor, account)
        _compare_keys(connection, auditor)
        auditor.compare_sums("rollup", _rollups(connection, organization_id), sums)
    return auditor


def _read(auditor: Auditor, rows: Sequence[Any]) -> list[Entry]:
    entries: list[Entry] = []
    for row in rows:
        try:
            entry = entry_from(row)
            auditor.read(entry)
        except _NONSENSE as error:
            auditor.unreadable(row[1], error)
        else:
            entries.append(entry)
    return entries


def _compare_packs(connection: sqlalchemy.Connection, auditor: Auditor, account: Account) -> None:
    table = schema.pack
    rows = connection.execute(select(table).where(table.c.organization_id == auditor.organization_id)).all()
    packs = [pack_from(row) for row in rows]
    auditor.compare_packs(packs)
    for pack, row in zip(packs, rows, strict=True):
        if bool(row.is_open) != pack.is_open:
            auditor.problem(f"pack {pack.id}: is_open is {row.is_open}, its other fields give {int(pack.is_open)}")
    expiries = [pack.expires_at for pack in packs if pack.is_open and pack.expires_at is not None]
    auditor.compare_bound("expiry", account.next_expiry_at, min(expiries, default=None))


def _compare_holds(connection: sqlalchemy.Connection, auditor: Auditor, account: Account) -> None:
    table = schema.hold
    held, earliest = connection.execute(
        select(func.coalesce(func.sum(table.c.tokens), 0), func.coalesce(func.min(table.c.lapses_at), NEVER_MICROS)).where(
            table.c.organization_id == auditor.organization_id, table.c.status == "open"
        )
    ).one()
    auditor.compare_sums("held", {auditor.organization_id: account.held_tokens}, {auditor.organization_id: int(held)})
    auditor.compare_bound("lapse", account.next_lapse_at, None if earliest == NEVER_MICROS else from_micros(earliest))


def _compare_keys(connection: sqlalchemy.Connection, auditor: Auditor) -> None:
    table, hold = schema.key_usage, schema.hold
    told = connection.execute(
        select(table.c.key_id, table.c.held_tokens).where(
            table.c.organization_id == auditor.organization_id, table.c.held_tokens != 0
        )
    ).all()
    found = connection.execute(
        select(hold.c.limited_key_id, func.sum(hold.c.tokens))
        .where(hold.c.organization_id == auditor.organization_id, hold.c.status == "open", hold.c.limited_key_id.is_not(None))
        .group_by(hold.c.limited_key_id)
    ).all()
    auditor.compare_sums("held by key", {row[0]: row[1] for row in told}, {row[0]: int(row[1]) for row in found})


def _compare_due(connection: sqlalchemy.Connection, auditor: Auditor, account: Account) -> None:
    table = schema.account
    told = connection.execute(select(table.c.due_at).where(table.c.organization_id == auditor.organization_id)).scalar_one()
    if told > expiry_micros(account.due_at):
        auditor.problem(f"account: what is due is looked for at {told}, its bounds give {expiry_micros(account.due_at)}")


def _add(sums: dict[Row, list[int]], rows: list[Row]) -> None:
    for row in rows:
        known = sums.setdefault(row[:6], [0] * 6)
        for place, value in enumerate(row[6:]):
            known[place] += value


def _rollups(connection: sqlalchemy.Connection, organization_id: str) -> dict[Any, list[int]]:
    rows = connection.execute(select(schema.rollup).where(schema.rollup.c.organization_id == organization_id))
    return {tuple(row[:6]): list(row[6:]) for row in rows}
