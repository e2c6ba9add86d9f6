"""The account: what `decide` sees of an organization, and the drafts it writes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from tokenwell.core.happenings import Act, Event
from tokenwell.core.health import State, Thresholds
from tokenwell.core.holds import Growth, Hold, HoldStatus
from tokenwell.core.instants import EPOCH
from tokenwell.core.journal import GENESIS, Entry
from tokenwell.core.limits import KeyUsage
from tokenwell.core.packs import Pack

BurnKey = tuple[int, int, int, str]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of an organization. `next_expiry_at` and `next_lapse_at` are lower bounds: nothing expires or lapses before
    them. `own_thresholds` None means the platform's. `version` counts the writes. `told_state` is the state that was last told to
    people (`announcements`); the state itself is always computed."""

    organization_id: str
    seq: int = 0
    head_hash: bytes = GENESIS
    last_at: datetime = EPOCH
    balance_tokens: int = 0
    held_tokens: int = 0
    overage_tokens: int = 0
    own_thresholds: Thresholds | None = None
    pack_count: int = 0
    last_closed_seq: int = 0
    next_expiry_at: datetime | None = None
    next_lapse_at: datetime | None = None
    version: int = 0
    told_state: State = State.NORMAL

    @property
    def due_at(self) -> datetime | None:
        """The earlier of the two bounds."""
        if self.next_expiry_at is None or self.next_lapse_at is None:
            return self.next_expiry_at or self.next_lapse_at
        return min(self.next_expiry_at, self.next_lapse_at)


class RequestFacts(msgspec.Struct, kw_only=True):
    """The journal lines one command wrote, and how much of each was given back since, by seq."""

    entries: tuple[Entry, ...]
    returned: dict[int, int] = msgspec.field(default_factory=dict)


class Needs(msgspec.Struct, kw_only=True):
    """What must be loaded before a command can be decided. `window` is a number of open packs, `closed_since` a journal line;
    `key_usages` says for each key in whose windows."""

    window: int = 0
    packs: set[str] = msgspec.field(default_factory=set)
    holds: set[str] = msgspec.field(default_factory=set)
    keys: set[bytes] = msgspec.field(default_factory=set)
    hold_keys: set[bytes] = msgspec.field(default_factory=set)
    closed_since: int | None = None
    open_holds: bool = False
    repaid: bool = False
    growths: set[str] = msgspec.field(default_factory=set)
    key_usages: dict[str, datetime] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return (
            bool(self.window or self.packs or self.holds or self.keys or self.hold_keys or self.open_holds or self.repaid)
            or self.closed_since is not None
            or bool(self.growths or self.key_usages)
        )

    def merge(self, other: Needs) -> None:
        """Need what the other needs, too."""
        self.window = max(self.window, other.window)
        self.packs |= other.packs
        self.holds |= other.holds
        self.keys |= other.keys
        self.hold_keys |= other.hold_keys
        if other.closed_since is not None:
            self.closed_since = other.closed_since if self.closed_since is None else min(self.closed_since, other.closed_since)
        self.open_holds |= other.open_holds
        self.repaid |= other.repaid
        self.growths |= other.growths
        self.key_usages |= other.key_usages


class Book(msgspec.Struct, kw_only=True):
    """A writer's working copy of one organization: the account, the first packs in burn-down order, and what its commands need.

    `complete` says whether the window holds all open packs. None in `packs`, `holds`, `requests` or
    `hold_keys` says that there is no such thing.
    """

    account: Account
    thresholds: Thresholds
    window: list[BurnKey] = msgspec.field(default_factory=list)
    complete: bool = False
    packs: dict[str, Pack | None] = msgspec.field(default_factory=dict)
    holds: dict[str, Hold | None] = msgspec.field(default_factory=dict)
    requests: dict[bytes, RequestFacts | None] = msgspec.field(default_factory=dict)
    hold_keys: dict[bytes, str | None] = msgspec.field(default_factory=dict)
    closed_since: int | None = None
    open_holds: bool = False
    repaid: bool = False
    growths: dict[str, list[Growth]] = msgspec.field(default_factory=dict)
    key_usages: dict[str, KeyUsage] = msgspec.field(default_factory=dict)
    passing: set[str] = msgspec.field(default_factory=set)

    def put_pack(self, pack: Pack) -> None:
        """Take the new version of a pack, keeping the window in burn-down order."""
        before = self.packs.get(pack.id)
        if before is not None and before.is_open:
            if pack.is_open and before.expires_at == pack.expires_at:
                self.packs[pack.id] = pack
                return
            old = before.burn_order()
            at = bisect_left(self.window, old)
            if at < len(self.window) and self.window[at] == old:
                del self.window[at]
        self.packs[pack.id] = pack
        key = pack.burn_order()
        if pack.is_open and (self.complete or (self.window and key < self.window[-1])):
            insort(self.window, key)

    def put_hold(self, hold: Hold) -> None:
        """Take a hold; unless it is open, it is dropped with the next `forget`."""
        self.holds[hold.id] = hold
        if hold.status is not HoldStatus.OPEN:
            self.passing.add(hold.id)

    def put_growth(self, growth: Growth) -> None:
        """Take a growth of a hold, where those before it are known."""
        if growth.number == 1:
            self.growths[growth.hold_id] = [growth]
        elif growth.hold_id in self.growths:
            self.growths[growth.hold_id].append(growth)

    def knows_closed_since(self, seq: int) -> bool:
        """Return whether every pack that was closed after line `seq` is loaded."""
        return self.account.last_closed_seq <= seq or (self.closed_since is not None and self.closed_since <= seq)

    def note_return(self, seq: int, amount_tokens: int) -> None:
        """Remember that so much of a loaded line was given back."""
        for facts in self.requests.values():
            if facts is not None and facts.entries[0].seq <= seq <= facts.entries[-1].seq:
                facts.returned[seq] = facts.returned.get(seq, 0) + amount_tokens

    def pack(self, pack_id: str) -> Pack | None:
        """Return a loaded pack, None if there is no such pack."""
        return self.packs[pack_id]

    def known_packs(self) -> list[Pack]:
        """Return every loaded pack."""
        return [pack for pack in self.packs.values() if pack is not None]

    def forget(self, *, most_holds: int = 4096, most_packs: int = 64, most_keys: int = 4096) -> None:
        """Drop what only the commands just decided needed: all but the window, the open holds and the keys, each up to a limit.

        A window grown past `most_packs` keeps its first quarter of that, so that what a pack costs does not depend on how many
        there are.
        """
        if len(self.window) > most_packs:
            del self.window[most_packs // 4 :]
            self.complete = False
        if len(self.packs) > len(self.window):
            self.packs = {key[3]: self.packs[key[3]] for key in self.window}
        if self.requests:
            self.requests = {}
        if self.hold_keys:
            self.hold_keys = {}
        if self.growths:
            self.growths = {}
        if len(self.key_usages) > most_keys:
            self.key_usages = {}
        self.closed_since = None
        self.repaid = False
        if self.open_holds or len(self.holds) > most_holds:
            self.holds = {}
            self.open_holds = False
        for hold_id in self.passing:
            hold = self.holds.get(hold_id)
            if hold is None or hold.status is not HoldStatus.OPEN:
                self.holds.pop(hold_id, None)
        self.passing.clear()


class Decision(msgspec.Struct, kw_only=True):
    """What a command changes: the account, the lines to append, new versions of packs and holds; what to answer, and what is told
    of it."""

    account: Account
    entries: list[Entry]
    packs: dict[str, Pack]
    holds: dict[str, Hold]
    answer: Any
    thresholds: Thresholds | None = None
    events: Sequence[Event] = ()
    acts: Sequence[Act] = ()
    growths: Sequence[Growth] = ()
    key_usages: dict[str, KeyUsage] = msgspec.field(default_factory=dict)

    def apply(self, book: Book) -> None:
        """Carry the decision into the working copy, so that the next command is decided on it."""
        book.account = self.account
        if self.thresholds is not None:
            book.thresholds = self.thresholds
        for pack in self.packs.values():
            book.put_pack(pack)
        for hold in self.holds.values():
            book.put_hold(hold)
        for growth in self.growths:
            book.put_growth(growth)
        if self.key_usages:
            book.key_usages |= self.key_usages
        if book.requests:
            for entry in self.entries:
                if entry.ref_seq is not None:
                    book.note_return(entry.ref_seq, abs(entry.amount_tokens))
