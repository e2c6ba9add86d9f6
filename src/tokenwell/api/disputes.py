"""Disputes of ledger lines, and the comparison with a provider's usage export."""

from __future__ import annotations

import io
from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import disputes as wire
from tokenwell.client import shapes
from tokenwell.service.access.scopes import Scope
from tokenwell.service.records.disputes import Dispute, DisputeStatus
from tokenwell.service.records.reconciliation import Compared, Reconciliation

router = Operations(prefix="/v1", tags=["Disputes and reconciliation"])

DisputeId = Annotated[str, Path(description="The dispute's id.")]
ReconciliationId = Annotated[str, Path(description="The comparison's id.")]
Status = Annotated[DisputeStatus | None, Query(description="Only disputes of this status.")]
_OF_AN_ORGANIZATION = "/organizations/{organization_id}/disputes"
_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "dispute_id": "$response.body#/id"}


@router.post(
    _OF_AN_ORGANIZATION,
    **writes(
        Scope.DISPUTES_WRITE,
        "Dispute a line",
        body=wire.NewDispute,
        answer=wire.Dispute,
        status=201,
        example={"request_id": "conversation-7", "note": "The reply was empty"},
        links={name: {"operationId": name, "parameters": _OF_THE_NEW} for name in ("get_dispute", "answer_dispute")},
    ),
)
def open_dispute(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Dispute the debit line of a request, or another of its parts. A line that is disputed already gives that dispute."""
    body = call.read(wire.NewDispute)
    opened = call.suite.disputes.open(organization_id, body.request_id, part=body.part, note=body.note, by=call.caller.actor)
    return call.answer(_view(opened), status=201)


@router.get(_OF_AN_ORGANIZATION, **reads(Scope.LEDGER_READ, "List disputes", answer=shapes.Page[wire.Dispute]))
def list_disputes(
    call: CurrentCall, organization_id: OrganizationId, status: Status = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List an organization's disputes, the latest first."""
    return call.answer(_page(call, organization_id, status, cursor, limit))


@router.get("/disputes", **reads(Scope.LEDGER_READ, "List every organization's disputes", answer=shapes.Page[wire.Dispute]))
def list_all_disputes(call: CurrentCall, status: Status = None, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the disputes of every organization, the latest first."""
    return call.answer(_page(call, None, status, cursor, limit))


@router.get(_OF_AN_ORGANIZATION + "/{dispute_id}", **reads(Scope.LEDGER_READ, "Get a dispute", answer=wire.Dispute))
def get_dispute(call: CurrentCall, organization_id: OrganizationId, dispute_id: DisputeId) -> Response:
    """Return a dispute."""
    return call.answer(_view(call.suite.disputes.get(organization_id, dispute_id)))


@router.post(
    _OF_AN_ORGANIZATION + "/{dispute_id}/answer",
    **writes(
        Scope.PACKS_WRITE,
        "Answer a dispute",
        body=wire.DisputeAnswer,
        answer=wire.Dispute,
        example={"answer": "It was a long reply"},
    ),
)
def answer_dispute(call: CurrentCall, organization_id: OrganizationId, dispute_id: DisputeId) -> Response:
    """Close a dispute with an answer; again with the same changes nothing."""
    body = call.read(wire.DisputeAnswer)
    return call.answer(_view(call.suite.disputes.answer(organization_id, dispute_id, answer=body.answer, by=call.caller.actor)))


@router.post(
    _OF_AN_ORGANIZATION + "/{dispute_id}/refund",
    **writes(Scope.PACKS_WRITE, "Refund a dispute", body=wire.DisputeRefund, answer=wire.Dispute, example={"answer": "Sorry"}),
)
def refund_dispute(call: CurrentCall, organization_id: OrganizationId, dispute_id: DisputeId) -> Response:
    """Close a dispute by giving the line's tokens back, or some of them. The dispute itself is the key: it gives back once."""
    body = call.read(wire.DisputeRefund)
    refunded = call.suite.disputes.refund(organization_id, dispute_id, body.amount, answer=body.answer, by=call.caller.actor)
    return call.answer(_view(refunded))


@router.post(
    "/reconciliations",
    **writes(
        Scope.PLATFORM_WRITE,
        "Compare an export",
        body=wire.NewReconciliation,
        answer=wire.Reconciliation,
        status=201,
        example={"name": "usage.jsonl", "content": '{"request_id":"a","created_at":"2027-01-31","model":"gpt-5","input_tokens":1}'},
    ),
)
def create_reconciliation(call: CurrentCall) -> Response:
    """Compare a provider's usage export, given as text, with the ledger. The same file again gives the first result."""
    body = call.read(wire.NewReconciliation)
    compared = call.suite.reconciliations.compare(io.BytesIO(body.content.encode()), name=body.name, by=call.caller.actor)
    return call.answer(_compared(compared), status=201, replayed=compared.replayed)


@router.get("/reconciliations", **reads(Scope.PLATFORM_WRITE, "List comparisons", answer=shapes.Page[wire.ReconciliationSummary]))
def list_reconciliations(call: CurrentCall, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the comparisons, the latest first, without their lines."""
    page = call.suite.reconciliations.page(cursor=cursor, limit=limit)
    return call.answer(page_of([_summary(each) for each in page.items], page.next_cursor))


@router.get("/reconciliations/{reconciliation_id}", **reads(Scope.PLATFORM_WRITE, "Get a comparison", answer=wire.Reconciliation))
def get_reconciliation(call: CurrentCall, reconciliation_id: ReconciliationId) -> Response:
    """Return a comparison with its lines, by day and model."""
    return call.answer(_compared(call.suite.reconciliations.get(reconciliation_id)))


def _view(dispute: Dispute) -> wire.Dispute:
    return shaped(
        wire.Dispute,
        dispute,
        status=dispute.status.value,
        opened_by=dispute.opened_by.name,
        decided_by=None if dispute.decided_by is None else dispute.decided_by.name,
    )


def _page(
    call: CurrentCall, organization_id: str | None, status: DisputeStatus | None, cursor: str | None, limit: int
) -> shapes.Page[wire.Dispute]:
    statuses = tuple(DisputeStatus) if status is None else (status,)
    page = call.suite.disputes.list(organization_id, statuses=statuses, cursor=cursor, limit=limit)
    return page_of([_view(each) for each in page.items], page.next_cursor)


def _summary(reconciliation: Reconciliation) -> wire.ReconciliationSummary:
    return shaped(wire.ReconciliationSummary, reconciliation, by=reconciliation.by.name)


def _compared(compared: Compared) -> wire.Reconciliation:
    lines = tuple(shaped(wire.DriftLine, line, drift_tokens=line.drift_tokens) for line in compared.lines)
    summary = _summary(compared.reconciliation)
    return wire.Reconciliation(reconciliation=summary, lines=lines, drift_tokens=compared.drift_tokens)
