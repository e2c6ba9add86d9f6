"""Growths: holds that are extended while their request runs."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from tokenwell.core import limiting, receipts
from tokenwell.core.account import Book, Decision, Needs
from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.commands import ExtendHold
from tokenwell.core.draft import Draft
from tokenwell.core.health import refusal_of
from tokenwell.core.holds import Growth, Hold, HoldStatus
from tokenwell.core.journal import state_flag
from tokenwell.errors import AmountInvalid, HoldAlreadyReleased, HoldAlreadySettled, HoldNotFound, TokenwellError


def extend_hold(book: Book, command: ExtendHold, now: datetime) -> Decision | TokenwellError | Needs:
    """Let a hold reserve more, if as much would be admitted as a hold of its own.

    One that has lapsed reserves nothing any more: all of it is admitted anew, and it is open again. It may spend what it could
    before.
    """
    hold = book.holds[command.hold_id]
    if hold is None:
        return HoldNotFound(hold_id=command.hold_id)
    if hold.status is HoldStatus.SETTLED:
        return HoldAlreadySettled(hold_id=hold.id, settled_tokens=hold.used_tokens)
    if hold.status is HoldStatus.RELEASED:
        return HoldAlreadyReleased(hold_id=hold.id)
    tokens = hold.tokens + command.more_tokens
    if tokens > MAX_CHARGE_TOKENS:
        return AmountInvalid("the hold would exceed the largest charge", field="more_tokens", most=MAX_CHARGE_TOKENS)
    wanted = command.more_tokens if hold.status is HoldStatus.OPEN else tokens
    account = book.account
    refusal = None
    if wanted:
        refusal = refusal_of(account.balance_tokens, account.held_tokens, book.thresholds, wanted, command.lane)
    if refusal is not None:
        return refusal
    if command.limits is not None and hold.limited_key_id is not None:
        limited = limiting.refusal_of(book, hold.limited_key_id, command.limits, wanted, now, requests=0)
        if limited is not None:
            return limited
    return _grown(book, command, hold, tokens, wanted, now)


def _grown(book: Book, command: ExtendHold, hold: Hold, tokens: int, wanted: int, now: datetime) -> Decision:
    draft = Draft(book, now)
    lapses_at = _lapses_at(command, hold, now)
    grown = replace(hold, tokens=tokens, status=HoldStatus.OPEN, lapses_at=lapses_at, closed_at=None, growths=hold.growths + 1)
    draft.open(grown, wanted)
    growth = Growth(
        organization_id=hold.organization_id,
        hold_id=hold.id,
        number=grown.growths,
        key=command.key,
        fingerprint=command.fingerprint,
        at=now,
        tokens_before=hold.tokens,
        lapses_before=hold.lapses_at,
        tokens_after=tokens,
        lapses_after=lapses_at,
        balance_tokens=draft.balance_tokens,
        flags=state_flag(draft.state),
    )
    bound = book.account.next_lapse_at
    decision = draft.decision(
        receipts.held_after(grown, growth), next_lapse_at=lapses_at if bound is None else min(bound, lapses_at)
    )
    decision.growths = [growth]
    return decision


def _lapses_at(command: ExtendHold, hold: Hold, now: datetime) -> datetime:
    """Return the new time limit, never an earlier one; a hold that lapsed lasts as long again as it did."""
    if command.ttl is not None:
        return max(hold.lapses_at, now + command.ttl)
    return hold.lapses_at if hold.status is HoldStatus.OPEN else now + (hold.lapses_at - hold.opened_at)
