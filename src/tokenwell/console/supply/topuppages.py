"""Top-ups: an organization asks for tokens; a platform administrator approves or declines, on a page or by a letter's link."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, acting, form_of
from tokenwell.console.formats import Distance, distance
from tokenwell.console.forms import checked_form
from tokenwell.console.frame import frame_of, organization_of, path_of, reads
from tokenwell.console.supply.granting import Change, change_of, tokens_per_day
from tokenwell.console.visits import Visit, console_of
from tokenwell.core.health import State
from tokenwell.core.receipts import Balance
from tokenwell.errors import AccessDenied, Conflict, NotFound, RequestsLimited
from tokenwell.service.access.scopes import Scope
from tokenwell.service.supply.topups import WAITING, Topup, TopupStatus

REQUESTS_A_PAGE = 25
NEWS = timedelta(days=3)
"""For how long the packs page tells what became of a request."""


class RequestState(msgspec.Struct, frozen=True, kw_only=True):
    """What the packs page tells of the latest request: `said` is requested, declined, approved or resumed."""

    said: str
    topup: Topup
    ago: Distance
    granted_tokens: int = 0


def request_state(visit: Visit, balance: Balance) -> RequestState | None:
    """Return what there is to tell of an organization's latest request; None where there is nothing new."""
    if not visit.may(Scope.TOPUPS_READ, balance.organization_id):
        return None
    topup = visit.console.suite.topups.latest(balance.organization_id)
    if topup is None or topup.status is TopupStatus.CANCELLED:
        return None
    if topup.is_open:
        return RequestState(said="requested", topup=topup, ago=distance(topup.asked_at, balance.as_of))
    decided_at = topup.decided_at or topup.asked_at
    if balance.as_of - decided_at > NEWS:
        return None
    ago = distance(decided_at, balance.as_of)
    if topup.status is TopupStatus.DECLINED:
        return RequestState(said="declined", topup=topup, ago=ago)
    granted = topup.terms.total_tokens if topup.terms else topup.amount_tokens
    said = "resumed" if _resumed(visit, balance, decided_at) else "approved"
    return RequestState(said=said, topup=topup, ago=ago, granted_tokens=granted)


def _resumed(visit: Visit, balance: Balance, decided_at: datetime) -> bool:
    """Return whether AI was stopped until the request was approved, and runs now."""
    if balance.state is State.AI_STOPPED:
        return False
    before = visit.console.meter.balance(balance.organization_id, as_of=decided_at - timedelta(microseconds=1))
    return before.state is State.AI_STOPPED


def ask(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show the form that asks for tokens, prefilled with those for 30 days, or ask."""
    organization = organization_of(visit, Scope.TOPUPS_WRITE)
    suite = visit.console.suite
    formats = visit.formats(suite.meter.clock())
    suggested = suite.topups.suggestion(organization.id)
    if "amount" not in sent.fields:
        typed = formats.tokens(suggested) if suggested else ""
        sent = Sent(fields={"amount": typed, **sent.fields}, is_final=False, problems={})
    amount, note = sent.amount("amount"), sent.note()
    if sent.is_final and not sent.problems and amount is not None:
        topup = suite.topups.ask(organization.id, amount, note=note, key=sent.key, by=visit.principal.actor)
        return Done(path=path_of(organization.id), said="topup_requested", about=formats.tokens(topup.amount_tokens))
    return frame_of(visit, organization) | form_of(sent, formats) | {"f": formats, "amount": amount, "suggested": suggested}


def redeem(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show the form that takes a redemption code, or redeem one."""
    organization = organization_of(visit, Scope.TOPUPS_WRITE)
    suite = visit.console.suite
    formats = visit.formats(suite.meter.clock())
    if sent.is_final and not sent.problems:
        try:
            granted = suite.codes.redeem(organization.id, sent.text("code"), by=visit.principal.actor)
        except RequestsLimited as error:
            sent.problems["code"] = error.code
        else:
            return Done(path=path_of(organization.id), said="redeemed", about=formats.tokens(granted.pack.total_tokens))
    return frame_of(visit, organization) | form_of(sent, formats) | {"f": formats}


def cancel(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Ask whether a request is to be taken back, or take it back."""
    organization = organization_of(visit, Scope.TOPUPS_WRITE)
    topups, formats = visit.console.suite.topups, visit.formats(visit.console.meter.clock())
    topup = topups.get(organization.id, visit.request.path_params["topup"])
    if sent.is_final:
        topups.cancel(
            organization.id,
            topup.id,
            by=visit.principal.actor,
            is_administrator=visit.may(Scope.MEMBERS_WRITE, organization.id),
        )
        return Done(path=path_of(organization.id), said="topup_cancelled")
    return frame_of(visit, organization) | form_of(sent, formats) | {"f": formats, "topup": topup}


def approve(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what the pack of a request would change, or grant it: the request is closed by it."""
    organization = organization_of(visit, Scope.TOPUPS_DECIDE)
    suite = visit.console.suite
    topup = suite.topups.get(organization.id, visit.request.path_params["topup"])
    balance = suite.meter.balance(organization.id)
    formats = visit.formats(balance.as_of)
    if "amount" not in sent.fields:
        prefilled = {"amount": formats.tokens(topup.amount_tokens), "expires": "90", "note": topup.note}
        sent = Sent(fields={**prefilled, **sent.fields}, is_final=False, problems={})
    amount, note, expires_at = sent.amount("amount"), sent.note(), sent.expiry(formats)
    if sent.is_final and not sent.problems and amount is not None:
        suite.topups.approve(organization.id, topup.id, amount=amount, expires_at=expires_at, note=note, by=visit.principal.actor)
        return Done(path="/admin/requests", said="topup_approved", about=formats.tokens(amount))
    shown = {"f": formats, "topup": topup, "amount": amount, "change": _change(visit, balance, amount)}
    expiry = None if "date" in sent.problems else expires_at
    return frame_of(visit, organization) | form_of(sent, formats) | shown | {"expiry": expiry}


def decline(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Ask why a request is declined, or decline it."""
    organization = organization_of(visit, Scope.TOPUPS_DECIDE)
    topups, formats = visit.console.suite.topups, visit.formats(visit.console.meter.clock())
    topup = topups.get(organization.id, visit.request.path_params["topup"])
    reason = sent.note()
    if sent.is_final and not reason:
        sent.problems["note"] = "reason"
    if sent.is_final and not sent.problems:
        topups.decline(organization.id, topup.id, reason=reason, by=visit.principal.actor)
        return Done(path="/admin/requests", said="topup_declined", about=organization.name)
    return frame_of(visit, organization) | form_of(sent, formats) | {"f": formats, "topup": topup}


def _change(visit: Visit, balance: Balance, amount: int | None) -> Change | None:
    if amount is None:
        return None
    repaid = min(balance.overage_tokens, amount)
    per_day = tokens_per_day(visit, balance)
    return change_of(balance, amount - repaid, tokens_per_day=per_day, repaid_tokens=repaid)


def read_requests(visit: Visit) -> dict[str, Any]:
    """Return the requests of every organization, the latest first: those that wait, or all."""
    frame = frame_of(visit, None)
    query = visit.request.query_params
    shows_all, cursor = query.get("show") == "all", query.get("before") or None
    statuses = tuple(TopupStatus) if shows_all else WAITING
    page = visit.console.suite.topups.list(statuses=statuses, cursor=cursor, limit=REQUESTS_A_PAGE)
    names = visit.console.suite.directory.names(each.organization_id for each in page.items)
    return frame | {
        "rows": page.items,
        "names": names,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "shows_all": shows_all,
        "ago": {each.id: distance(each.asked_at, frame["f"].now) for each in page.items},
    }


async def show_link(request: Request) -> Response:
    """Show what a letter's link would approve; nothing is done before the button is pressed."""
    visit = await console_of(request).visit(request)
    context = await run_in_threadpool(_read_link, visit, request.query_params.get("token", ""))
    return visit.form_page("topup_link", **context)


async def follow_link(request: Request) -> Response:
    """Approve the request of a letter's link, as the person it was sent to."""
    visit = await console_of(request).visit(request)
    fields = await checked_form(visit)
    context = await run_in_threadpool(_follow, visit, fields.get("token", ""))
    return visit.form_page("topup_link", **context)


def _read_link(visit: Visit, token: str) -> dict[str, Any]:
    """Return what a link is about. Raises HTTPException 404 for one that is not ours, or has expired."""
    suite = visit.console.suite
    try:
        topup, actor = suite.approval_links.open(token)
    except (AccessDenied, NotFound):
        raise HTTPException(404) from None
    organization = suite.meter.organization(topup.organization_id)
    formats = visit.formats(suite.meter.clock())
    return {"f": formats, "topup": topup, "name": organization.name, "by": actor.name, "token": token, "is_done": False}


def _follow(visit: Visit, token: str) -> dict[str, Any]:
    context = _read_link(visit, token)
    try:
        approved = visit.console.suite.approval_links.approve(token)
    except Conflict:
        return context
    return context | {"topup": approved.topup, "is_done": True}


ROUTES = [
    *acting("/o/{organization}/topup", "topup", ask),
    *acting("/o/{organization}/redeem", "redeem", redeem),
    *acting("/o/{organization}/requests/{topup}/cancel", "topup_cancel", cancel),
    *acting("/o/{organization}/requests/{topup}/approve", "topup_approve", approve),
    *acting("/o/{organization}/requests/{topup}/decline", "topup_decline", decline),
    Route("/admin/requests", reads("requests", read_requests)),
    Route("/topup", show_link, methods=["GET"]),
    Route("/topup", follow_link, methods=["POST"]),
]
