"""The draft of a decision: journal lines written one after another over a book that itself stays untouched."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from tokenwell.core import announcements
from tokenwell.core.account import Book, Decision
from tokenwell.core.commands import Command
from tokenwell.core.happenings import Event, EventKind
from tokenwell.core.health import State, Thresholds, state_of
from tokenwell.core.holds import Hold, HoldStatus
from tokenwell.core.journal import SIGNS, Entry, EntryKind, seal, state_flag
from tokenwell.core.limits import KeyUsage
from tokenwell.core.packs import Pack
from tokenwell.errors import InvariantBroken

_SPENDS = {EntryKind.DEBIT: -1, EntryKind.REFUND: 1, EntryKind.OVERAGE_REPAID: -1}


class Draft:
    """What one command has changed so far: totals, lines, packs, holds. Nothing of it can be refused any more."""

    def __init__(self, book: Book, now: datetime) -> None:
        account = book.account
        self._book = book
        self._organization_id = account.organization_id
        self.now = now
        self.thresholds = book.thresholds
        self.seq = account.seq
        self.head_hash = account.head_hash
        self.balance_tokens = account.balance_tokens
        self.held_tokens = account.held_tokens
        self.overage_tokens = account.overage_tokens
        self.last_closed_seq = account.last_closed_seq
        self.entries: list[Entry] = []
        self.packs: dict[str, Pack] = {}
        self.holds: dict[str, Hold] = {}
        self.advanced_tokens = 0
        self.granted_tokens = 0
        self.key_usages: dict[str, KeyUsage] = {}
        self.told_state = account.told_state
        self.has_packs = account.pack_count > 0
        self.events: list[Event] = []

    @property
    def state(self) -> State:
        """The state after the lines written so far."""
        return state_of(self.balance_tokens, self.thresholds)

    def pack(self, pack_id: str) -> Pack:
        """Return the pack as this draft has it."""
        pack = self.packs.get(pack_id) or self._book.packs[pack_id]
        if pack is None:
            raise InvariantBroken(f"pack {pack_id} is named by the journal but does not exist")
        return pack

    def spend(self, kind: EntryKind, pack: Pack, amount_tokens: int, line: dict[str, Any], flags: int = 0) -> Pack:
        """Write a debit, a refund or an overage repaid, and change what the pack has left by it."""
        left = pack.remaining_tokens + _SPENDS[kind] * amount_tokens
        if not 0 <= left <= pack.total_tokens:
            raise InvariantBroken(f"pack {pack.id} would have {left} of {pack.total_tokens}")
        pack = self.packs[pack.id] = replace(pack, remaining_tokens=left)
        self.write(kind, amount_tokens, line, pack=pack, flags=flags)
        return pack

    def forfeit(self, kind: EntryKind, pack: Pack, amount_tokens: int, line: dict[str, Any], *, at: datetime | None = None) -> Pack:
        """Write what no longer counts of a pack (negative: counts again). The first such line closes the pack."""
        self.write(kind, amount_tokens, line, pack=pack, at=at)
        if pack.closed_seq is None:
            pack = replace(pack, closed_seq=self.seq)
        self.last_closed_seq = self.seq
        self.packs[pack.id] = pack
        return pack

    def write(
        self,
        kind: EntryKind,
        amount_tokens: int,
        line: dict[str, Any],
        *,
        pack: Pack | None = None,
        at: datetime | None = None,
        flags: int = 0,
    ) -> None:
        """Append one line; `line` holds its further fields, `flags` those besides the state."""
        self.seq += 1
        self.balance_tokens += SIGNS[kind] * amount_tokens
        if self.balance_tokens < 0:
            raise InvariantBroken(f"the balance of {self._organization_id} would be {self.balance_tokens}")
        entry = Entry(
            organization_id=self._organization_id,
            seq=self.seq,
            at=at or self.now,
            kind=kind,
            amount_tokens=amount_tokens,
            balance_after_tokens=self.balance_tokens,
            pack_id=None if pack is None else pack.id,
            pack_remaining_tokens=None if pack is None else pack.remaining_tokens,
            flags=flags | state_flag(self.state),
            **line,
        )
        self.head_hash = seal(entry, self.head_hash)
        self.entries.append(entry)

    def advance(self, amount_tokens: int) -> None:
        """Write as the last of two lines what is owed of the pack just granted."""
        self.overage_tokens += amount_tokens
        self.advanced_tokens += amount_tokens
        self.write(EntryKind.ADVANCE, amount_tokens, {"part": 2, "parts": 2})

    def open(self, hold: Hold, held_tokens: int, *, requests: int = 0) -> None:
        """Take an open hold that reserves so many tokens more."""
        self.held_tokens += held_tokens
        self.holds[hold.id] = hold
        if hold.limited_key_id is not None:
            self.count(hold.limited_key_id, requests=requests, held_tokens=held_tokens)

    def count(self, key_id: str, *, requests: int = 0, held_tokens: int = 0, used_tokens: int = 0) -> None:
        """Count something against the limits of a key."""
        usage = (self.key_usages.get(key_id) or self._book.key_usages[key_id]).at(self.now)
        self.key_usages[key_id] = usage.added(requests=requests, held_tokens=held_tokens, used_tokens=used_tokens)

    def close(self, hold: Hold, status: HoldStatus, *, closed_at: datetime | None = None, **changes: Any) -> Hold:
        """Settle, release or lapse a hold; what it reserved is free again unless it had lapsed."""
        was_open = hold.status is HoldStatus.OPEN
        hold = replace(hold, status=status, closed_at=closed_at or self.now, **changes)
        if was_open:
            self.held_tokens -= hold.tokens
        if hold.limited_key_id is not None:
            freed, used = hold.tokens if was_open else 0, hold.used_tokens or 0
            self.count(hold.limited_key_id, held_tokens=-freed, used_tokens=used)
        self.holds[hold.id] = hold
        return hold

    def tell(self, kind: EventKind, *, at: datetime | None = None, **detail: Any) -> None:
        """Add an event, with the balance and the last line as they are now."""
        told = announcements.event_detail(detail | {"balance_tokens": self.balance_tokens, "seq": self.seq})
        self.events.append(Event(organization_id=self._organization_id, at=at or self.now, kind=kind, detail=told))

    def tell_state(self, *, at: datetime | None = None) -> None:
        """Tell the state if the balance has crossed a line since it was told last. Nothing is told before the first pack."""
        state, before = self.state, self.told_state
        if state is before or not self.has_packs:
            return
        state = announcements.state_to_tell(before, state, self.balance_tokens, self.thresholds)
        if state is before:
            return
        self.told_state = state
        lines = {"warning_tokens": self.thresholds.warning_tokens, "reserve_tokens": self.thresholds.reserve_tokens}
        granted = {"granted_tokens": self.granted_tokens} if self.granted_tokens else {}
        for kind in announcements.kinds_of(before, state):
            self.tell(kind, at=at, state=state, before=before, **lines, **granted)

    def _tell_changes(self) -> None:
        account = self._book.account
        for pack in self.packs.values():
            if pack.remaining_tokens == 0 and pack.closed_seq is None:
                before = self._book.packs.get(pack.id)
                if before is None or before.remaining_tokens:
                    self.tell(EventKind.PACK_DEPLETED, **announcements.pack_detail(pack))
        if self.overage_tokens > self.advanced_tokens and not account.overage_tokens:
            self.tell(EventKind.OVERAGE_INCURRED, overage_tokens=self.overage_tokens)
        self.tell_state()

    def decision(self, answer: Any, *, thresholds: Thresholds | None = None, **account: Any) -> Decision:
        """Return the finished decision; `account` are further changes to the account."""
        account.setdefault("next_expiry_at", self._next_expiry_at())
        account.setdefault("last_at", self.now)
        self._tell_changes()
        return Decision(
            account=replace(
                self._book.account,
                seq=self.seq,
                head_hash=self.head_hash,
                balance_tokens=self.balance_tokens,
                held_tokens=self.held_tokens,
                overage_tokens=self.overage_tokens,
                last_closed_seq=self.last_closed_seq,
                told_state=self.told_state,
                **account,
            ),
            entries=self.entries,
            packs=self.packs,
            holds=self.holds,
            answer=answer,
            thresholds=thresholds,
            events=self.events,
            key_usages=self.key_usages,
        )

    def _next_expiry_at(self) -> datetime | None:
        """Return the account's bound, lowered to the expiry of any pack that this draft has granted or filled again."""
        bound = self._book.account.next_expiry_at
        for pack in self.packs.values():
            if pack.expires_at is not None and (bound is None or pack.expires_at < bound) and pack.is_open:
                bound = pack.expires_at
        return bound


def start_of(command: Command) -> dict[str, Any]:
    """Return what the first line of a command carries: its idempotency key and its fingerprint."""
    return {"key": command.key, "fingerprint": command.fingerprint}
