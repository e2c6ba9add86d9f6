"""Disputes: a line that an organization doubts, from its receipt; answered or refunded by the platform."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, acting
from tokenwell.console.formats import distance
from tokenwell.console.frame import frame_of, organization_of, path_of, reads
from tokenwell.console.records.ledger import LineView, line_view
from tokenwell.console.sheets import sheet_of
from tokenwell.console.supply.granting import change_of
from tokenwell.console.visits import Visit
from tokenwell.core.journal import EntryKind
from tokenwell.service.access.scopes import Scope
from tokenwell.service.records.disputes import Dispute, DisputeStatus

DISPUTES_A_PAGE = 25
ALL = "/admin/disputes"
OPEN = (DisputeStatus.OPEN, DisputeStatus.REFUNDING)


def read_disputes(visit: Visit) -> dict[str, Any]:
    """Return the disputes of the organization of the address, or of every one: those that wait, or all."""
    named = "organization" in visit.request.path_params
    organization = organization_of(visit, Scope.LEDGER_READ) if named else None
    frame = frame_of(visit, organization)
    suite, query = visit.console.suite, visit.request.query_params
    path = path_of(organization.id, "disputes") if organization else ALL
    shows_all, cursor = query.get("show") == "all", query.get("before") or None
    page = suite.disputes.list(
        organization.id if organization else None,
        statuses=tuple(DisputeStatus) if shows_all else OPEN,
        cursor=cursor,
        limit=DISPUTES_A_PAGE,
    )

    def link(**changes: str | None) -> str:
        chosen = {name: text for name, text in ({"show": query.get("show")} | changes).items() if text}
        return f"{path}?{urlencode(chosen)}" if chosen else path

    return frame | {
        "rows": page.items,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "shows_all": shows_all,
        "names": {} if organization else suite.directory.names(each.organization_id for each in page.items),
        "ago": {each.id: distance(each.opened_at, frame["f"].now) for each in page.items},
        "link": link,
    }


def open_dispute(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show the line that is doubted, or dispute it: once, however often it is sent."""
    organization = organization_of(visit, Scope.DISPUTES_WRITE)
    line, back = _line_of(visit, organization.id), path_of(organization.id, "disputes")
    note = sent.note()
    if not note:
        sent.problems["note"] = "doubt"
    if sent.is_final and not sent.problems:
        disputes = visit.console.suite.disputes
        disputes.open(organization.id, line.request_id, part=line.part, note=note, by=visit.principal.actor)
        return Done(path=back, said="dispute_opened")
    if not sent.is_final:
        sent.only_typed()
    address = f"{visit.request.url.path}?{visit.request.url.query}"
    return sheet_of(visit, sent, organization, "dispute", back, nav="ledger", line=line, action=address)


def _line_of(visit: Visit, organization_id: str) -> LineView:
    """Return the debit line of the address. Raises RequestNotFound, HTTPException 404."""
    query = visit.request.query_params
    part = query.get("part", "1")
    lines = visit.console.meter.request(organization_id, query.get("request", ""))
    found = [line for line in lines if str(line.entry.part) == part and line.entry.kind is EntryKind.DEBIT]
    if not found:
        raise HTTPException(404)
    return line_view(found[0])


def refund(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what giving a disputed line back makes of the balance, or give it back: all of it unless less is asked for."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    suite, dispute = visit.console.suite, _dispute_of(visit)
    balance = suite.meter.balance(organization.id)
    sent = sent.prefilled(amount=f"{dispute.amount_tokens:,}", note="")
    amount, answer = sent.amount("amount"), sent.note()
    if amount is not None and amount > dispute.amount_tokens:
        sent.problems["amount"] = "amount_left"
    if sent.is_final and not sent.problems:
        suite.disputes.refund(organization.id, dispute.id, amount, answer=answer, by=visit.principal.actor)
        return Done(path=ALL, said="dispute_refunded", about=f"{amount:,}")
    change = None if "amount" in sent.problems or amount is None else change_of(balance, amount)
    return sheet_of(visit, sent, organization, "dispute_refund", ALL, nav="", dispute=dispute, amount=amount, change=change)


def answer(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Ask what the answer to a dispute is, or answer it: nothing is given back."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    dispute, text = _dispute_of(visit), sent.note()
    if not text:
        sent.problems["note"] = "reason"
    if sent.is_final and not sent.problems:
        visit.console.suite.disputes.answer(organization.id, dispute.id, answer=text, by=visit.principal.actor)
        return Done(path=ALL, said="dispute_answered", about=organization.name)
    if not sent.is_final:
        sent.only_typed()
    return sheet_of(visit, sent, organization, "dispute_answer", ALL, nav="", dispute=dispute)


def _dispute_of(visit: Visit) -> Dispute:
    """Return the dispute of the address. Raises NotFound."""
    parameters = visit.request.path_params
    return visit.console.suite.disputes.get(parameters["organization"], parameters["dispute"])


ROUTES = [
    Route(ALL, reads("disputes", read_disputes)),
    Route("/o/{organization}/disputes", reads("disputes", read_disputes)),
    *acting("/o/{organization}/dispute", "sheet", open_dispute),
    *acting("/o/{organization}/disputes/{dispute}/refund", "sheet", refund),
    *acting("/o/{organization}/disputes/{dispute}/answer", "sheet", answer),
]
