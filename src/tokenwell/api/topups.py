"""Top-ups: the forecast, and requests for tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.views import pack_view
from tokenwell.api.wire import shaped
from tokenwell.client import shapes, topups
from tokenwell.core.forecast import Outlook
from tokenwell.core.packs import PackStatus
from tokenwell.service.access.scopes import Scope
from tokenwell.service.shapes import PackLine
from tokenwell.service.supply.topups import Topup, TopupStatus

router = Operations(prefix="/v1", tags=["Top-ups"])

TopupId = Annotated[str, Path(description="The request's id.")]
Status = Annotated[TopupStatus | None, Query(description="Only requests of this status.")]
_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "topup_id": "$response.body#/id"}
_OF_AN_ORGANIZATION = "/organizations/{organization_id}/topups"


@router.get("/organizations/{organization_id}/forecast", **reads(Scope.PACKS_READ, "Forecast the balance", answer=topups.Forecast))
def forecast(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Tell when the balance will be Running low, when AI stops, and what packs will forfeit at their expiry."""
    told = call.suite.meter.forecast(organization_id)
    if told is None:
        return call.answer(topups.Forecast(organization_id=organization_id, is_known=False))
    outlooks = {name: _outlook_view(getattr(told, name)) for name in ("early", "expected", "late")}
    points = tuple(shaped(topups.ForecastPoint, point) for point in told.expected.points)
    return call.answer(shaped(topups.Forecast, told, is_known=True, basis=told.basis.value, points=points, **outlooks))


@router.post(
    _OF_AN_ORGANIZATION,
    **writes(
        Scope.TOPUPS_WRITE,
        "Ask for tokens",
        body=topups.NewTopup,
        answer=topups.Topup,
        status=201,
        example={"amount": "5M", "note": "Black Friday"},
        links={name: {"operationId": name, "parameters": _OF_THE_NEW} for name in ("get_topup", "approve_topup", "decline_topup")},
    ),
)
def request_topup(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Ask for tokens; without an amount, for those the forecast suggests. While a request is open, this gives that one."""
    body = call.read(topups.NewTopup)
    asked = call.suite.topups.ask(organization_id, body.amount, note=body.note, key=call.key, by=call.caller.actor)
    return call.answer(topup_view(asked), status=201)


@router.post(
    "/organizations/{organization_id}/emergency",
    **writes(
        Scope.TOPUPS_WRITE,
        "Take emergency tokens",
        body=topups.Emergency,
        answer=topups.EmergencyTaken,
        is_kept=False,
        status=201,
        example={"amount": 500, "note": "Until Monday"},
    ),
)
def take_emergency_tokens(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Advance an organization tokens within the platform's limit, while it is Running low or stopped, once until repaid."""
    body = call.read(topups.Emergency)
    taken = call.suite.emergencies.take(organization_id, body.amount, note=body.note, key=call.key, by=call.caller.actor)
    pack = pack_view(PackLine(pack=taken.pack, status=PackStatus(taken.pack.status(taken.at))))
    answer = shaped(topups.EmergencyTaken, taken, pack=pack, state=taken.state.value)
    return call.answer(answer, status=201, replayed=taken.replayed)


@router.get(_OF_AN_ORGANIZATION, **reads(Scope.TOPUPS_READ, "List requests", answer=shapes.Page[topups.Topup]))
def list_topups(
    call: CurrentCall, organization_id: OrganizationId, status: Status = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List an organization's requests for tokens, the latest first."""
    return call.answer(_page(call, organization_id, status, cursor, limit))


@router.get("/topups", **reads(Scope.TOPUPS_READ, "List every organization's requests", answer=shapes.Page[topups.Topup]))
def list_all_topups(call: CurrentCall, status: Status = None, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the requests of every organization, the latest first."""
    return call.answer(_page(call, None, status, cursor, limit))


@router.get(_OF_AN_ORGANIZATION + "/{topup_id}", **reads(Scope.TOPUPS_READ, "Get a request", answer=topups.Topup))
def get_topup(call: CurrentCall, organization_id: OrganizationId, topup_id: TopupId) -> Response:
    """Return a request for tokens."""
    return call.answer(topup_view(call.suite.topups.get(organization_id, topup_id)))


@router.post(
    _OF_AN_ORGANIZATION + "/{topup_id}/approve",
    **writes(
        Scope.TOPUPS_DECIDE,
        "Approve a request",
        body=topups.TopupApproval,
        answer=topups.TopupApproved,
        example={"expires_at": "2030-01-01T00:00:00Z"},
    ),
)
def approve_topup(call: CurrentCall, organization_id: OrganizationId, topup_id: TopupId) -> Response:
    """Grant a pack for a request, which closes it. The request itself is the key: it never grants twice."""
    body = call.read(topups.TopupApproval)
    terms = {"amount": body.amount, "expires_at": body.expires_at, "priority": body.priority, "note": body.note}
    approved = call.suite.topups.approve(organization_id, topup_id, **terms, by=call.caller.actor)  # type: ignore[arg-type]
    granted = approved.granted
    answer = topups.TopupApproved(
        topup=topup_view(approved.topup),
        pack=pack_view(PackLine(pack=granted.pack, status=PackStatus(granted.pack.status(granted.at)))),
        balance_tokens=granted.balance_tokens,
    )
    return call.answer(answer, replayed=granted.replayed)


@router.post(
    _OF_AN_ORGANIZATION + "/{topup_id}/decline",
    **writes(
        Scope.TOPUPS_DECIDE,
        "Decline a request",
        body=topups.TopupDecline,
        answer=topups.Topup,
        example={"reason": "The budget of this quarter is used up"},
    ),
)
def decline_topup(call: CurrentCall, organization_id: OrganizationId, topup_id: TopupId) -> Response:
    """Decline a request, saying why; again with the same reason changes nothing."""
    body = call.read(topups.TopupDecline)
    return call.answer(topup_view(call.suite.topups.decline(organization_id, topup_id, reason=body.reason, by=call.caller.actor)))


@router.post(_OF_AN_ORGANIZATION + "/{topup_id}/cancel", **writes(Scope.TOPUPS_WRITE, "Cancel a request", answer=topups.Topup))
def cancel_topup(call: CurrentCall, organization_id: OrganizationId, topup_id: TopupId) -> Response:
    """Take a request back: one's own, or as an administrator's key any. Again changes nothing."""
    caller = call.caller
    is_administrator = any(caller.principal.may(each, organization_id) for each in (Scope.TOPUPS_DECIDE, Scope.MEMBERS_WRITE))
    cancelled = call.suite.topups.cancel(organization_id, topup_id, by=caller.actor, is_administrator=is_administrator)
    return call.answer(topup_view(cancelled))


def topup_view(topup: Topup) -> topups.Topup:
    """Return a request as the API shows it."""
    return shaped(
        topups.Topup,
        topup,
        status=topup.status.value,
        asked_by=topup.asked_by.name,
        decided_by=None if topup.decided_by is None else topup.decided_by.name,
    )


def _outlook_view(outlook: Outlook) -> topups.Outlook:
    forfeits = tuple(shaped(topups.Forfeit, forfeit) for forfeit in outlook.forfeits)
    runway = None if outlook.runway is None else outlook.runway // timedelta(seconds=1)
    return shaped(topups.Outlook, outlook, runway_seconds=runway, forfeits=forfeits)


def _page(
    call: CurrentCall, organization_id: str | None, status: TopupStatus | None, cursor: str | None, limit: int
) -> shapes.Page[topups.Topup]:
    statuses = tuple(TopupStatus) if status is None else (status,)
    page = call.suite.topups.list(organization_id, statuses=statuses, cursor=cursor, limit=limit)
    return page_of([topup_view(each) for each in page.items], page.next_cursor)
