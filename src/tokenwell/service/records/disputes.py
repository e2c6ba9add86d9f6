"""Disputes: a line of the ledger that an organization doubts, answered or refunded by the platform.

A line is disputed once. Refunding writes down how much first, gives it back under a key of the dispute's own, then closes the
dispute: interrupted, it is completed by refunding again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy

from tokenwell.core.amounts import parse_amount
from tokenwell.core.happenings import Actor
from tokenwell.core.identifiers import check_label
from tokenwell.core.journal import EntryKind
from tokenwell.core.packs import NOTE_LIMIT
from tokenwell.errors import Conflict, NotFound, RequestInvalid, StoreError, TokenwellError
from tokenwell.service.acts import record
from tokenwell.service.meter import Meter
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Page, new_id
from tokenwell.store.reader import reading
from tokenwell.store.records import disputes as store
from tokenwell.store.records.disputes import Dispute, DisputeStatus
from tokenwell.store.writer import transaction

__all__ = ["Dispute", "DisputeStatus", "Disputes"]

_KEY = "dispute:{}"


class Disputes:
    """The disputes in the meter's database."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._engine = meter.engine

    def open(self, organization_id: str, request_id: str, *, part: int = 1, note: str, by: Actor) -> Dispute:
        """Dispute the debit line of a request, or another of its parts; a line that is disputed already gives that dispute.

        Raises RequestNotFound, RequestInvalid, OrganizationNotFound.
        """
        note = _text(note, field="note")
        lines = self._meter.request(organization_id, request_id)
        line = next((each.entry for each in lines if each.entry.part == part and each.entry.kind is EntryKind.DEBIT), None)
        if line is None:
            raise RequestInvalid("the request has no such debit line", field="part")
        dispute = Dispute(
            id=new_id("dsp"),
            organization_id=organization_id,
            seq=line.seq,
            request_id=request_id,
            amount_tokens=line.amount_tokens,
            status=DisputeStatus.OPEN,
            note=note,
            opened_at=self._meter.clock(),
            opened_by=by,
        )
        try:
            with transaction(self._engine, organization_id) as connection:
                store.add_dispute(connection, dispute)
                self._note(connection, dispute, "dispute.open", by=by, after={"seq": line.seq, "note": note})
        except sqlalchemy.exc.IntegrityError:
            with reading(self._engine, organization_id) as connection:
                known = store.find_dispute(connection, organization_id, seq=line.seq)
            if known is None:
                raise
            return known
        return dispute

    def get(self, organization_id: str, dispute_id: str) -> Dispute:
        """Return a dispute. Raises NotFound, OrganizationNotFound."""
        self._meter.organization(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.find_dispute(connection, organization_id, dispute_id=dispute_id)
        if found is None:
            raise NotFound("the organization has no such dispute", dispute_id=dispute_id)
        return found

    def of_lines(self, organization_id: str, seqs: Sequence[int]) -> dict[int, Dispute]:
        """Return the disputes of some lines of an organization's ledger, by line; of lines that nobody disputes there is none."""
        with reading(self._engine, organization_id) as connection:
            return store.disputes_of(connection, organization_id, seqs)

    def list(
        self,
        organization_id: str | None = None,
        *,
        statuses: tuple[DisputeStatus, ...] = tuple(DisputeStatus),
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Dispute]:
        """Return disputes of one organization, or of all, the latest first."""
        check_limit(limit)
        if cursor is not None:
            check_label(cursor, field="cursor")
        if organization_id is not None:
            self._meter.organization(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.disputes(connection, organization_id, statuses=statuses, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def answer(self, organization_id: str, dispute_id: str, *, answer: str, by: Actor) -> Dispute:
        """Close a dispute with an answer; again with the same changes nothing. Raises Conflict for one closed otherwise."""
        answer, dispute = _text(answer, field="answer"), self.get(organization_id, dispute_id)
        now = self._meter.clock()
        with transaction(self._engine, organization_id) as connection:
            if store.decide(connection, dispute, status=DisputeStatus.ANSWERED, answer=answer, by=by, at=now):
                self._note(connection, dispute, "dispute.answer", by=by, after={"answer": answer})
        dispute = self.get(organization_id, dispute_id)
        if (dispute.status, dispute.answer) != (DisputeStatus.ANSWERED, answer):
            raise _closed(dispute)
        return dispute

    def refund(
        self, organization_id: str, dispute_id: str, amount: int | str | None = None, *, answer: str = "", by: Actor
    ) -> Dispute:
        """Give the line's tokens back, or `amount` of them, and close the dispute; again with the same amount changes nothing.

        Raises Conflict for a dispute that was closed otherwise, and what refunding raises: then it is open as before.
        """
        dispute = self.get(organization_id, dispute_id)
        tokens = parse_amount(dispute.amount_tokens if amount is None else amount, most=dispute.amount_tokens)
        answer = check_label(answer, field="answer", limit=NOTE_LIMIT) or ""
        now = self._meter.clock()
        with transaction(self._engine, organization_id) as connection:
            refunding = DisputeStatus.REFUNDING
            store.decide(connection, dispute, status=refunding, answer=answer, by=by, at=now, refund_tokens=tokens)
        dispute = self.get(organization_id, dispute_id)
        if dispute.refund_tokens != tokens:
            raise _closed(dispute)
        if dispute.status is DisputeStatus.REFUNDING:
            self._give_back(dispute, by)
        return self.get(organization_id, dispute_id)

    def _give_back(self, dispute: Dispute, by: Actor) -> None:
        with self._undone_if_refused(dispute):
            self._meter.refund(
                dispute.organization_id,
                dispute.request_id,
                dispute.refund_tokens,
                note=dispute.answer or dispute.note,
                key=_KEY.format(dispute.id),
                by=by,
            )
        with transaction(self._engine, dispute.organization_id) as connection:
            if store.finish_refund(connection, dispute):
                after = {"refund_tokens": dispute.refund_tokens, "answer": dispute.answer}
                self._note(connection, dispute, "dispute.refund", by=by, after=after)

    @contextmanager
    def _undone_if_refused(self, dispute: Dispute) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise  # perhaps it was refunded: refunding again completes it
        except TokenwellError:
            with transaction(self._engine, dispute.organization_id) as connection:
                store.undo_refund(connection, dispute)
            raise

    def _note(self, connection: sqlalchemy.Connection, dispute: Dispute, action: str, *, by: Actor, after: dict[str, Any]) -> None:
        owner, at = dispute.organization_id, self._meter.clock()
        record(connection, by=by, at=at, organization_id=owner, action=action, subject=dispute.id, after=after)


def _closed(dispute: Dispute) -> Conflict:
    return Conflict(f"the dispute is {dispute.status.value} already", dispute_id=dispute.id, status=dispute.status.value)


def _text(text: str, *, field: str) -> str:
    checked = (check_label(text, field=field, limit=NOTE_LIMIT) or "").strip()
    if not checked:
        raise RequestInvalid(f"{field} must not be empty", field=field)
    return checked
