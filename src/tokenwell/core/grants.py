"""Grants: packs that are granted, revoked and extended, and an organization's thresholds."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tokenwell.core.account import Book, Decision
from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.core.announcements import pack_detail
from tokenwell.core.commands import Advance, Extend, Grant, Revoke, SetThresholds
from tokenwell.core.draft import Draft, start_of
from tokenwell.core.happenings import EventKind
from tokenwell.core.holds import Hold, HoldStatus
from tokenwell.core.journal import EntryKind, state_flag
from tokenwell.core.packs import Pack
from tokenwell.core.receipts import Extended, Granted, Revoked, ThresholdsSet
from tokenwell.errors import AmountInvalid, PackAlreadyRevoked, PackExpired, PackNotFound, RequestInvalid, TokenwellError

_encoder = msgspec.json.Encoder()


class GrantDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a grant's line keeps of the pack, as JSON; `advance` says that it is owed."""

    number: int
    priority: int
    expires_at: datetime | None
    advance: bool = False


class ExtendDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What an extension's line keeps: the expiry before and after, as JSON."""

    before: datetime | None
    after: datetime | None


def grant(book: Book, command: Grant, now: datetime) -> Decision | TokenwellError:
    """Grant a pack; overage is repaid out of it first."""
    account = book.account
    if command.expires_at is not None and command.expires_at <= now:
        return RequestInvalid("a pack must expire in the future", field="expires_at")
    if account.balance_tokens + command.total_tokens > MAX_TOKENS:
        return AmountInvalid("the balance would exceed the largest amount", field="amount", most=MAX_TOKENS)
    draft = Draft(book, now)
    pack = Pack(
        id=command.pack_id,
        organization_id=account.organization_id,
        number=account.pack_count + 1,
        priority=command.priority,
        total_tokens=command.total_tokens,
        remaining_tokens=command.total_tokens,
        granted_at=now,
        granted_seq=account.seq + 1,
        expires_at=command.expires_at,
        note=command.note,
    )
    repaid = min(account.overage_tokens, command.total_tokens)
    detail = GrantDetail(number=pack.number, priority=pack.priority, expires_at=pack.expires_at)
    parts = 2 if repaid else 1
    draft.packs[pack.id] = pack
    draft.write(
        EntryKind.GRANT,
        pack.total_tokens,
        {"parts": parts, "detail": _encoder.encode(detail).decode(), "note": command.note, **start_of(command)},
        pack=pack,
    )
    if repaid:
        draft.overage_tokens -= repaid
        pack = msgspec.structs.replace(pack, repaid_tokens=repaid)
        pack = draft.spend(EntryKind.OVERAGE_REPAID, pack, repaid, {"part": 2, "parts": 2})
    draft.has_packs = True
    draft.granted_tokens = pack.total_tokens
    draft.tell(EventKind.PACK_GRANTED, repaid_tokens=repaid, **pack_detail(pack))
    if repaid:
        draft.tell(EventKind.OVERAGE_REPAID, repaid_tokens=repaid, overage_tokens=draft.overage_tokens)
    answer = Granted(
        organization_id=account.organization_id,
        at=now,
        balance_tokens=draft.balance_tokens,
        state=draft.state,
        pack=pack,
        repaid_tokens=repaid,
    )
    return draft.decision(answer, pack_count=pack.number)


def advance(book: Book, command: Advance, now: datetime) -> Decision | TokenwellError:
    """Grant a pack that never expires, and let its tokens be owed like overage: the next grant repays them first."""
    account = book.account
    owed = account.overage_tokens + command.total_tokens
    if owed > min(command.limit_tokens, MAX_TOKENS):
        return AmountInvalid(
            "more would be owed than may be advanced",
            field="amount",
            limit_tokens=command.limit_tokens,
            overage_tokens=account.overage_tokens,
        )
    if account.balance_tokens + command.total_tokens > MAX_TOKENS:
        return AmountInvalid("the balance would exceed the largest amount", field="amount", most=MAX_TOKENS)
    draft = Draft(book, now)
    pack = Pack(
        id=command.pack_id,
        organization_id=account.organization_id,
        number=account.pack_count + 1,
        total_tokens=command.total_tokens,
        remaining_tokens=command.total_tokens,
        granted_at=now,
        granted_seq=account.seq + 1,
        note=command.note,
    )
    detail = _encoder.encode(GrantDetail(number=pack.number, priority=0, expires_at=None, advance=True)).decode()
    draft.packs[pack.id] = pack
    draft.write(
        EntryKind.GRANT, pack.total_tokens, {"parts": 2, "detail": detail, "note": command.note, **start_of(command)}, pack=pack
    )
    draft.advance(pack.total_tokens)
    draft.has_packs = True
    draft.granted_tokens = pack.total_tokens
    draft.tell(EventKind.PACK_GRANTED, repaid_tokens=0, advanced_tokens=pack.total_tokens, **pack_detail(pack))
    draft.tell(EventKind.PACK_ADVANCED, overage_tokens=owed, **pack_detail(pack))
    answer = Granted(
        organization_id=account.organization_id,
        at=now,
        balance_tokens=draft.balance_tokens,
        state=draft.state,
        pack=pack,
        advanced_tokens=pack.total_tokens,
    )
    return draft.decision(answer, pack_count=pack.number)


def revoke(book: Book, command: Revoke, now: datetime) -> Decision | TokenwellError:
    """Withdraw a pack. What is left of it stops counting at once, unless it had stopped counting before."""
    pack = book.pack(command.pack_id)
    if pack is None:
        return PackNotFound(pack_id=command.pack_id)
    if pack.revoked_at is not None:
        return PackAlreadyRevoked(pack_id=pack.id, revoked_at=pack.revoked_at)
    draft = Draft(book, now)
    forfeited = pack.remaining_tokens if pack.closed_seq is None else 0
    released = _spenders_of(book, pack) if command.cancel_holds else []
    pack = msgspec.structs.replace(pack, revoked_at=now, revoked_seq=draft.seq + 1)
    detail = _encoder.encode({"cancel_holds": command.cancel_holds, "released_holds": len(released)}).decode()
    draft.forfeit(EntryKind.REVOKE, pack, forfeited, {"note": command.note, "detail": detail, **start_of(command)})
    for hold in released:
        draft.close(hold, HoldStatus.RELEASED, balance_after_tokens=draft.balance_tokens, flags=state_flag(draft.state))
    draft.tell(EventKind.PACK_REVOKED, forfeited_tokens=forfeited, released_holds=len(released), **pack_detail(pack))
    return draft.decision(
        Revoked(
            organization_id=pack.organization_id,
            at=now,
            balance_tokens=draft.balance_tokens,
            state=draft.state,
            pack_id=pack.id,
            forfeited_tokens=forfeited,
            released_holds=len(released),
        )
    )


def _spenders_of(book: Book, pack: Pack) -> list[Hold]:
    holds = [hold for hold in book.holds.values() if hold is not None and hold.status is HoldStatus.OPEN]
    return [hold for hold in holds if hold.may_spend(pack)]


def extend(book: Book, command: Extend, now: datetime) -> Decision | TokenwellError:
    """Move the expiry of a pack that is neither expired nor revoked to a later instant, or to never."""
    pack = book.pack(command.pack_id)
    if pack is None:
        return PackNotFound(pack_id=command.pack_id)
    if pack.revoked_at is not None:
        return PackAlreadyRevoked(pack_id=pack.id, revoked_at=pack.revoked_at)
    if pack.has_expired(now):
        return PackExpired(pack_id=pack.id, expires_at=pack.expires_at)
    if pack.expires_at is None or (command.expires_at is not None and command.expires_at <= pack.expires_at):
        return RequestInvalid("the new expiry must be later than the present one", field="expires_at", expires_at=pack.expires_at)
    draft = Draft(book, now)
    before = pack.expires_at
    pack = msgspec.structs.replace(pack, expires_at=command.expires_at)
    draft.packs[pack.id] = pack
    detail = ExtendDetail(before=before, after=pack.expires_at)
    line = {"note": command.note, "detail": _encoder.encode(detail).decode(), **start_of(command)}
    draft.write(EntryKind.EXTEND, 0, line, pack=pack)
    draft.tell(EventKind.PACK_EXTENDED, expired_before=before, **pack_detail(pack))
    return draft.decision(
        Extended(
            organization_id=pack.organization_id,
            at=now,
            balance_tokens=draft.balance_tokens,
            state=draft.state,
            pack_id=pack.id,
            expired_before=before,
            expires_at=pack.expires_at,
        )
    )


def set_thresholds(book: Book, command: SetThresholds, now: datetime) -> Decision:
    """Set the organization's own thresholds, or return to the platform's."""
    draft = Draft(book, now)
    draft.thresholds = command.own or command.platform
    answer = ThresholdsSet(
        organization_id=book.account.organization_id,
        at=now,
        balance_tokens=draft.balance_tokens,
        state=draft.state,
        warning_tokens=draft.thresholds.warning_tokens,
        reserve_tokens=draft.thresholds.reserve_tokens,
    )
    return draft.decision(answer, thresholds=draft.thresholds, own_thresholds=command.own)
