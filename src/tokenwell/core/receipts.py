"""Answers: what a caller learns once its command is committed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from tokenwell.core.health import State
from tokenwell.core.holds import Growth, Hold, HoldStatus
from tokenwell.core.journal import ESTIMATED, LATE, Entry, EntryKind, state_in
from tokenwell.core.packs import Pack


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """What one pack gave to a request, or got back: one line of the journal."""

    seq: int
    pack_id: str
    amount_tokens: int
    prompt_tokens: int | None
    completion_tokens: int | None
    pack_remaining_tokens: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer says: the balance and the state after it, and whether it is a replay of the first answer."""

    organization_id: str
    at: datetime
    balance_tokens: int
    state: State
    replayed: bool = False


class Receipt(Answer, frozen=True, kw_only=True):
    """A debit, a settled hold or a refund. `amount_tokens` is the whole; `overage_tokens` the share no pack paid (or, of a
    refund, the share that lowered the overage)."""

    request_id: str
    amount_tokens: int
    overage_tokens: int = 0
    forfeited_tokens: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    drawn: tuple[Drawn, ...] = ()
    estimated: bool = False
    late: bool = False


class Granted(Answer, frozen=True, kw_only=True):
    """A pack was granted; `repaid_tokens` of it went to overage at once. `advanced_tokens` of it are owed from now on."""

    pack: Pack
    repaid_tokens: int = 0
    advanced_tokens: int = 0


class Revoked(Answer, frozen=True, kw_only=True):
    """A pack was revoked; `forfeited_tokens` no longer count."""

    pack_id: str
    forfeited_tokens: int
    released_holds: int = 0


class Extended(Answer, frozen=True, kw_only=True):
    """A pack's expiry moved."""

    pack_id: str
    expired_before: datetime | None
    expires_at: datetime | None


class Held(Answer, frozen=True, kw_only=True):
    """A hold was opened, or extended."""

    hold: Hold


class Released(Answer, frozen=True, kw_only=True):
    """A hold was released, or had lapsed before."""

    hold_id: str


class ThresholdsSet(Answer, frozen=True, kw_only=True):
    """The thresholds now in force."""

    warning_tokens: int
    reserve_tokens: int


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """An organization's balance at `as_of`: the sum of its active packs, what open holds reserve, and its state."""

    organization_id: str
    as_of: datetime
    balance_tokens: int
    held_tokens: int
    overage_tokens: int
    state: State
    active_packs: int
    active_total_tokens: int
    warning_tokens: int
    reserve_tokens: int
    seq: int
    head_hash: str

    @property
    def available_tokens(self) -> int:
        """Balance less what is held."""
        return self.balance_tokens - self.held_tokens


def receipt_of(entries: Sequence[Entry], *, replayed: bool = False) -> Receipt:
    """Return the receipt of a debit, a settled hold or a refund from the journal lines it wrote, in order."""
    last = entries[-1]
    if len(entries) == 1 and last.kind is EntryKind.DEBIT and not replayed:
        return _receipt_of_one(last)
    drawn: list[Drawn] = []
    amount = overage = forfeited = 0
    prompt = completion = None
    for entry in entries:
        if entry.kind in (EntryKind.DEBIT, EntryKind.REFUND):
            amount += entry.amount_tokens
            drawn.append(_drawn_of(entry))
        elif entry.kind is EntryKind.OVERAGE:
            amount += abs(entry.amount_tokens)
            overage += abs(entry.amount_tokens)
        elif entry.amount_tokens > 0:
            forfeited += entry.amount_tokens
        if entry.prompt_tokens is not None and entry.completion_tokens is not None:
            prompt = (prompt or 0) + entry.prompt_tokens
            completion = (completion or 0) + entry.completion_tokens
    return Receipt(
        organization_id=last.organization_id,
        at=last.at,
        balance_tokens=last.balance_after_tokens,
        state=last.state_after,
        replayed=replayed,
        request_id=last.request_id or "",
        amount_tokens=amount,
        overage_tokens=overage,
        forfeited_tokens=forfeited,
        prompt_tokens=prompt,
        completion_tokens=completion,
        drawn=tuple(drawn),
        estimated=bool(last.flags & ESTIMATED),
        late=bool(last.flags & LATE),
    )


def _receipt_of_one(entry: Entry) -> Receipt:
    """Return the receipt of a debit from one pack, which is what most are."""
    return Receipt(
        organization_id=entry.organization_id,
        at=entry.at,
        balance_tokens=entry.balance_after_tokens,
        state=entry.state_after,
        request_id=entry.request_id or "",
        amount_tokens=entry.amount_tokens,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        drawn=(_drawn_of(entry),),
        estimated=bool(entry.flags & ESTIMATED),
        late=bool(entry.flags & LATE),
    )


def held(hold: Hold, *, replayed: bool = False, growth: Growth | None = None) -> Held:
    """Return the answer to the opening of a hold, whatever became of it since; `growth` is its first, if there was any."""
    first = _open_again(hold)
    if growth is not None:
        first = replace(first, tokens=growth.tokens_before, lapses_at=growth.lapses_before, growths=0)
    return Held(
        organization_id=hold.organization_id,
        at=hold.opened_at,
        balance_tokens=hold.opened_balance_tokens,
        state=state_in(hold.opened_flags),
        replayed=replayed,
        hold=first if replayed else hold,
    )


def held_after(hold: Hold, growth: Growth, *, replayed: bool = False) -> Held:
    """Return the answer to a growth of a hold, whatever became of it since."""
    grown = replace(_open_again(hold), tokens=growth.tokens_after, lapses_at=growth.lapses_after, growths=growth.number)
    return Held(
        organization_id=hold.organization_id,
        at=growth.at,
        balance_tokens=growth.balance_tokens,
        state=state_in(growth.flags),
        replayed=replayed,
        hold=grown,
    )


def _open_again(hold: Hold) -> Hold:
    return replace(
        hold, status=HoldStatus.OPEN, closed_at=None, used_tokens=None, settled_fingerprint=None, balance_after_tokens=0, flags=0
    )


def _drawn_of(entry: Entry) -> Drawn:
    assert entry.pack_id is not None
    assert entry.pack_remaining_tokens is not None
    return Drawn(
        seq=entry.seq,
        pack_id=entry.pack_id,
        amount_tokens=entry.amount_tokens,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        pack_remaining_tokens=entry.pack_remaining_tokens,
    )


def receipt_of_unused(hold: Hold, *, replayed: bool = False) -> Receipt:
    """Return the receipt of a hold that was settled with nothing used: no line was written."""
    assert hold.closed_at is not None
    return Receipt(
        organization_id=hold.organization_id,
        at=hold.closed_at,
        balance_tokens=hold.balance_after_tokens,
        state=state_in(hold.flags),
        replayed=replayed,
        request_id=hold.request_id,
        amount_tokens=0,
        prompt_tokens=0,
        completion_tokens=0,
        estimated=bool(hold.flags & ESTIMATED),
        late=bool(hold.flags & LATE),
    )
