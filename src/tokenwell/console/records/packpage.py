"""One pack: what it is, its life, and what was charged to it. And the proof of a balance, pack by pack."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.routing import Route

from tokenwell.console.frame import frame_of, organization_of, path_of, reads
from tokenwell.console.presenters import pack_label, pack_view
from tokenwell.console.records.ledger import line_view
from tokenwell.console.supply.changes import pack_of
from tokenwell.console.visits import Visit
from tokenwell.core.grants import ExtendDetail
from tokenwell.core.journal import Entry, EntryKind
from tokenwell.core.packs import PackStatus
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.records.browsing import LedgerFilter
from tokenwell.service.records.proving import PARTS
from tokenwell.service.shapes import PackLine

LINES_A_PAGE = 50
PACKS_A_PAGE = 25
CHECKED_LINES = 200_000
"""The longest journal that is read through while somebody waits for the page."""


class LifeView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a pack's life. Of an extension, `expires_before` and `expires_after`."""

    seq: int
    at: datetime
    kind: EntryKind
    amount_tokens: int
    change_tokens: int
    pack_remaining_tokens: int | None
    balance_after_tokens: int
    note: str
    expires_before: datetime | None = None
    expires_after: datetime | None = None


def life_view(entry: Entry) -> LifeView:
    """Return a line of a pack's life as it is shown."""
    before = after = None
    if entry.kind is EntryKind.EXTEND and entry.detail:
        detail = msgspec.json.decode(entry.detail, type=ExtendDetail)
        before, after = detail.before, detail.after
    return LifeView(
        seq=entry.seq,
        at=entry.at,
        kind=entry.kind,
        amount_tokens=entry.amount_tokens,
        change_tokens=entry.balance_change_tokens,
        pack_remaining_tokens=entry.pack_remaining_tokens,
        balance_after_tokens=entry.balance_after_tokens,
        note=entry.note,
        expires_before=before,
        expires_after=after,
    )


def read_pack(visit: Visit) -> dict[str, Any]:
    """Return what a pack's page shows."""
    organization = organization_of(visit, Scope.PACKS_READ)
    suite = visit.console.suite
    pack, now = pack_of(visit, organization.id), visit.console.meter.clock()
    status = pack.status(now)
    asked = LedgerFilter(pack=pack.id)
    cursor = visit.request.query_params.get("before")
    sums = suite.browsing.sums(organization.id, asked)
    page = suite.browsing.ledger(organization.id, asked, cursor=cursor, limit=LINES_A_PAGE)
    here = path_of(organization.id, "packs", pack_label(pack.number))

    def link(before: str | None) -> str:
        return here if before is None else f"{here}?{urlencode({'before': before})}"

    return frame_of(visit, organization) | {
        "pack": pack_view(PackLine(pack=pack, status=status), None, now),
        "raw": pack,
        "may_note": visit.may(Scope.PACKS_WRITE, organization.id),
        "may_change": visit.may(Scope.PACKS_WRITE, organization.id) and status in (PackStatus.ACTIVE, PackStatus.DEPLETED),
        "may_revoke": visit.may(Scope.PACKS_WRITE, organization.id) and status is not PackStatus.REVOKED,
        "life": [life_view(entry) for entry in suite.proving.life(organization.id, pack.id)],
        "lines": [line_view(line) for line in page.items],
        "sums": sums,
        "ledger_cursor": page.next_cursor,
        "is_first_ledger_page": cursor is None,
        "link": link,
    }


def read_proof(visit: Visit) -> dict[str, Any]:
    """Return what the proof of a balance shows: its parts, and the packs of the part that is open."""
    organization = organization_of(visit, Scope.LEDGER_READ)
    suite, query = visit.console.suite, visit.request.query_params
    proof = suite.proving.prove(organization.id)
    part, cursor = query.get("part", ""), query.get("after")
    if part and part not in PARTS:
        raise RequestInvalid("there is no such part", field="part")
    page = suite.proving.parts(organization.id, part, cursor=cursor, limit=PACKS_A_PAGE) if part else None
    here = path_of(organization.id, "proof")

    def link(part: str = part, after: str | None = None) -> str:
        asked = {"part": part, "after": after}
        chosen = {name: value for name, value in asked.items() if value}
        return f"{here}?{urlencode(chosen)}" if chosen else here

    return frame_of(visit, organization) | {
        "proof": proof,
        "part": part,
        "packs": page.items if page else (),
        "cursor": page.next_cursor if page else None,
        "is_first_page": cursor is None,
        "link": link,
        "label": pack_label,
        "is_short": proof.seq <= CHECKED_LINES,
        "checked": _checked(visit, organization.id) if "check" in query and proof.seq <= CHECKED_LINES else None,
    }


def _checked(visit: Visit, organization_id: str) -> Any:
    return next(iter(visit.console.meter.verify(organization_id)))


ROUTES = [
    Route("/o/{organization}/packs/{pack}", reads("pack", read_pack)),
    Route("/o/{organization}/proof", reads("proof", read_proof)),
]
