"""Acts: what the audit log keeps of an administrative command, before and after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from tokenwell.core.account import Book, Decision
from tokenwell.core.commands import Advance, Command, Extend, Grant, Refund, Revoke, SetThresholds
from tokenwell.core.happenings import Act
from tokenwell.core.health import Thresholds

_encoder = msgspec.json.Encoder()


class Described(NamedTuple):
    """An act in the making: what was done, to what, and how that was before and after."""

    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def act_of(book: Book, command: Command, decision: Decision, now: datetime) -> Act:
    """Return the act of who gave a command, from the book before it and its decision."""
    assert command.by is not None
    described = _DESCRIBED[type(command)](book, command, decision.answer)
    return Act(
        organization_id=command.organization_id,
        at=now,
        actor=command.by,
        action=described.action,
        subject=described.subject,
        before=act_detail(described.before),
        after=act_detail(described.after),
    )


def act_detail(detail: dict[str, Any] | None) -> str | None:
    """Return how something was before or after an act as JSON text, None where there was nothing."""
    return None if detail is None else _encoder.encode(detail).decode()


def _granted(book: Book, command: Grant, answer: Any) -> Described:
    pack = answer.pack
    after = {
        "pack_number": pack.number,
        "total_tokens": pack.total_tokens,
        "expires_at": pack.expires_at,
        "priority": pack.priority,
        "note": pack.note,
        "repaid_tokens": answer.repaid_tokens,
        "balance_tokens": answer.balance_tokens,
    }
    return Described("pack.grant", pack.id, {"balance_tokens": book.account.balance_tokens}, after)


def _advanced(book: Book, command: Advance, answer: Any) -> Described:
    before = {"balance_tokens": book.account.balance_tokens, "overage_tokens": book.account.overage_tokens}
    after = {
        "pack_number": answer.pack.number,
        "advanced_tokens": answer.advanced_tokens,
        "limit_tokens": command.limit_tokens,
        "note": command.note,
        "balance_tokens": answer.balance_tokens,
        "overage_tokens": book.account.overage_tokens + answer.advanced_tokens,
    }
    return Described("pack.advance", answer.pack.id, before, after)


def _revoked(book: Book, command: Revoke, answer: Any) -> Described:
    pack = book.pack(command.pack_id)
    assert pack is not None
    before = {
        "pack_number": pack.number,
        "remaining_tokens": pack.remaining_tokens,
        "balance_tokens": book.account.balance_tokens,
        "revoked_at": None,
    }
    after = {
        "pack_number": pack.number,
        "remaining_tokens": pack.remaining_tokens,
        "balance_tokens": answer.balance_tokens,
        "revoked_at": answer.at,
        "forfeited_tokens": answer.forfeited_tokens,
        "cancel_holds": command.cancel_holds,
        "released_holds": answer.released_holds,
        "note": command.note,
    }
    return Described("pack.revoke", command.pack_id, before, after)


def _extended(book: Book, command: Extend, answer: Any) -> Described:
    pack = book.pack(command.pack_id)
    assert pack is not None
    before = {"pack_number": pack.number, "expires_at": answer.expired_before}
    after = {"pack_number": pack.number, "expires_at": answer.expires_at, "note": command.note}
    return Described("pack.extend", command.pack_id, before, after)


def _refunded(book: Book, command: Refund, answer: Any) -> Described:
    after = {
        "refund_id": answer.request_id,
        "amount_tokens": answer.amount_tokens,
        "overage_tokens": answer.overage_tokens,
        "forfeited_tokens": answer.forfeited_tokens,
        "balance_tokens": answer.balance_tokens,
        "note": command.note,
    }
    return Described("request.refund", command.request_id, {"balance_tokens": book.account.balance_tokens}, after)


def _thresholds_set(book: Book, command: SetThresholds, answer: Any) -> Described:
    before = _lines_of(book.account.own_thresholds, book.thresholds)
    after = _lines_of(command.own, command.own or command.platform)
    return Described("thresholds.clear" if command.own is None else "thresholds.set", command.organization_id, before, after)


def _lines_of(own: Thresholds | None, in_force: Thresholds) -> dict[str, Any]:
    return {
        "warning_tokens": in_force.warning_tokens,
        "reserve_tokens": in_force.reserve_tokens,
        "set_by": "platform" if own is None else "organization",
    }


_DESCRIBED: dict[type[Command], Callable[[Book, Any, Any], Described]] = {
    Grant: _granted,
    Advance: _advanced,
    Revoke: _revoked,
    Extend: _extended,
    Refund: _refunded,
    SetThresholds: _thresholds_set,
}
