"""Needs: what must be loaded into a book before a command can be decided."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tokenwell.core import refunds
from tokenwell.core.account import Book, Needs
from tokenwell.core.commands import (
    Advance,
    CloseDue,
    Command,
    Debit,
    Extend,
    ExtendHold,
    Grant,
    OpenHold,
    Refund,
    Release,
    Revoke,
    SetThresholds,
    Settle,
)
from tokenwell.core.holds import HoldStatus
from tokenwell.core.identifiers import settle_key
from tokenwell.core.journal import EntryKind

_KEYLESS = (Settle, Release, SetThresholds, CloseDue, ExtendHold)


def needs_of(book: Book, command: Command, now: datetime, *, check_key: bool = False) -> Needs | None:
    """Return what must be loaded before `command` can be decided, or None. `check_key` also wants to know whether its key was used.

    It may take several rounds: a refund needs the request's lines before it knows the packs.
    """
    if not check_key and _is_ready(book, command):
        return None
    needs = Needs()
    if check_key and not isinstance(command, _KEYLESS):
        keys, known = (needs.hold_keys, book.hold_keys) if isinstance(command, OpenHold) else (needs.keys, book.requests)
        if command.key not in known:
            keys.add(command.key)
    need = _NEEDS.get(type(command))
    if need is not None:
        need(book, command, needs, now)
    if check_key and isinstance(command, ExtendHold) and book.holds.get(command.hold_id) and command.hold_id not in book.growths:
        needs.growths.add(command.hold_id)
    return needs or None


def _is_ready(book: Book, command: Command) -> bool:
    """Return whether one of the many commands that need nothing is one of them."""
    kind = type(command)
    if kind is Debit:
        return command.limits is None or command.charge.key_id in book.key_usages  # type: ignore[attr-defined]
    if kind is OpenHold:
        return command.key not in book.hold_keys and command.limits is None  # type: ignore[attr-defined]
    if kind is Settle:
        hold = book.holds.get(command.hold_id)  # type: ignore[attr-defined]
        return (
            hold is not None
            and hold.status is HoldStatus.OPEN
            and hold.limited_key_id is None
            and book.knows_closed_since(hold.opened_seq)
        )
    return kind in (Grant, Advance, SetThresholds, CloseDue)


def _debit(book: Book, command: Debit, needs: Needs, now: datetime) -> None:
    if command.limits is not None:
        _key(book, command.charge.key_id, needs, now)


def _open_hold(book: Book, command: OpenHold, needs: Needs, now: datetime) -> None:
    """A hold that was opened with the key is needed as it was before it grew."""
    if command.limits is not None:
        _key(book, command.key_id, needs, now)
    hold_id = book.hold_keys.get(command.key)
    if hold_id is None:
        return
    hold = book.holds.get(hold_id)
    if hold_id not in book.holds:
        needs.holds.add(hold_id)
    elif hold is not None and hold.growths and hold_id not in book.growths:
        needs.growths.add(hold_id)


def _hold(book: Book, command: Release | ExtendHold, needs: Needs, now: datetime) -> None:
    if command.hold_id not in book.holds:
        needs.holds.add(command.hold_id)
        return
    hold = book.holds[command.hold_id]
    if hold is not None:
        _key(book, hold.limited_key_id, needs, now)


def _settle(book: Book, command: Settle, needs: Needs, now: datetime) -> None:
    if command.hold_id not in book.holds:
        needs.holds.add(command.hold_id)
        return
    hold = book.holds[command.hold_id]
    if hold is None:
        return
    _key(book, hold.limited_key_id, needs, now)
    if hold.status is HoldStatus.SETTLED and hold.used_tokens and command.key not in book.requests:
        needs.keys.add(command.key)
    elif hold.status in (HoldStatus.OPEN, HoldStatus.LAPSED) and not book.knows_closed_since(hold.opened_seq):
        needs.closed_since = hold.opened_seq


def _key(book: Book, key_id: str | None, needs: Needs, now: datetime) -> None:
    if key_id is not None and key_id not in book.key_usages:
        needs.key_usages[key_id] = now


def _pack(book: Book, command: Extend | Revoke, needs: Needs, now: datetime) -> None:
    if command.pack_id not in book.packs:
        needs.packs.add(command.pack_id)


def _revoke(book: Book, command: Revoke, needs: Needs, now: datetime) -> None:
    _pack(book, command, needs, now)
    if not command.cancel_holds:
        return
    needs.open_holds = not book.open_holds
    for hold in book.holds.values():
        if hold is not None and hold.status is HoldStatus.OPEN:
            _key(book, hold.limited_key_id, needs, now)


def _request(book: Book, command: Refund, needs: Needs, now: datetime) -> None:
    needs.keys |= {key for key in command.debited_keys if key not in book.requests}
    if needs.keys:
        return
    facts = refunds.facts_of(book, command.debited_keys)
    if facts is None:
        key = command.debited_keys[-1]
        if key not in book.hold_keys:
            needs.hold_keys.add(key)
            return
        hold_id = book.hold_keys[key]
        if hold_id is not None and settle_key(hold_id) not in book.requests:
            needs.keys.add(settle_key(hold_id))
        return
    needs.packs |= {entry.pack_id for entry in facts.entries if entry.pack_id is not None and entry.pack_id not in book.packs}
    needs.repaid = not book.repaid and any(entry.kind is EntryKind.OVERAGE for entry in facts.entries)


_NEEDS: dict[type[Command], Callable[[Book, Any, Needs, datetime], None]] = {
    Debit: _debit,
    OpenHold: _open_hold,
    ExtendHold: _hold,
    Settle: _settle,
    Release: _hold,
    Extend: _pack,
    Revoke: _revoke,
    Refund: _request,
}
