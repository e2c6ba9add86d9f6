"""Burn-down: which packs pay for a charge, in which order, and what no pack can pay."""

from __future__ import annotations

import msgspec

from tokenwell.core.account import Book, Needs
from tokenwell.core.commands import Charge
from tokenwell.core.draft import Draft
from tokenwell.core.holds import Hold
from tokenwell.core.journal import EntryKind
from tokenwell.core.packs import Pack
from tokenwell.core.usage import apportion

DEEPER = 4
"""How many times the packs now known are asked for when a charge runs through all of them. Those it has just depleted are still
open in the database and come first: asking for more than are known is what brings new ones."""


class Plan(msgspec.Struct):
    """Which pack gives how much, and what is left over."""

    draws: list[tuple[Pack, int]]
    overage_tokens: int


def plan_of(book: Book, amount_tokens: int, hold: Hold | None = None) -> Plan | Needs:
    """Walk the spendable packs in burn-down order until `amount_tokens` are covered.

    Spendable are the active packs and, for a hold, those that were active when it was opened. Returns Needs where the walk
    runs out of loaded packs before it is done.
    """
    closed: list[Pack] = []
    if hold is not None and book.account.last_closed_seq > hold.opened_seq:
        closed = [pack for pack in book.known_packs() if _is_closed_but_spendable(pack, hold)]
    order = book.window
    if closed:
        order = sorted([*order, *(pack.burn_order() for pack in closed)])
    last_loaded = book.window[-1] if book.window else None
    draws: list[tuple[Pack, int]] = []
    left = amount_tokens
    for key in order:
        if not book.complete and (last_loaded is None or key > last_loaded):
            break
        if left == 0:
            break
        pack = book.packs[key[3]]
        assert pack is not None
        take = min(left, pack.remaining_tokens)
        draws.append((pack, take))
        left -= take
    if left and not book.complete:
        return Needs(window=max(2, len(book.packs)) * DEEPER)
    return Plan(draws, left)


def _is_closed_but_spendable(pack: Pack, hold: Hold) -> bool:
    return pack.closed_seq is not None and pack.remaining_tokens > 0 and hold.may_spend(pack)


def closing_kind(pack: Pack) -> EntryKind:
    """Return the kind of line that closed a pack."""
    return EntryKind.REVOKE if pack.revoked_seq is not None and pack.revoked_seq == pack.closed_seq else EntryKind.EXPIRE


def charge(draft: Draft, plan: Plan, charged: Charge, *, request_id: str, key: bytes, fingerprint: bytes, flags: int) -> None:
    """Write a planned charge: first what closed packs must take back of their forfeit, then one line per pack, then the overage."""
    for pack, amount in plan.draws:
        if pack.closed_seq is not None:
            draft.forfeit(closing_kind(pack), pack, -amount, {})
    amounts = [amount for _, amount in plan.draws]
    if plan.overage_tokens:
        amounts.append(plan.overage_tokens)
    for place, (amount, (prompt, completion)) in enumerate(zip(amounts, _cuts_of(amounts, charged), strict=True)):
        line = {
            "key": None if place else key,
            "fingerprint": None if place else fingerprint,
            "detail": None if place else charged.detail,
            "request_id": request_id,
            "part": place + 1,
            "parts": len(amounts),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "model": charged.model,
            "session": charged.session,
            "reason": charged.reason,
            "service_id": charged.service_id,
            "key_id": charged.key_id,
            "note": charged.note,
        }
        if place < len(plan.draws):
            draft.spend(EntryKind.DEBIT, draft.pack(plan.draws[place][0].id), amount, line, flags)
        else:
            draft.overage_tokens += amount
            draft.write(EntryKind.OVERAGE, amount, line, flags=flags)


def _cuts_of(amounts: list[int], charged: Charge) -> list[tuple[int, int]] | list[tuple[None, None]]:
    if charged.prompt_tokens is None or charged.completion_tokens is None:
        return [(None, None)] * len(amounts)
    if len(amounts) == 1:
        return [(charged.prompt_tokens, charged.completion_tokens)]
    return apportion(amounts, charged.prompt_tokens, charged.completion_tokens)
