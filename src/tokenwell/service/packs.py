"""Packs one by one: found by id or number, and their notes."""

from __future__ import annotations

import msgspec
import sqlalchemy

from tokenwell.core.happenings import Act, Actor
from tokenwell.core.identifiers import check_label, decode_id
from tokenwell.core.packs import NOTE_LIMIT, Pack
from tokenwell.errors import PackNotFound
from tokenwell.service.meter import Meter
from tokenwell.service.ports import new_id
from tokenwell.service.shapes import PackLine
from tokenwell.store import packs as store
from tokenwell.store import reader
from tokenwell.store.happenings import append_act
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction


class Packs:
    """Finds single packs and changes their notes."""

    def __init__(self, meter: Meter) -> None:
        self._engine = meter.engine
        self._clock = meter.clock

    def get(self, organization_id: str, pack: str) -> PackLine:
        """Return a pack by id or number (`PK-7`) with its status now. Raises OrganizationNotFound, PackNotFound."""
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            found = self._find(connection, organization_id, pack)
        return PackLine(pack=found, status=found.status(max(self._clock(), account.last_at)))

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


def _json(note: str) -> str:
    return msgspec.json.encode({"note": note}).decode()
