"""Decide: the one door to the core. A command on a book gives a decision, a refusal, or what must be loaded first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tokenwell.core import acts, charges, grants, growths, refunds, replays
from tokenwell.core.account import Book, Decision, Needs
from tokenwell.core.announcements import pack_detail
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
from tokenwell.core.draft import Draft
from tokenwell.core.happenings import EventKind
from tokenwell.core.health import state_of
from tokenwell.core.holds import Hold, HoldStatus
from tokenwell.core.instants import EPOCH
from tokenwell.core.journal import EntryKind
from tokenwell.core.needs import needs_of
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
    Advance: grants.advance,
    Revoke: grants.revoke,
    Extend: grants.extend,
    SetThresholds: grants.set_thresholds,
    Refund: refunds.refund,
    CloseDue: _closed,
}


def decide(book: Book, command: Command, now: datetime) -> Outcome:
    """Decide one command at `now` (never before the account's last write; nothing may be due, see `advance`).

    Returns the decision to apply and write, a plain answer where nothing changes (a replay), a refusal, or what must be loaded
    before it can be decided.
    """
    needs = needs_of(book, command, now)
    if needs is not None:
        return needs
    replay = replays.replay_of(book, command)
    if replay is not None:
        return replay
    outcome = _DECIDERS[type(command)](book, command, now)
    if isinstance(outcome, Decision) and isinstance(outcome.answer, TokenwellError):
        # A refusal that is told: but what was done before is repeated, and nothing told.
        return needs_of(book, command, now, check_key=True) or outcome
    if command.by is not None and isinstance(outcome, Decision):
        outcome.acts = [acts.act_of(book, command, outcome, now)]
    return outcome


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
        draft.close(hold, HoldStatus.LAPSED, closed_at=hold.lapses_at)
    # Where nothing was due after all, only the bounds move; the account's clock does not.
    last_at = now if expired or lapsed else book.account.last_at
    return draft.decision(None, next_expiry_at=next_expiry_at, next_lapse_at=next_lapse_at, last_at=last_at)
