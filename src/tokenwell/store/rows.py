"""Rows: the core's objects as rows of the tables, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tokenwell.core.account import Account
from tokenwell.core.happenings import Act, Event
from tokenwell.core.health import State, Thresholds
from tokenwell.core.holds import Growth, Hold, HoldStatus
from tokenwell.core.instants import NEVER_MICROS, expiry_micros, from_micros, to_micros
from tokenwell.core.journal import Entry, EntryKind
from tokenwell.core.limits import KeyUsage
from tokenwell.core.packs import Pack

Row = tuple[Any, ...]

BUCKET_MICROS = 15 * 60 * 1_000_000
"""A rollup covers a quarter of an hour: every time zone's days begin on one."""

_KINDS = {kind.value: kind for kind in EntryKind}


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None or micros == NEVER_MICROS else from_micros(micros)


def _micros(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


def account_row(account: Account) -> Row:
    """Return the row of an account, in the order of the table."""
    own = account.own_thresholds
    return (
        account.organization_id,
        account.seq,
        account.head_hash,
        to_micros(account.last_at),
        account.balance_tokens,
        account.held_tokens,
        account.overage_tokens,
        None if own is None else own.warning_tokens,
        None if own is None else own.reserve_tokens,
        account.pack_count,
        account.last_closed_seq,
        expiry_micros(account.next_expiry_at),
        expiry_micros(account.next_lapse_at),
        account.version,
        account.told_state.value,
        expiry_micros(account.due_at),
    )


def account_from(row: Sequence[Any]) -> Account:
    """Return the account of a row."""
    return Account(
        organization_id=row[0],
        seq=row[1],
        head_hash=bytes(row[2]),
        last_at=from_micros(row[3]),
        balance_tokens=row[4],
        held_tokens=row[5],
        overage_tokens=row[6],
        own_thresholds=None if row[7] is None else Thresholds(row[7], row[8]),
        pack_count=row[9],
        last_closed_seq=row[10],
        next_expiry_at=_instant(row[11]),
        next_lapse_at=_instant(row[12]),
        version=row[13],
        told_state=State(row[14]),
    )


def pack_row(pack: Pack) -> Row:
    """Return the row of a pack, in the order of the table."""
    return (
        pack.organization_id,
        pack.id,
        pack.number,
        pack.priority,
        pack.total_tokens,
        pack.remaining_tokens,
        pack.repaid_tokens,
        pack.returned_tokens,
        to_micros(pack.granted_at),
        pack.granted_seq,
        expiry_micros(pack.expires_at),
        _micros(pack.revoked_at),
        pack.revoked_seq,
        pack.closed_seq,
        pack.note,
        1 if pack.is_open else 0,
    )


def is_only_spent(before: Pack, after: Pack) -> bool:
    """Return whether nothing of a pack has changed but what it has left, and no index has to know."""
    return (
        before.is_open
        and after.is_open
        and before.expires_at is after.expires_at
        and before.repaid_tokens == after.repaid_tokens
        and before.returned_tokens == after.returned_tokens
        and before.revoked_at is after.revoked_at
    )


def is_only_moved(before: Account, after: Account) -> bool:
    """Return whether nothing of an account has changed but its totals, its last line and its version."""
    return (
        before.next_expiry_at is after.next_expiry_at
        and before.next_lapse_at is after.next_lapse_at
        and before.told_state is after.told_state
        and before.own_thresholds is after.own_thresholds
        and before.pack_count == after.pack_count
        and before.last_closed_seq == after.last_closed_seq
    )


def pack_from(row: Sequence[Any]) -> Pack:
    """Return the pack of a row."""
    return Pack(
        organization_id=row[0],
        id=row[1],
        number=row[2],
        priority=row[3],
        total_tokens=row[4],
        remaining_tokens=row[5],
        repaid_tokens=row[6],
        returned_tokens=row[7],
        granted_at=from_micros(row[8]),
        granted_seq=row[9],
        expires_at=_instant(row[10]),
        revoked_at=_instant(row[11]),
        revoked_seq=row[12],
        closed_seq=row[13],
        note=row[14],
    )


def hold_row(hold: Hold) -> Row:
    """Return the row of a hold, in the order of the table."""
    return (
        hold.organization_id,
        hold.id,
        hold.request_id,
        hold.key,
        hold.fingerprint,
        hold.tokens,
        hold.status.value,
        to_micros(hold.opened_at),
        hold.opened_seq,
        to_micros(hold.lapses_at),
        hold.opened_balance_tokens,
        hold.opened_flags,
        _micros(hold.closed_at),
        hold.used_tokens,
        hold.settled_fingerprint,
        hold.balance_after_tokens,
        hold.flags,
        hold.growths,
        hold.limited_key_id,
    )


def hold_from(row: Sequence[Any]) -> Hold:
    """Return the hold of a row."""
    return Hold(
        organization_id=row[0],
        id=row[1],
        request_id=row[2],
        key=bytes(row[3]),
        fingerprint=bytes(row[4]),
        tokens=row[5],
        status=HoldStatus(row[6]),
        opened_at=from_micros(row[7]),
        opened_seq=row[8],
        lapses_at=from_micros(row[9]),
        opened_balance_tokens=row[10],
        opened_flags=row[11],
        closed_at=_instant(row[12]),
        used_tokens=row[13],
        settled_fingerprint=None if row[14] is None else bytes(row[14]),
        balance_after_tokens=row[15],
        flags=row[16],
        growths=row[17],
        limited_key_id=row[18],
    )


def key_usage_row(usage: KeyUsage) -> Row:
    """Return the row of a key's usage, in the order of the table, which is that of its fields."""
    return msgspec.structs.astuple(usage)


def key_usage_from(row: Sequence[Any]) -> KeyUsage:
    """Return the key's usage of a row."""
    return KeyUsage(**dict(zip(KeyUsage.__struct_fields__, row, strict=True)))


def growth_row(growth: Growth) -> Row:
    """Return the row of a growth, in the order of the table."""
    return (
        growth.organization_id,
        growth.hold_id,
        growth.number,
        growth.key,
        growth.fingerprint,
        to_micros(growth.at),
        growth.tokens_before,
        to_micros(growth.lapses_before),
        growth.tokens_after,
        to_micros(growth.lapses_after),
        growth.balance_tokens,
        growth.flags,
    )


def growth_from(row: Sequence[Any]) -> Growth:
    """Return the growth of a row."""
    return Growth(
        organization_id=row[0],
        hold_id=row[1],
        number=row[2],
        key=bytes(row[3]),
        fingerprint=bytes(row[4]),
        at=from_micros(row[5]),
        tokens_before=row[6],
        lapses_before=from_micros(row[7]),
        tokens_after=row[8],
        lapses_after=from_micros(row[9]),
        balance_tokens=row[10],
        flags=row[11],
    )


def entry_rows(entries: Iterable[Entry]) -> list[Row]:
    """Return the rows of journal lines, in the order of the table."""
    rows: list[Row] = []
    at, micros = None, 0
    for e in entries:
        if e.at is not at:
            at, micros = e.at, to_micros(e.at)
        rows.append(
            (e.organization_id, e.seq, micros, e.kind._value_, e.amount_tokens, e.balance_after_tokens, e.pack_id,
             e.pack_remaining_tokens, e.key, e.fingerprint, e.request_id, e.part, e.parts, e.prompt_tokens, e.completion_tokens,
             e.model, e.session, e.reason, e.service_id, e.key_id, e.flags, e.detail, e.note, e.ref_seq, e.hash)
        )  # fmt: skip
    return rows


def entry_from(row: Sequence[Any]) -> Entry:
    """Return the journal line of a row."""
    return Entry(
        organization_id=row[0], seq=row[1], at=from_micros(row[2]), kind=_KINDS[row[3]], amount_tokens=row[4],
        balance_after_tokens=row[5], pack_id=row[6], pack_remaining_tokens=row[7], key=_bytes(row[8]), fingerprint=_bytes(row[9]),
        request_id=row[10], part=row[11], parts=row[12], prompt_tokens=row[13], completion_tokens=row[14], model=row[15],
        session=row[16], reason=row[17], service_id=row[18], key_id=row[19], flags=row[20], detail=row[21], note=row[22],
        ref_seq=row[23], hash=bytes(row[24]),
    )  # fmt: skip


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def event_row(event: Event, event_id: str) -> Row:
    """Return the row of an event that nobody was told of yet, in the order of the table."""
    return (event.organization_id, event_id, to_micros(event.at), event.kind.value, event.detail, None)


def act_row(act: Act, act_id: str) -> Row:
    """Return the row of an act, in the order of the table."""
    actor = act.actor
    return (act.organization_id, act_id, to_micros(act.at), actor.kind.value, actor.id, actor.name, actor.source, act.action,
            act.subject, act.before, act.after)  # fmt: skip


def bucket_of(micros: int) -> int:
    """Return the start of the rollup an instant falls into."""
    return micros - micros % BUCKET_MICROS


def rollup_rows(rows: Iterable[Row]) -> list[Row]:
    """Return what journal rows add, one row for each rollup: debited, refunded, overage, prompt, completion, requests."""
    sums: dict[Row, list[int]] = {}
    for row in rows:
        kind, amount = row[3], row[4]
        if kind not in ("debit", "refund", "overage"):
            continue
        key = (row[0], row[2] - row[2] % BUCKET_MICROS, row[15] or "", row[17] or "", row[18] or "", row[19] or "")
        total = sums.get(key)
        if total is None:
            total = sums[key] = [0, 0, 0, 0, 0, 0]
        if kind == "refund":
            total[1] += amount
            continue
        total[0 if kind == "debit" else 2] += amount
        if kind == "debit":
            total[3] += row[13] or 0
            total[4] += row[14] or 0
        if row[11] == 1 and row[23] is None:
            total[5] += 1
    return [(*key, *total) for key, total in sorted(sums.items())]
