"""Packs: found by id or number, in the order in which they are used, what stands out among them, and their notes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy

from tokenwell.core.happenings import Act, Actor
from tokenwell.core.identifiers import check_label, decode_id
from tokenwell.core.packs import NOTE_LIMIT, Pack, PackStatus
from tokenwell.errors import PackNotFound, RequestInvalid
from tokenwell.service.meter import Meter
from tokenwell.service.pages import CURSOR_INVALID, check_limit, number_in
from tokenwell.service.ports import Page, new_id
from tokenwell.service.shapes import PackLine
from tokenwell.store import packs as store
from tokenwell.store import reader
from tokenwell.store.happenings import append_act
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

LARGEST = 6
"""How many of the largest active packs are told."""


class Outstanding(msgspec.Struct, frozen=True, kw_only=True):
    """What stands out among the active packs: the one in use, the LARGEST ones in burn-down order, and what expires next."""

    in_use: Pack | None = None
    largest: tuple[Pack, ...] = ()
    expires_at: datetime | None = None
    expiring_tokens: int = 0

    @classmethod
    def among(cls, active: Sequence[Pack]) -> Outstanding:
        """Return what stands out among these."""
        soonest = min((pack.expires_at for pack in active if pack.expires_at is not None), default=None)
        return cls(
            in_use=min(active, key=Pack.burn_order, default=None),
            largest=_in_burn_order(sorted(active, key=lambda pack: (-pack.remaining_tokens, pack.id))[:LARGEST]),
            expires_at=soonest,
            expiring_tokens=sum(pack.remaining_tokens for pack in active if pack.expires_at == soonest) if soonest else 0,
        )


class Packs:
    """Finds packs and changes their notes."""

    def __init__(self, meter: Meter) -> None:
        self._engine = meter.engine
        self._clock = meter.clock

    def get(self, organization_id: str, pack: str) -> PackLine:
        """Return a pack by id or number (`PK-7`) with its status now. Raises OrganizationNotFound, PackNotFound."""
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            found = self._find(connection, organization_id, pack)
        return PackLine(pack=found, status=found.status(max(self._clock(), account.last_at)))

    def in_burn_order(self, organization_id: str, *, cursor: str | None = None, limit: int = 50) -> Page[PackLine]:
        """Return the active packs in the order in which they are used. Raises OrganizationNotFound, RequestInvalid."""
        check_limit(limit)
        number = number_in(cursor)
        with reading(self._engine, organization_id) as connection:
            now = self._now(connection, organization_id)
            after = None if number is None else self._numbered(connection, organization_id, number)
            found = store.in_burn_order(connection, organization_id, now=now, after=after, limit=limit + 1)
        items = tuple(PackLine(pack=pack, status=PackStatus.ACTIVE) for pack in found[:limit])
        return Page(items, str(items[-1].pack.number) if len(found) > limit else None)

    def outstanding(self, organization_id: str) -> Outstanding:
        """Return what stands out among the active packs, however many they are. Raises OrganizationNotFound."""
        with reading(self._engine, organization_id) as connection:
            now = self._now(connection, organization_id)
            first = store.in_burn_order(connection, organization_id, now=now, after=None, limit=1)
            largest = store.largest(connection, organization_id, now=now, limit=LARGEST)
            expires_at, tokens = store.next_expiry(connection, organization_id, now=now) or (None, 0)
        return Outstanding(
            in_use=first[0] if first else None,
            largest=_in_burn_order(largest),
            expires_at=expires_at,
            expiring_tokens=tokens,
        )

    def _numbered(self, connection: sqlalchemy.Connection, organization_id: str, number: int) -> Pack:
        pack_id = reader.pack_id_of(connection, organization_id, number)
        found = None if pack_id is None else store.find_pack(connection, organization_id, pack_id)
        if found is None:
            raise RequestInvalid(CURSOR_INVALID, field="cursor")
        return found

    def _now(self, connection: sqlalchemy.Connection, organization_id: str) -> datetime:
        return max(self._clock(), reader.account(connection, organization_id).last_at)

    def id_of(self, organization_id: str, pack: str) -> str:
        """Return the id of a pack named by id or number. Raises PackNotFound for a number that is not there."""
        number = pack.upper().removeprefix("PK-")
        if number.isascii() and number.isdigit() and len(number) <= 18:
            with reading(self._engine, organization_id) as connection:
                pack_id = reader.pack_id_of(connection, organization_id, int(number))
            if pack_id is None:
                raise PackNotFound(number=int(number))
            return pack_id
        try:
            decode_id(pack)
        except ValueError:
            raise PackNotFound(pack_id=pack) from None
        return pack

    def set_note(self, organization_id: str, pack: str, note: str, *, by: Actor) -> PackLine:
        """Change a pack's note; the same again changes nothing. Raises RequestInvalid, OrganizationNotFound, PackNotFound."""
        note = check_label(note, field="note", limit=NOTE_LIMIT) or ""
        found = self.get(organization_id, pack).pack
        with transaction(self._engine, organization_id) as connection:
            before = store.find_pack(connection, organization_id, found.id)
            if before is not None and before.note != note:
                store.set_note(connection, organization_id, found.id, note)
                act = Act(
                    organization_id=organization_id,
                    at=self._clock(),
                    actor=by,
                    action="pack.note",
                    subject=found.id,
                    before=_json(before.note),
                    after=_json(note),
                )
                append_act(connection, new_id("act"), act)
        return self.get(organization_id, found.id)

    def _find(self, connection: sqlalchemy.Connection, organization_id: str, pack: str) -> Pack:
        found = store.find_pack(connection, organization_id, self.id_of(organization_id, pack))
        if found is None:
            raise PackNotFound(pack_id=pack)
        return found


def _in_burn_order(packs: Sequence[Pack]) -> tuple[Pack, ...]:
    return tuple(sorted(packs, key=Pack.burn_order))


def _json(note: str) -> str:
    return msgspec.json.encode({"note": note}).decode()
