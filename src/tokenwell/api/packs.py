"""Packs: granting, listing, revoking, extending."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.views import pack_view
from tokenwell.api.wire import shaped
from tokenwell.client import bodies, shapes
from tokenwell.core.instants import parse_instant
from tokenwell.core.packs import PackStatus
from tokenwell.service.access.scopes import Scope
from tokenwell.service.shapes import PackLine

router = Operations(prefix="/v1/organizations/{organization_id}", tags=["Packs"])

PackId = Annotated[str, Path(description="The pack's id, or its number (`PK-7`).", examples=["PK-1"])]
_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "pack": "$response.body#/pack/id"}


@router.post(
    "/packs",
    **writes(
        Scope.PACKS_WRITE,
        "Grant a pack",
        body=bodies.NewPack,
        answer=shapes.PackGranted,
        is_kept=False,
        status=201,
        example={"amount": "5M", "note": "Spring"},
        links={name: {"operationId": name, "parameters": _OF_THE_NEW} for name in ("get_pack", "extend_pack", "revoke_pack")},
    ),
)
def grant_pack(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Grant a pack. Overage is repaid out of it at once."""
    body = call.read(bodies.NewPack)
    granted = call.suite.meter.grant(
        organization_id,
        body.amount,
        expires_at=body.expires_at,
        priority=body.priority,
        note=body.note,
        key=call.key,
        by=call.caller.actor,
    )
    pack = pack_view(PackLine(pack=granted.pack, status=granted.pack.status(granted.at)))
    answer = shaped(shapes.PackGranted, granted, pack=pack, state=granted.state.value)
    return call.answer(answer, status=201, replayed=granted.replayed)


@router.get("/packs", **reads(Scope.PACKS_READ, "List packs", answer=shapes.Page[shapes.Pack]))
def list_packs(
    call: CurrentCall,
    organization_id: OrganizationId,
    status: Annotated[PackStatus | None, Query(description="Only packs of this status.")] = None,
    as_of: Annotated[str | None, Query(description="A past instant to read the packs at.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List packs, the latest grant first."""
    at = None if as_of is None else parse_instant(as_of, field="as_of")
    page = call.suite.meter.packs(organization_id, status=status, as_of=at, cursor=cursor, limit=limit)
    return call.answer(page_of([pack_view(line) for line in page.items], page.next_cursor))


@router.get("/packs/{pack}", **reads(Scope.PACKS_READ, "Get a pack", answer=shapes.Pack))
def get_pack(call: CurrentCall, organization_id: OrganizationId, pack: PackId) -> Response:
    """Return a pack."""
    return call.answer(pack_view(call.suite.packs.get(organization_id, pack)))


@router.post(
    "/packs/{pack}/revoke",
    **writes(
        Scope.PACKS_WRITE,
        "Revoke a pack",
        body=bodies.Revocation,
        answer=shapes.PackRevoked,
        is_kept=False,
        example={"cancel_holds": False, "note": "Granted by mistake"},
    ),
)
def revoke_pack(call: CurrentCall, organization_id: OrganizationId, pack: PackId) -> Response:
    """Revoke a pack. What is left of it stops counting at once; open holds may still spend it unless they are cancelled."""
    body = call.read(bodies.Revocation)
    revoked = call.suite.meter.revoke(
        organization_id, pack, cancel_holds=body.cancel_holds, note=body.note, key=call.key, by=call.caller.actor
    )
    return call.answer(shaped(shapes.PackRevoked, revoked, state=revoked.state.value), replayed=revoked.replayed)


@router.post(
    "/packs/{pack}/extend",
    **writes(
        Scope.PACKS_WRITE,
        "Extend a pack",
        body=bodies.Extension,
        answer=shapes.PackExtended,
        is_kept=False,
        example={"expires_at": "2030-01-01T00:00:00Z"},
    ),
)
def extend_pack(call: CurrentCall, organization_id: OrganizationId, pack: PackId) -> Response:
    """Move a pack's expiry to a later instant, or to never."""
    body = call.read(bodies.Extension)
    extended = call.suite.meter.extend(
        organization_id, pack, expires_at=body.expires_at, note=body.note, key=call.key, by=call.caller.actor
    )
    return call.answer(shaped(shapes.PackExtended, extended, state=extended.state.value), replayed=extended.replayed)


@router.put(
    "/packs/{pack}/note",
    **writes(Scope.PACKS_WRITE, "Change a pack's note", body=bodies.PackNote, answer=shapes.Pack, example={"note": "Spring, paid"}),
)
def set_pack_note(call: CurrentCall, organization_id: OrganizationId, pack: PackId) -> Response:
    """Change a pack's note; the same note again changes nothing."""
    body = call.read(bodies.PackNote)
    return call.answer(pack_view(call.suite.packs.set_note(organization_id, pack, body.note, by=call.caller.actor)))
