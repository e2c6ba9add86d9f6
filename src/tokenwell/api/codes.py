"""Codes: batches of redemption codes, and redeeming one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.views import pack_view
from tokenwell.api.wire import shaped
from tokenwell.client import shapes, topups
from tokenwell.service.access.scopes import Scope
from tokenwell.service.shapes import PackLine
from tokenwell.service.supply.codes import CodeBatch

router = Operations(prefix="/v1", tags=["Codes"])

BatchId = Annotated[str, Path(description="The batch's id.")]
_OF_THE_NEW = {"batch_id": "$response.body#/batch/id"}


@router.post(
    "/code-batches",
    **writes(
        Scope.PACKS_WRITE,
        "Make codes",
        body=topups.NewCodes,
        answer=topups.CodesMade,
        status=201,
        example={"amount": "5M", "count": 3, "valid_days": 365, "note": "Spring fair"},
        links={name: {"operationId": name, "parameters": _OF_THE_NEW} for name in ("get_code_batch", "revoke_code_batch")},
    ),
)
def create_codes(call: CurrentCall) -> Response:
    """Make a batch of redemption codes. They are told only in this answer; repeated with the same key, it has none."""
    body = call.read(topups.NewCodes)
    made = call.suite.codes.create(
        body.amount,
        body.count,
        valid_days=body.valid_days,
        expires_at=body.expires_at,
        priority=body.priority,
        note=body.note,
        key=call.key,
        by=call.caller.actor,
    )
    return call.answer(topups.CodesMade(batch=_view(made.batch), codes=made.codes), status=201, replayed=made.replayed)


@router.get("/code-batches", **reads(Scope.PACKS_READ, "List batches of codes", answer=shapes.Page[topups.CodeBatch]))
def list_code_batches(call: CurrentCall, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List batches of redemption codes, the latest first."""
    page = call.suite.codes.list(cursor=cursor, limit=limit)
    return call.answer(page_of([_view(each) for each in page.items], page.next_cursor))


@router.get("/code-batches/{batch_id}", **reads(Scope.PACKS_READ, "Get a batch of codes", answer=topups.CodeBatch))
def get_code_batch(call: CurrentCall, batch_id: BatchId) -> Response:
    """Return a batch, and how many of its codes are redeemed."""
    return call.answer(_view(call.suite.codes.get(batch_id)))


@router.post("/code-batches/{batch_id}/revoke", **writes(Scope.PACKS_WRITE, "Revoke codes", answer=topups.CodeBatch))
def revoke_code_batch(call: CurrentCall, batch_id: BatchId) -> Response:
    """Let nobody redeem what is left of a batch; packs that were granted stay."""
    return call.answer(_view(call.suite.codes.revoke(batch_id, by=call.caller.actor)))


@router.post(
    "/organizations/{organization_id}/redeem",
    **writes(
        Scope.TOPUPS_WRITE,
        "Redeem a code",
        body=topups.Redemption,
        answer=shapes.PackGranted,
        status=201,
        example={"code": "22222-22222-22222-22222"},
    ),
)
def redeem_code(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Grant the pack of a code. The code itself is the key: sent again for the same organization it gives the first answer."""
    body = call.read(topups.Redemption)
    granted = call.suite.codes.redeem(organization_id, body.code, by=call.caller.actor)
    pack = pack_view(PackLine(pack=granted.pack, status=granted.pack.status(granted.at)))
    answer = shaped(shapes.PackGranted, granted, pack=pack, state=granted.state.value)
    return call.answer(answer, status=201, replayed=granted.replayed)


def _view(batch: CodeBatch) -> topups.CodeBatch:
    return shaped(topups.CodeBatch, batch)
