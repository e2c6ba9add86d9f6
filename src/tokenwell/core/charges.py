"""Charges: debits, and holds that are opened, settled and released."""

from __future__ import annotations

from datetime import datetime

from tokenwell.core import burndown, limiting, receipts
from tokenwell.core.account import Book, Decision, Needs
from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.core.commands import Debit, OpenHold, Release, Settle
from tokenwell.core.draft import Draft
from tokenwell.core.health import refusal_of
from tokenwell.core.holds import Hold, HoldStatus
from tokenwell.core.journal import ALREADY_USED, ESTIMATED, LATE, state_flag, state_in
from tokenwell.core.receipts import Answer, Released
from tokenwell.errors import AmountInvalid, HoldAlreadyReleased, HoldAlreadySettled, HoldNotFound, TokenwellError


def debit(book: Book, command: Debit, now: datetime) -> Decision | TokenwellError | Needs:
    """Charge a request that had no hold: admitted like a hold of its amount, unless it is already used."""
    amount = command.charge.amount_tokens
    account = book.account
    if not command.already_used:
        refusal = refusal_of(account.balance_tokens, account.held_tokens, book.thresholds, amount, command.lane)
        if refusal is not None:
            return refusal
    key_id = None if command.limits is None else command.charge.key_id
    if key_id is not None and command.limits is not None:
        limited = limiting.refusal_of(book, key_id, command.limits, amount, now)
        if limited is not None and (isinstance(limited, Needs) or not command.already_used):
            return limited
    plan = burndown.plan_of(book, amount)
    if isinstance(plan, Needs):
        return plan
    too_much = _too_much_overage(book, plan)
    if too_much is not None:
        return too_much
    draft = Draft(book, now)
    if key_id is not None:
        draft.count(key_id, requests=1, used_tokens=amount)
    flags = (ESTIMATED if command.charge.estimated else 0) | (ALREADY_USED if command.already_used else 0)
    burndown.charge(
        draft, plan, command.charge, request_id=command.request_id, key=command.key, fingerprint=command.fingerprint, flags=flags
    )
    return draft.decision(receipts.receipt_of(draft.entries))


def open_hold(book: Book, command: OpenHold, now: datetime) -> Decision | TokenwellError | Needs:
    """Reserve tokens if the request is admitted."""
    account = book.account
    refusal = refusal_of(account.balance_tokens, account.held_tokens, book.thresholds, command.tokens, command.lane)
    if refusal is not None:
        return refusal
    key_id = None if command.limits is None else command.key_id
    if key_id is not None and command.limits is not None:
        limited = limiting.refusal_of(book, key_id, command.limits, command.tokens, now)
        if limited is not None:
            return limited
    draft = Draft(book, now)
    lapses_at = now + command.ttl
    hold = Hold(
        id=command.hold_id,
        organization_id=account.organization_id,
        request_id=command.request_id,
        key=command.key,
        fingerprint=command.fingerprint,
        tokens=command.tokens,
        opened_at=now,
        opened_seq=account.seq,
        lapses_at=lapses_at,
        opened_balance_tokens=draft.balance_tokens,
        opened_flags=state_flag(draft.state),
        limited_key_id=key_id,
    )
    draft.open(hold, hold.tokens, requests=1)
    answer = receipts.held(hold)
    next_lapse_at = lapses_at if account.next_lapse_at is None else min(account.next_lapse_at, lapses_at)
    return draft.decision(answer, next_lapse_at=next_lapse_at)


def settle(book: Book, command: Settle, now: datetime) -> Decision | Answer | TokenwellError | Needs:
    """Charge what a held request used: more or less than the hold, in time or late."""
    hold = book.holds[command.hold_id]
    if hold is None:
        return HoldNotFound(hold_id=command.hold_id)
    if hold.status is HoldStatus.RELEASED:
        return HoldAlreadyReleased(hold_id=hold.id)
    if hold.status is HoldStatus.SETTLED:
        return _settled_before(book, command, hold)
    plan = burndown.plan_of(book, command.charge.amount_tokens, hold)
    if isinstance(plan, Needs):
        return plan
    too_much = _too_much_overage(book, plan)
    if too_much is not None:
        return too_much
    draft = Draft(book, now)
    flags = (ESTIMATED if command.charge.estimated else 0) | (LATE if hold.status is HoldStatus.LAPSED else 0)
    burndown.charge(
        draft, plan, command.charge, request_id=hold.request_id, key=command.key, fingerprint=command.fingerprint, flags=flags
    )
    closed = draft.close(
        hold,
        HoldStatus.SETTLED,
        used_tokens=command.charge.amount_tokens,
        settled_fingerprint=command.fingerprint,
        balance_after_tokens=draft.balance_tokens,
        flags=state_flag(draft.state) | flags,
    )
    answer = receipts.receipt_of(draft.entries) if command.charge.amount_tokens else receipts.receipt_of_unused(closed)
    return draft.decision(answer)


def _settled_before(book: Book, command: Settle, hold: Hold) -> Answer | TokenwellError:
    if hold.settled_fingerprint != command.fingerprint:
        return HoldAlreadySettled(
            "the hold was already settled with another usage", hold_id=hold.id, settled_tokens=hold.used_tokens
        )
    if not hold.used_tokens:
        return receipts.receipt_of_unused(hold, replayed=True)
    facts = book.requests[command.key]
    assert facts is not None
    return receipts.receipt_of(facts.entries, replayed=True)


def release(book: Book, command: Release, now: datetime) -> Decision | Answer | TokenwellError:
    """Give a hold back unused. Released again, or lapsed before: nothing changes any more."""
    hold = book.holds[command.hold_id]
    if hold is None:
        return HoldNotFound(hold_id=command.hold_id)
    if hold.status is HoldStatus.SETTLED:
        return HoldAlreadySettled(hold_id=hold.id, settled_tokens=hold.used_tokens)
    draft = Draft(book, now)
    again = hold.status is HoldStatus.RELEASED
    answer = Released(
        organization_id=hold.organization_id,
        at=hold.closed_at if again and hold.closed_at else now,
        balance_tokens=hold.balance_after_tokens if again else draft.balance_tokens,
        state=state_in(hold.flags) if again else draft.state,
        replayed=again,
        hold_id=hold.id,
    )
    if again:
        return answer
    draft.close(hold, HoldStatus.RELEASED, balance_after_tokens=draft.balance_tokens, flags=state_flag(draft.state))
    return draft.decision(answer)


def _too_much_overage(book: Book, plan: burndown.Plan) -> AmountInvalid | None:
    if book.account.overage_tokens + plan.overage_tokens <= MAX_TOKENS:
        return None
    return AmountInvalid("the overage would exceed the largest amount", field="amount", most=MAX_TOKENS)
