"""Proving: a balance taken apart into what was granted, used, given back, expired and revoked, each into packs and their lines.

The parts come from the journal; what the packs' own table gives is set beside them, and both must agree.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy

from tokenwell.core.identifiers import decode_id
from tokenwell.core.journal import Entry, EntryKind
from tokenwell.core.packs import Pack
from tokenwell.errors import PackNotFound, RequestInvalid
from tokenwell.service.meter import Meter
from tokenwell.service.pages import check_limit, number_in
from tokenwell.service.ports import Page
from tokenwell.service.records.browsing import Browsing
from tokenwell.store import reader
from tokenwell.store.reader import reading
from tokenwell.store.records import proving as store

LIFE_LIMIT = 1_000
"""How many lines of one pack's life are read."""

PARTS = store.PART_NAMES
"""What a balance can be taken apart into."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a balance consists of: granted − repaid − used + refunded − expired − revoked. `due_tokens` have expired without that
    being written yet. `is_whole` where the journal, the packs and the account's balance agree to the token."""

    organization_id: str
    as_of: datetime
    granted_tokens: int
    repaid_tokens: int
    used_tokens: int
    refunded_tokens: int
    expired_tokens: int
    revoked_tokens: int
    due_tokens: int
    balance_tokens: int
    held_tokens: int
    overage_tokens: int
    packs: int
    charge_lines: int
    life_lines: int
    seq: int
    head_hash: str
    is_whole: bool


class PackPart(msgspec.Struct, frozen=True, kw_only=True):
    """One pack's share of a balance: total − repaid − used = remaining. `used_tokens` are less what was given back, and below zero
    where overage that the pack had repaid was given back to it."""

    pack: Pack
    used_tokens: int
    repaid_tokens: int
    expired_tokens: int
    revoked_tokens: int


class Proving:
    """Takes balances apart. Its methods block: an event loop calls them in a thread."""

    def __init__(self, engine: sqlalchemy.Engine, meter: Meter, browsing: Browsing) -> None:
        self._engine = engine
        self._meter = meter
        self._browsing = browsing

    def pack(self, organization_id: str, name: str) -> Pack:
        """Return a pack by its id or number (`PK-7`). Raises OrganizationNotFound, PackNotFound."""
        with reading(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
            pack_id, number = _named(name)
            pack = store.pack_named(connection, organization_id, pack_id=pack_id, number=number)
        if pack is None:
            raise PackNotFound(pack_id=name)
        return pack

    def life(self, organization_id: str, pack_id: str) -> tuple[Entry, ...]:
        """Return what happened to a pack apart from its charges: granted, extended, expired, revoked, in order."""
        with reading(self._engine, organization_id) as connection:
            reader.account(connection, organization_id)
            return tuple(store.life_of(connection, organization_id, pack_id, limit=LIFE_LIMIT))

    def prove(self, organization_id: str) -> Proof:
        """Return the balance taken apart, all of it as of one line of the journal."""
        for _ in range(3):
            proof = self._prove(organization_id)
            if proof.is_whole:
                break
            # A line was written between two of the reads: they were of different moments.
        return proof

    def _prove(self, organization_id: str) -> Proof:
        balance = self._meter.balance(organization_id)
        charges = self._browsing.sums(organization_id)
        with reading(self._engine, organization_id) as connection:
            kinds = store.sums_by_kind(connection, organization_id)
            packs = store.pack_sums(connection, organization_id, balance.as_of)
        granted, repaid, expired, revoked = (
            kinds.get(kind.value, (0, 0))[1]
            for kind in (EntryKind.GRANT, EntryKind.OVERAGE_REPAID, EntryKind.EXPIRE, EntryKind.REVOKE)
        )
        used, refunded, due = charges.debited_tokens or 0, charges.refunded_tokens or 0, int(packs.due_tokens)
        told = granted - repaid - used + refunded - expired - due - revoked
        whole = (
            not charges.is_capped
            and told == balance.balance_tokens == int(packs.active_tokens)
            and (granted, expired + due, revoked) == (packs.total_tokens, packs.expired_tokens, packs.revoked_tokens)
        )
        return Proof(
            organization_id=organization_id,
            as_of=balance.as_of,
            granted_tokens=granted,
            repaid_tokens=repaid,
            used_tokens=used,
            refunded_tokens=refunded,
            expired_tokens=expired,
            revoked_tokens=revoked,
            due_tokens=due,
            balance_tokens=balance.balance_tokens,
            held_tokens=balance.held_tokens,
            overage_tokens=balance.overage_tokens,
            packs=packs.packs,
            charge_lines=charges.lines,
            life_lines=sum(count for count, _ in kinds.values()),
            seq=balance.seq,
            head_hash=balance.head_hash,
            is_whole=whole,
        )

    def parts(self, organization_id: str, part: str, *, cursor: str | None = None, limit: int = 25) -> Page[PackPart]:
        """Return the packs that one part of the balance consists of (one of PARTS), the latest grant first."""
        if part not in PARTS:
            raise RequestInvalid(f"a part is one of {', '.join(PARTS)}", field="part")
        check_limit(limit)
        before = number_in(cursor)
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            now = max(self._meter.clock(), account.last_at)
            packs = store.packs_of_part(connection, organization_id, part, now=now, before=before, limit=limit + 1)
            gone = store.forfeited_by_pack(connection, organization_id, [pack.id for pack in packs[:limit]]) if packs else {}
        items = tuple(_pack_part(pack, gone) for pack in packs[:limit])
        return Page(items, str(items[-1].pack.number) if len(packs) > limit else None)


def _pack_part(pack: Pack, gone: dict[tuple[str, str], int]) -> PackPart:
    repaid = pack.repaid_tokens
    return PackPart(
        pack=pack,
        used_tokens=pack.total_tokens - repaid - pack.remaining_tokens,
        repaid_tokens=repaid,
        expired_tokens=gone.get((pack.id, EntryKind.EXPIRE.value), 0),
        revoked_tokens=gone.get((pack.id, EntryKind.REVOKE.value), 0),
    )


def _named(name: str) -> tuple[str | None, int | None]:
    """Return the id or the number that a pack is named by."""
    number = name.upper().removeprefix("PK-")
    if number.isascii() and number.isdigit() and len(number) <= 18:
        return None, int(number)
    try:
        decode_id(name)
    except ValueError:
        raise PackNotFound(pack_id=name) from None
    return name, None
