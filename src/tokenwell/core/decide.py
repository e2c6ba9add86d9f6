"""Decide: the one door to the core. A command on a book gives a decision, a refusal, or what must be loaded first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from tokenwell.core import acts, charges, grants, growths, refunds, replays
from tokenwell.core.account import Book, Decision, Needs
from tokenwell.core.announcements import pack_detail
from tokenwell.core.commands import (
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
from tokenwell.core.draft import Draft
from tokenwell.core.happenings import EventKind
from tokenwell.core.health import state_of
from tokenwell.core.holds import Hold, HoldStatus
from tokenwell.core.identifiers import settle_key
from tokenwell.core.instants import EPOCH
from tokenwell.core.journal import EntryKind
from tokenwell.core.packs import Pack
from tokenwell.core.receipts import Answer
from tokenwell.errors import TokenwellError

Refusal = TokenwellError
"""A refusal is an error that is returned, not raised: a refused command must not fail the batch it is in."""

Outcome = Decision | Answer | Refusal | Needs


def _closed(book: Book, command: CloseDue, now: datetime) -> Answer:
    """Answer that nothing is due any more: `advance` comes before every command."""
    balance = book.account.balance_tokens
    return Answer(
        organization_id=book.account.organization_id, at=now, balance_tokens=balance, state=state_of(balance, book.thresholds)
    )


_DECIDERS: dict[type[Command], Callable[[Book, Any, datetime], Outcome]] = {
    Debit: charges.debit,
    OpenHold: charges.open_hold,
    ExtendHold: growths.extend_hold,
    Settle: charges.settle,
    Release: charges.release,
    Grant: grants.grant,
    Revoke: grants.revoke,
    Extend: grants.extend,
    SetThresholds: grants.set_thresholds,
    Refund: refunds.refund,
    CloseDue: _closed,
}

_NEEDLESS = (Debit, Grant, SetThresholds, CloseDue)


def decide(book: Book, command: Command, now: datetime) -> Outcome:
    """Decide one command at `now` (never before the account's last write; nothing may be due, see `advance`).

    Returns the decision to apply and write, a plain answer where nothing changes (a replay), a refusal, or what must be loaded
    before it can be decided.
    """
    needs = needs_of(book, command)
    if needs is not None:
        return needs
    replay = replays.replay_of(book, command)
    if replay is not None:
        return replay
    outcome = _DECIDERS[type(command)](book, command, now)
    if command.by is not None and isinstance(outcome, Decision):
        outcome.acts = [acts.act_of(book, command, outcome, now)]
    return outcome


def needs_of(book: Book, command: Command, *, check_key: bool = False) -> Needs | None:
    """Return what must be loaded before `command` can be decided, or None. `check_key` also wants to know whether its key was used.

    It may take several rounds: a refund needs the request's lines before it knows the packs.
    """
    if not check_key and type(command) in _NEEDLESS:
        return None
    needs = Needs()
    if check_key and not isinstance(command, Settle | Release | SetThresholds | CloseDue | ExtendHold):
        keys, known = (needs.hold_keys, book.hold_keys) if isinstance(command, OpenHold) else (needs.keys, book.requests)
        if command.key not in known:
            keys.add(command.key)
    if isinstance(command, Settle | Release):
        _need_hold(book, command, needs)
    elif isinstance(command, OpenHold):
        hold_id = book.hold_keys.get(command.key)
        if hold_id is not None:
            _need_opening(book, hold_id, needs)
    elif isinstance(command, ExtendHold):
        if command.hold_id not in book.holds:
            needs.holds.add(command.hold_id)
        elif check_key and book.holds[command.hold_id] is not None and command.hold_id not in book.growths:
            needs.growths.add(command.hold_id)
    elif isinstance(command, Revoke | Extend):
        if command.pack_id not in book.packs:
            needs.packs.add(command.pack_id)
        needs.open_holds = isinstance(command, Revoke) and command.cancel_holds and not book.open_holds
    elif isinstance(command, Refund):
        _need_request(book, command, needs)
    return needs or None


def _need_opening(book: Book, hold_id: str, needs: Needs) -> None:
    """Need a hold as it was opened: what it was before it grew."""
    if hold_id not in book.holds:
        needs.holds.add(hold_id)
        return
    hold = book.holds[hold_id]
    if hold is not None and hold.growths and hold_id not in book.growths:
        needs.growths.add(hold_id)


def _need_hold(book: Book, command: Settle | Release, needs: Needs) -> None:
    if command.hold_id not in book.holds:
        needs.holds.add(command.hold_id)
        return
    hold = book.holds[command.hold_id]
    if hold is None or isinstance(command, Release):
        return
    if hold.status is HoldStatus.SETTLED and hold.used_tokens and command.key not in book.requests:
        needs.keys.add(command.key)
    elif hold.status in (HoldStatus.OPEN, HoldStatus.LAPSED) and not book.knows_closed_since(hold.opened_seq):
        needs.closed_since = hold.opened_seq


def _need_request(book: Book, command: Refund, needs: Needs) -> None:
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


def is_due(book: Book, now: datetime) -> bool:
    """Return whether a pack may have expired or a hold lapsed, so that `advance` must come before any command."""
    account = book.account
    return (account.next_expiry_at is not None and account.next_expiry_at <= now) or (
        account.next_lapse_at is not None and account.next_lapse_at <= now
    )


def advance(
    book: Book,
    now: datetime,
    *,
    expired: list[Pack],
    lapsed: list[Hold],
    next_expiry_at: datetime | None,
    next_lapse_at: datetime | None,
) -> Decision:
    """Close what is due at `now`: all open packs past their expiry and all open holds past their time.

    An expiry is written at its own instant (never before the account's last line). The `next_…` are the instants at which
    something is due after that.
    """
    draft = Draft(book, now)
    for pack in sorted(expired, key=lambda pack: (pack.expires_at or EPOCH, pack.burn_order())):
        at = max(book.account.last_at, pack.expires_at or now)
        draft.forfeit(EntryKind.EXPIRE, pack, pack.remaining_tokens, {}, at=at)
        draft.tell(EventKind.PACK_EXPIRED, at=at, forfeited_tokens=pack.remaining_tokens, **pack_detail(pack))
        draft.tell_state(at=at)
    for hold in lapsed:
        draft.holds[hold.id] = msgspec.structs.replace(hold, status=HoldStatus.LAPSED, closed_at=hold.lapses_at)
        draft.held_tokens -= hold.tokens
    # Where nothing was due after all, only the bounds move; the account's clock does not.
    last_at = now if expired or lapsed else book.account.last_at
    return draft.decision(None, next_expiry_at=next_expiry_at, next_lapse_at=next_lapse_at, last_at=last_at)
