"""Bodies and shapes of disputes and reconciliations, and the calls of the SDK on them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec

from tokenwell.client.bodies import Amount, Body
from tokenwell.client.requests import Request, Tokens, at, read, write
from tokenwell.client.shapes import Page, Shape

Status = Literal["open", "refunding", "refunded", "answered"]


class NewDispute(Body, frozen=True, kw_only=True):
    """A line to dispute: the debit of a request, `part` where it drew on several packs."""

    request_id: str
    note: str
    part: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


class DisputeAnswer(Body, frozen=True, kw_only=True):
    """What the organization reads."""

    answer: str


class DisputeRefund(Body, frozen=True, kw_only=True):
    """How much to give back, null for the whole line, and what the organization reads."""

    amount: Amount | None = None
    answer: str = ""


class Dispute(Shape, frozen=True, kw_only=True):
    """A line of the ledger that somebody disputes."""

    id: str
    organization_id: str
    seq: int
    request_id: str
    amount_tokens: int
    status: Status
    note: str
    opened_at: datetime
    opened_by: str
    answer: str
    refund_tokens: int | None
    decided_at: datetime | None
    decided_by: str | None


class NewReconciliation(Body, frozen=True, kw_only=True):
    """A provider's usage export as text: CSV, JSON lines or JSON."""

    content: str
    name: str = ""


class DriftLine(Shape, frozen=True, kw_only=True):
    """One model on one day in UTC, as the provider says and as the ledger says; drift is what the provider counted more."""

    day: date
    model: str
    their_input_tokens: int
    their_output_tokens: int
    their_requests: int
    our_input_tokens: int
    our_output_tokens: int
    our_requests: int
    drift_tokens: int


class ReconciliationSummary(Shape, frozen=True, kw_only=True):
    """An export that was compared. Of its records, `named` had a request id, and `found` of these are in the ledger; `timed` others
    have a charge of their model at about their time."""

    id: str
    file_hash: str
    name: str
    form: str
    records: int
    named: int
    found: int
    timed: int
    at: datetime
    by: str


class Reconciliation(Shape, frozen=True, kw_only=True):
    """A comparison with its lines."""

    reconciliation: ReconciliationSummary
    lines: tuple[DriftLine, ...]
    drift_tokens: int


class DisputeCalls:
    """Builds requests, as `Calls` does."""

    def open_dispute(
        self, organization_id: str, request_id: str, *, note: str, part: int = 1, key: str | None = None
    ) -> Request[Dispute]:
        """Dispute a line of the ledger; a line that is disputed already gives that dispute."""
        body = NewDispute(request_id=request_id, note=note, part=part)
        return write("POST", at(organization_id, "disputes"), Dispute, key, body)

    def list_disputes(
        self, organization_id: str, *, status: Status | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[Dispute]]:
        """List an organization's disputes, the latest first."""
        return read(at(organization_id, "disputes"), Page[Dispute], status=status, cursor=cursor, limit=limit)

    def list_all_disputes(
        self, *, status: Status | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[Dispute]]:
        """List the disputes of every organization, the latest first."""
        return read("/v1/disputes", Page[Dispute], status=status, cursor=cursor, limit=limit)

    def get_dispute(self, organization_id: str, dispute_id: str) -> Request[Dispute]:
        """Return a dispute."""
        return read(at(organization_id, "disputes", dispute_id), Dispute)

    def answer_dispute(self, organization_id: str, dispute_id: str, *, answer: str, key: str | None = None) -> Request[Dispute]:
        """Close a dispute with an answer."""
        return write("POST", at(organization_id, "disputes", dispute_id, "answer"), Dispute, key, DisputeAnswer(answer=answer))

    def refund_dispute(
        self, organization_id: str, dispute_id: str, amount: Tokens | None = None, *, answer: str = "", key: str | None = None
    ) -> Request[Dispute]:
        """Close a dispute by giving the line's tokens back, or some of them."""
        body = DisputeRefund(amount=amount, answer=answer)
        return write("POST", at(organization_id, "disputes", dispute_id, "refund"), Dispute, key, body)

    def create_reconciliation(self, content: str, *, name: str = "", key: str | None = None) -> Request[Reconciliation]:
        """Compare a provider's usage export, as text, with the ledger."""
        return write("POST", "/v1/reconciliations", Reconciliation, key, NewReconciliation(content=content, name=name))

    def list_reconciliations(self, *, cursor: str | None = None, limit: int | None = None) -> Request[Page[ReconciliationSummary]]:
        """List the comparisons, the latest first."""
        return read("/v1/reconciliations", Page[ReconciliationSummary], cursor=cursor, limit=limit)

    def get_reconciliation(self, reconciliation_id: str) -> Request[Reconciliation]:
        """Return a comparison with its lines."""
        return read(f"/v1/reconciliations/{quote(reconciliation_id, safe='')}", Reconciliation)
