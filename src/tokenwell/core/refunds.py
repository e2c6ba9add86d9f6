"""Refunds: tokens of a charged request go back where they came from, the last spent first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tokenwell.core import burndown, receipts
from tokenwell.core.account import Book, Decision, RequestFacts
from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.core.commands import Refund
from tokenwell.core.draft import Draft
from tokenwell.core.identifiers import settle_key
from tokenwell.core.journal import Entry, EntryKind
from tokenwell.core.packs import Pack
from tokenwell.errors import AmountInvalid, InvariantBroken, RequestNotFound, TokenwellError

_CHARGES = (EntryKind.DEBIT, EntryKind.OVERAGE)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a refund: to a pack, or (pack_id None) off the outstanding overage."""

    entry: Entry
    amount_tokens: int
    pack_id: str | None
    repaid: bool = False


def refund(book: Book, command: Refund, now: datetime) -> Decision | TokenwellError:
    """Give tokens back in reverse order of spending.

    Overage first lowers what is outstanding; what had been repaid goes back to the packs that repaid it, newest first. What goes
    back to a pack that has closed or expired is forfeited again.
    """
    facts = facts_of(book, command.debited_keys)
    charged = [] if facts is None else [entry for entry in facts.entries if entry.kind in _CHARGES]
    if facts is None:
        return RequestNotFound(request_id=command.request_id)
    left = {entry.seq: entry.amount_tokens - facts.returned.get(entry.seq, 0) for entry in charged}
    refundable = sum(left.values())
    amount = refundable if command.amount_tokens is None else command.amount_tokens
    if not 1 <= amount <= refundable:
        return AmountInvalid(
            "the request has less left to refund" if refundable else "the request was refunded already",
            field="amount",
            refundable_tokens=refundable,
        )
    if book.account.balance_tokens + amount > MAX_TOKENS:
        return AmountInvalid("the balance would exceed the largest amount", field="amount", most=MAX_TOKENS)
    draft = Draft(book, now)
    _write(draft, command, _steps_of(book, charged, left, amount))
    return draft.decision(receipts.receipt_of(draft.entries))


def facts_of(book: Book, keys: tuple[bytes, ...]) -> RequestFacts | None:
    """Return the lines of the charged request known by one of `keys`, or by the key of a hold."""
    hold_id = book.hold_keys.get(keys[-1])
    for key in keys if hold_id is None else (*keys, settle_key(hold_id)):
        facts = book.requests.get(key)
        if facts is not None and is_charge(facts.entries[0]):
            return facts
    return None


def is_charge(first: Entry) -> bool:
    """Return whether a request's first line charges it: a debit, or overage that is not given back."""
    return first.kind in _CHARGES and first.ref_seq is None


def _steps_of(book: Book, charged: list[Entry], left: dict[int, int], amount: int) -> list[Step]:
    steps: list[Step] = []
    for entry in reversed(charged):
        take = min(amount, left[entry.seq])
        amount -= take
        if take == 0:
            continue
        if entry.kind is EntryKind.DEBIT:
            steps.append(Step(entry=entry, amount_tokens=take, pack_id=entry.pack_id))
        else:
            steps.extend(_overage_steps(book, entry, take))
    return steps


def _overage_steps(book: Book, entry: Entry, amount: int) -> list[Step]:
    steps: list[Step] = []
    outstanding = min(amount, book.account.overage_tokens)
    if outstanding:
        steps.append(Step(entry=entry, amount_tokens=outstanding, pack_id=None))
        amount -= outstanding
    for pack in sorted(book.known_packs(), key=lambda pack: pack.granted_seq, reverse=True):
        take = min(amount, pack.repaid_tokens - pack.returned_tokens)
        if take > 0:
            steps.append(Step(entry=entry, amount_tokens=take, pack_id=pack.id, repaid=True))
            amount -= take
    if amount:
        raise InvariantBroken(f"{amount} tokens of overage were neither outstanding nor repaid")
    return steps


def _write(draft: Draft, command: Refund, steps: list[Step]) -> None:
    gone = [step.pack_id is not None and _is_gone(draft.pack(step.pack_id), draft.now) for step in steps]
    parts = len(steps) + sum(gone)
    part = 0

    def line(step: Step) -> dict[str, Any]:
        nonlocal part
        part += 1
        first: dict[str, Any] = (
            {"key": command.key, "fingerprint": command.fingerprint, "detail": _detail_of(command)} if part == 1 else {}
        )
        about = step.entry
        return first | {
            "request_id": command.refund_id,
            "part": part,
            "parts": parts,
            "model": about.model,
            "session": about.session,
            "reason": about.reason,
            "service_id": about.service_id,
            "key_id": about.key_id,
            "note": command.note,
        }

    for step in steps:
        if step.pack_id is None:
            draft.overage_tokens -= step.amount_tokens
            draft.write(EntryKind.OVERAGE, -step.amount_tokens, {"ref_seq": step.entry.seq, **line(step)})
            continue
        pack = draft.pack(step.pack_id)
        if step.repaid:
            pack = msgspec.structs.replace(pack, returned_tokens=pack.returned_tokens + step.amount_tokens)
        draft.spend(EntryKind.REFUND, pack, step.amount_tokens, {"ref_seq": step.entry.seq, **line(step)})
    for step, is_gone in zip(steps, gone, strict=True):
        if is_gone and step.pack_id is not None:
            pack = draft.pack(step.pack_id)
            draft.forfeit(_forfeit_kind(pack), pack, step.amount_tokens, line(step))


def _detail_of(command: Refund) -> str:
    asked = "all" if command.amount_tokens is None else command.amount_tokens
    return msgspec.json.encode({"request": command.request_id, "asked": asked}).decode()


def _is_gone(pack: Pack, now: datetime) -> bool:
    return pack.closed_seq is not None or pack.has_expired(now)


def _forfeit_kind(pack: Pack) -> EntryKind:
    return burndown.closing_kind(pack) if pack.closed_seq is not None else EntryKind.EXPIRE
