"""Replays: the first answer to a key, given again; or the field in which the second input differs."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenwell.core import receipts
from tokenwell.core.account import Book, RequestFacts
from tokenwell.core.commands import Advance, Command, Debit, Extend, ExtendHold, Grant, OpenHold, Refund, Revoke
from tokenwell.core.grants import ExtendDetail, GrantDetail
from tokenwell.core.holds import Hold
from tokenwell.core.journal import ALREADY_USED, Entry, EntryKind
from tokenwell.core.packs import Pack
from tokenwell.core.receipts import Answer, Extended, Granted, Receipt, Revoked
from tokenwell.errors import IdempotencyConflict

_KINDS: dict[type[Command], tuple[EntryKind, ...]] = {
    Debit: (EntryKind.DEBIT, EntryKind.OVERAGE),
    Grant: (EntryKind.GRANT,),
    Advance: (EntryKind.GRANT,),
    Revoke: (EntryKind.REVOKE,),
    Extend: (EntryKind.EXTEND,),
    Refund: (EntryKind.REFUND, EntryKind.OVERAGE),
}


def replay_of(book: Book, command: Command) -> Answer | IdempotencyConflict | None:
    """Return the first answer if the command's key was used with the same input, a conflict if with other input, else None."""
    if isinstance(command, OpenHold):
        hold_id = book.hold_keys.get(command.key)
        hold = None if hold_id is None else book.holds[hold_id]
        return None if hold is None else _replay_hold(book, command, hold)
    if isinstance(command, ExtendHold):
        return _replay_growth(book, command)
    kinds = _KINDS.get(type(command))
    facts = book.requests.get(command.key) if kinds is not None else None
    if kinds is None or facts is None:
        return None
    first = facts.entries[0]
    if first.fingerprint != command.fingerprint:
        same_kind = first.kind in kinds and (first.ref_seq is not None) == isinstance(command, Refund)
        field = _differing_field(command, facts) if same_kind else "command"
        return IdempotencyConflict(f"the idempotency key was already used with another {field}", field=field, first_seq=first.seq)
    if isinstance(command, Debit | Refund):
        return receipts.receipt_of(facts.entries, replayed=True)
    return _replay_pack(command, facts)


def _replay_hold(book: Book, command: OpenHold, hold: Hold) -> Answer | IdempotencyConflict:
    first = receipts.held(hold, replayed=True, growth=book.growths[hold.id][0] if hold.growths else None)
    if hold.fingerprint != command.fingerprint:
        field = "amount" if first.hold.tokens != command.tokens else "ttl"
        return IdempotencyConflict(f"the idempotency key was already used with another {field}", field=field, hold_id=hold.id)
    return first


def _replay_growth(book: Book, command: ExtendHold) -> Answer | IdempotencyConflict | None:
    hold = book.holds.get(command.hold_id)
    growth = next((growth for growth in book.growths.get(command.hold_id, ()) if growth.key == command.key), None)
    if hold is None or growth is None:
        return None
    if growth.fingerprint != command.fingerprint:
        field = "ttl" if growth.tokens_after - growth.tokens_before == command.more_tokens else "more_tokens"
        return IdempotencyConflict(f"the idempotency key was already used with another {field}", field=field, hold_id=hold.id)
    return receipts.held_after(hold, growth, replayed=True)


def _replay_pack(command: Command, facts: RequestFacts) -> Answer:
    first, last = facts.entries[0], facts.entries[-1]
    assert first.pack_id is not None
    common: dict[str, Any] = {
        "organization_id": first.organization_id,
        "at": first.at,
        "balance_tokens": last.balance_after_tokens,
        "state": last.state_after,
        "replayed": True,
    }
    if isinstance(command, Grant | Advance):
        repaid = sum(entry.amount_tokens for entry in facts.entries if entry.kind is EntryKind.OVERAGE_REPAID)
        advanced = sum(entry.amount_tokens for entry in facts.entries if entry.kind is EntryKind.ADVANCE)
        pack = pack_granted(first, repaid_tokens=repaid)
        return Granted(**common, pack=pack, repaid_tokens=repaid, advanced_tokens=advanced)
    if isinstance(command, Revoke):
        released = msgspec.json.decode(first.detail or "{}")["released_holds"]
        return Revoked(**common, pack_id=first.pack_id, forfeited_tokens=first.amount_tokens, released_holds=released)
    detail = msgspec.json.decode(first.detail or "{}", type=ExtendDetail)
    return Extended(**common, pack_id=first.pack_id, expired_before=detail.before, expires_at=detail.after)


def pack_granted(line: Entry, *, repaid_tokens: int = 0) -> Pack:
    """Return the pack that a grant's line issued, as it was right after its grant."""
    assert line.pack_id is not None
    detail = msgspec.json.decode(line.detail or "{}", type=GrantDetail)
    return Pack(
        id=line.pack_id,
        organization_id=line.organization_id,
        number=detail.number,
        priority=detail.priority,
        total_tokens=line.amount_tokens,
        remaining_tokens=line.amount_tokens - repaid_tokens,
        repaid_tokens=repaid_tokens,
        granted_at=line.at,
        granted_seq=line.seq,
        expires_at=detail.expires_at,
        note=line.note,
    )


def _differing_field(command: Command, facts: RequestFacts) -> str:
    """Return the first field in which the command differs from what its key did before."""
    first = facts.entries[0]
    for field, now, before in _compared(command, first, facts):
        if now != before:
            return field
    return "input"


def _compared(command: Command, first: Entry, facts: RequestFacts) -> list[tuple[str, Any, Any]]:
    if isinstance(command, Debit):
        return _compared_debits(command, first, receipts.receipt_of(facts.entries))
    if isinstance(command, Grant | Advance):
        pack = pack_granted(first)
        was_advance = msgspec.json.decode(first.detail or "{}", type=GrantDetail).advance
        if isinstance(command, Advance) or was_advance:
            return [
                ("command", isinstance(command, Advance), was_advance),
                ("amount", command.total_tokens, pack.total_tokens),
                ("note", command.note, pack.note),
            ]
        return [
            ("amount", command.total_tokens, pack.total_tokens),
            ("expires_at", command.expires_at, pack.expires_at),
            ("priority", command.priority, pack.priority),
            ("note", command.note, pack.note),
        ]
    if isinstance(command, Refund):
        detail = msgspec.json.decode(first.detail or "{}")
        asked = "all" if command.amount_tokens is None else command.amount_tokens
        return [
            ("request_id", command.request_id, detail["request"]),
            ("amount", asked, detail["asked"]),
            ("note", command.note, first.note),
        ]
    if isinstance(command, Revoke):
        detail = msgspec.json.decode(first.detail or "{}")
        return [
            ("pack_id", command.pack_id, first.pack_id),
            ("cancel_holds", command.cancel_holds, detail["cancel_holds"]),
            ("note", command.note, first.note),
        ]
    pairs: list[tuple[str, Any, Any]] = [("pack_id", getattr(command, "pack_id", None), first.pack_id)]
    if isinstance(command, Extend):
        detail_before = msgspec.json.decode(first.detail or "{}", type=ExtendDetail)
        pairs.append(("expires_at", command.expires_at, detail_before.after))
    return [*pairs, ("note", getattr(command, "note", ""), first.note)]


def _compared_debits(command: Debit, first: Entry, before: Receipt) -> list[tuple[str, Any, Any]]:
    """The amount comes last: one that was computed also differs where the rate has changed since."""
    charge = command.charge
    detail, detail_before = (msgspec.json.decode(text or "{}") for text in (charge.detail, first.detail))
    names = ("model", "session", "reason", "service_id", "key_id", "note")
    return [
        ("prompt_tokens", charge.prompt_tokens, before.prompt_tokens),
        ("completion_tokens", charge.completion_tokens, before.completion_tokens),
        ("usage", detail.get("usage"), detail_before.get("usage")),
        *((name, getattr(charge, name), getattr(first, name)) for name in names),
        ("raw_usage", detail.get("raw"), detail_before.get("raw")),
        ("estimated", charge.estimated, before.estimated),
        ("already_used", command.already_used, bool(first.flags & ALREADY_USED)),
        ("amount", charge.amount_tokens, before.amount_tokens),
    ]
