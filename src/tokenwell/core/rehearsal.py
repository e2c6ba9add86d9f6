"""Rehearsal: what an organization's past would have been under other thresholds and lanes.

Its journal is decided once more in memory: same grants, same requests, another policy. A request that the policy would not have
admitted uses nothing; so later ones find more, and packs may expire with more left in them. On a real day people would have
answered to a refusal, by asking again or not at all; a rehearsal keeps the requests as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tokenwell.core.account import Account, Book, Decision
from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.core.commands import Advance, Charge, Command, Debit, Extend, Grant, Revoke
from tokenwell.core.decide import advance, decide, is_due
from tokenwell.core.draft import Draft
from tokenwell.core.grants import ExtendDetail, GrantDetail
from tokenwell.core.health import Lane, State, Thresholds, refusal_of, state_of
from tokenwell.core.journal import ALREADY_USED, Entry, EntryKind
from tokenwell.core.packs import Pack
from tokenwell.errors import InvariantBroken

CROSSINGS_KEPT = 1_000
"""How many changes of the state are listed; more are counted."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is rehearsed: the two lines, and for AI services (by id) the line of their lane."""

    thresholds: Thresholds
    lanes: Mapping[str, Lane] = {}


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the state, and the balance after it."""

    at: datetime
    state: State
    balance_tokens: int


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it between `since` and `until`. `forfeited_tokens` is what packs had left as they expired or were revoked;
    `first_refused_at` is None where every request was admitted."""

    since: datetime
    until: datetime
    requests: int
    refused_requests: int
    refused_tokens: int
    first_refused_at: datetime | None
    forfeited_tokens: int
    balance_tokens: int
    state: State
    time_in_state: dict[State, timedelta]
    crossings: tuple[Crossing, ...]
    crossing_count: int


class Rehearsal:
    """Decides an organization's journal under a policy, from the packs it had after line `seq` at `since`."""

    def __init__(
        self, organization_id: str, packs: Sequence[Pack], *, seq: int, since: datetime, overage_tokens: int, policy: Policy
    ) -> None:
        active = [pack for pack in packs if pack.is_open]
        account = Account(
            organization_id=organization_id,
            seq=seq,
            last_at=since,
            balance_tokens=sum(pack.remaining_tokens for pack in active),
            overage_tokens=overage_tokens,
            own_thresholds=policy.thresholds,
            pack_count=len(packs),
            next_expiry_at=_next_expiry(active),
        )
        self._book = Book(
            account=account,
            thresholds=policy.thresholds,
            window=sorted(pack.burn_order() for pack in active),
            complete=True,
            packs={pack.id: pack for pack in packs},
        )
        self._policy = policy
        self._since = self._at = since
        self._state = state_of(account.balance_tokens, policy.thresholds)
        self._spent = dict.fromkeys(State, timedelta())
        self._crossings: list[Crossing] = []
        self._crossing_count = 0
        self._refused: set[int] = set()
        self._requests = self._refused_requests = self._refused_tokens = self._forfeited_tokens = 0
        self._first_refused_at: datetime | None = None

    def take(self, lines: Sequence[Entry]) -> None:
        """Decide the lines that one command wrote, all parts of it; calls come in the journal's order."""
        first = lines[0]
        self._close_due(first.at)
        kind = first.kind
        if first.ref_seq is not None:
            self._refund(lines)
        elif kind in (EntryKind.DEBIT, EntryKind.OVERAGE):
            self._charge(lines)
        elif kind in _AGAIN and first.key is not None:
            self._apply(_AGAIN[kind](first), first.at)
        # What expires, what a late charge takes back of it and what a grant repays comes of itself.

    def result(self, until: datetime) -> Rehearsed:
        """Return what came of it up to an instant that is not before the last line."""
        self._close_due(until)
        self._note(until)
        return Rehearsed(
            since=self._since,
            until=until,
            requests=self._requests,
            refused_requests=self._refused_requests,
            refused_tokens=self._refused_tokens,
            first_refused_at=self._first_refused_at,
            forfeited_tokens=self._forfeited_tokens,
            balance_tokens=self._book.account.balance_tokens,
            state=self._state,
            time_in_state=dict(self._spent),
            crossings=tuple(self._crossings),
            crossing_count=self._crossing_count,
        )

    def _apply(self, command: Command, at: datetime) -> None:
        decision = decide(self._book, command, at)
        if not isinstance(decision, Decision):
            raise InvariantBroken(f"a line of {at} cannot be decided again: {decision}")
        self._carry(decision, at)

    def _carry(self, decision: Decision, at: datetime) -> None:
        for entry in decision.entries:
            if entry.kind in (EntryKind.EXPIRE, EntryKind.REVOKE):
                self._forfeited_tokens += entry.amount_tokens
        decision.apply(self._book)
        self._note(at)

    def _close_due(self, now: datetime) -> None:
        """Let each pack expire at its own instant."""
        book = self._book
        while is_due(book, now):
            assert book.account.next_expiry_at is not None
            # What was given back to a pack past its expiry is due at once.
            at = max(book.account.next_expiry_at, self._at)
            packs = [pack for pack in book.known_packs() if pack.is_open]
            expired = [pack for pack in packs if pack.has_expired(at)]
            left = [pack for pack in packs if not pack.has_expired(at)]
            self._carry(advance(book, at, expired=expired, lapsed=[], next_expiry_at=_next_expiry(left), next_lapse_at=None), at)

    def _charge(self, lines: Sequence[Entry]) -> None:
        first = lines[0]
        amount = sum(line.amount_tokens for line in lines if line.kind in (EntryKind.DEBIT, EntryKind.OVERAGE))
        self._requests += 1
        balance = self._book.account.balance_tokens
        if not first.flags & ALREADY_USED:
            lane = self._policy.lanes.get(first.service_id or "")
            if refusal_of(balance, 0, self._policy.thresholds, min(amount, balance), lane) is not None:
                self._refuse(lines, amount)
                return
        charge = Charge(amount_tokens=amount)
        self._apply(
            Debit(organization_id=first.organization_id, key=b"", fingerprint=b"", request_id="", charge=charge, already_used=True),
            first.at,
        )

    def _refuse(self, lines: Sequence[Entry], amount: int) -> None:
        self._refused_requests += 1
        self._refused_tokens += amount
        self._first_refused_at = self._first_refused_at or lines[0].at
        self._refused.update(line.seq for line in lines)

    def _refund(self, lines: Sequence[Entry]) -> None:
        """Give back what was given back, unless the request was refused: to the same packs, as far as they have room."""
        draft = Draft(self._book, lines[0].at)
        for line in lines:
            if line.ref_seq is None or line.ref_seq in self._refused:
                continue
            if line.kind is EntryKind.OVERAGE:
                draft.overage_tokens = max(0, draft.overage_tokens + line.amount_tokens)
            elif line.kind is EntryKind.REFUND and line.pack_id is not None:
                pack = draft.pack(line.pack_id)
                back = min(line.amount_tokens, pack.total_tokens - pack.remaining_tokens)
                if pack.closed_seq is None and back > 0:
                    draft.spend(EntryKind.REFUND, pack, back, {})
        self._carry(draft.decision(None), draft.now)

    def _note(self, at: datetime) -> None:
        """Add the time since the last change to the state it was spent in, and note a change."""
        self._spent[self._state] += at - self._at
        self._at = at
        balance = self._book.account.balance_tokens
        state = state_of(balance, self._policy.thresholds)
        if state is not self._state:
            self._state = state
            self._crossing_count += 1
            if len(self._crossings) < CROSSINGS_KEPT:
                self._crossings.append(Crossing(at=at, state=state, balance_tokens=balance))


def _next_expiry(packs: Sequence[Pack]) -> datetime | None:
    return min((pack.expires_at for pack in packs if pack.expires_at is not None), default=None)


def _who(line: Entry) -> dict[str, Any]:
    return {"organization_id": line.organization_id, "pack_id": line.pack_id, "key": b"", "fingerprint": b""}


def _grant(line: Entry) -> Command:
    detail = msgspec.json.decode(line.detail or "", type=GrantDetail)
    if detail.advance:
        return Advance(**_who(line), total_tokens=line.amount_tokens, limit_tokens=MAX_TOKENS)
    return Grant(**_who(line), total_tokens=line.amount_tokens, expires_at=detail.expires_at, priority=detail.priority)


def _revoke(line: Entry) -> Command:
    return Revoke(**_who(line))


def _extend(line: Entry) -> Command:
    return Extend(**_who(line), expires_at=msgspec.json.decode(line.detail or "", type=ExtendDetail).after)


_AGAIN: dict[EntryKind, Callable[[Entry], Command]] = {
    EntryKind.GRANT: _grant,
    EntryKind.REVOKE: _revoke,
    EntryKind.EXTEND: _extend,
}
"""The lines of an administrator, and the commands that wrote them."""
