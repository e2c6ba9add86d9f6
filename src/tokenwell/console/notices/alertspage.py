"""Alerts: what happened, what a person is told of, and the channels of an organization with what was sent through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.frame import frame_of, organization_of, path_of, reads, signed_in
from tokenwell.console.notices.alertrows import row_of, words_of
from tokenwell.console.visits import Visit, console_of
from tokenwell.core.alerts import ABOUT, Schedule
from tokenwell.core.happenings import EventKind
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.notices.subscriptions import ChannelKind, Wishes
from tokenwell.service.notices.wishes import minute_of

ALERTS_A_PAGE = 50
DELIVERIES_A_PAGE = 25
FIELD_LIMIT = 60

KINDS = tuple(ABOUT)
"""The kinds of events in the order in which they are chosen from."""


def time_of(minute: int | None) -> str:
    """Return a minute of the day as a field shows it: `22:30`, empty for none."""
    return "" if minute is None else f"{minute // 60:02}:{minute % 60:02}"


def read_alerts(visit: Visit) -> dict[str, Any]:
    """Return what the alerts page shows."""
    organization = organization_of(visit, Scope.ALERTS_READ)
    assert visit.session is not None
    suite, person = visit.console.suite, visit.session.person
    frame = frame_of(visit, organization)
    words = words_of(visit, frame["f"])
    cursor = visit.request.query_params.get("after")
    page = suite.inbox.history(organization.id, person_id=person.id, cursor=cursor, limit=ALERTS_A_PAGE)
    may_change = visit.may(Scope.ALERTS_WRITE, organization.id)
    is_member = any(each.organization_id == organization.id for each in visit.memberships)
    return frame | {
        "rows": [row_of(each, words) for each in page.items],
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "own": suite.subscriptions.own(organization.id, person.id, is_admin=may_change) if is_member else None,
        "channels": suite.subscriptions.channels(organization.id).items if may_change else (),
        "may_change": may_change,
        "has_mail": suite.subscriptions.has_mail,
        "kinds": KINDS,
        "time_of": time_of,
        "problem": "",
        "secret": "",
        "fields": {},
    }


def read_channel(visit: Visit) -> dict[str, Any]:
    """Return what a channel's page shows: its settings, and the log of its deliveries."""
    organization = organization_of(visit, Scope.ALERTS_WRITE)
    subscriptions = visit.console.suite.subscriptions
    channel = subscriptions.channel(organization.id, visit.request.path_params["channel"])
    cursor = visit.request.query_params.get("after")
    page = subscriptions.deliveries(organization.id, channel.id, cursor=cursor, limit=DELIVERIES_A_PAGE)
    shown = visit.request.query_params.get("delivery")
    opened = subscriptions.attempts(organization.id, channel.id, shown) if shown else None
    return frame_of(visit, organization) | {
        "channel": channel,
        "deliveries": page.items,
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "opened": opened[0] if opened else None,
        "attempts": opened[1] if opened else (),
        "secret": "",
    }


async def change_alerts(visit: Visit) -> Response:
    """Mark alerts as read, note what a person wants to be told of, or add a channel."""
    form = await _checked_form(visit)
    return await run_in_threadpool(_change_alerts, visit, form)


def _change_alerts(visit: Visit, form: Mapping[str, str]) -> Response:
    organization = organization_of(visit, Scope.ALERTS_READ)
    assert visit.session is not None
    suite, person_id, do = visit.console.suite, visit.session.person.id, form.get("do")
    try:
        if do == "read":
            unread = suite.inbox.unread(organization.id, person_id)
            suite.inbox.mark_read(organization.id, person_id, [each.id for each in unread])
            return _done(visit, path_of(organization.id, "alerts"), "alerts_read")
        if do == "own" and any(each.organization_id == organization.id for each in visit.memberships):
            suite.subscriptions.set_own(organization.id, person_id, _wishes(form))
            return _done(visit, path_of(organization.id, "alerts"), "alerts_own")
        if do == "add":
            return _add_channel(visit, organization.id, form)
    except RequestInvalid as error:
        field = str(error.details.get("field", ""))
        return visit.page("alerts", status=400, **(read_alerts(visit) | {"problem": field or "form", "fields": form}))
    raise HTTPException(400)


def _add_channel(visit: Visit, organization_id: str, form: Mapping[str, str]) -> Response:
    organization_of(visit, Scope.ALERTS_WRITE)
    kinds = {kind.value: kind for kind in ChannelKind if kind is not ChannelKind.OWN}
    if form.get("kind") not in kinds:
        raise RequestInvalid("there is no such kind of channel", field="kind")
    created = visit.console.suite.subscriptions.add_channel(
        organization_id,
        kind=kinds[form["kind"]],
        target=form.get("target", "").strip(),
        name=form.get("name", ""),
        wishes=_wishes(form),
        by=visit.principal.actor,
    )
    if created.secret is None:
        return _done(visit, path_of(organization_id, "alerts", created.channel.id), "channel_added")
    visit.request.path_params["channel"] = created.channel.id
    return visit.page("channel", **(read_channel(visit) | {"secret": created.secret}))


async def change_channel(visit: Visit) -> Response:
    """Test a channel, replace its key, disable, enable or remove it, or send a dead delivery again."""
    form = await _checked_form(visit)
    return await run_in_threadpool(_change_channel, visit, form)


def _change_channel(visit: Visit, form: Mapping[str, str]) -> Response:
    organization = organization_of(visit, Scope.ALERTS_WRITE)
    subscriptions, by = visit.console.suite.subscriptions, visit.principal.actor
    channel = subscriptions.channel(organization.id, visit.request.path_params["channel"])
    here, do = path_of(organization.id, "alerts", channel.id), form.get("do")
    if do == "test":
        subscriptions.test(organization.id, channel.id)
    elif do == "rotate":
        secret = subscriptions.rotate(organization.id, channel.id, by=by).secret
        return visit.page("channel", **(read_channel(visit) | {"secret": secret}))
    elif do in ("disable", "enable"):
        subscriptions.change_channel(organization.id, channel.id, is_disabled=do == "disable", by=by)
    elif do == "remove":
        subscriptions.remove_channel(organization.id, channel.id, by=by)
        here = path_of(organization.id, "alerts")
    elif do == "replay":
        subscriptions.replay(organization.id, channel.id, form.get("delivery", ""), by=by)
    else:
        raise HTTPException(400)
    return _done(visit, here, f"channel_{do}")


async def show_unsubscribe(request: Request) -> Response:
    """Ask whether the e-mails that a link names are to be stopped. Looking at the link stops nothing: mail programs do so too."""
    visit = await console_of(request).visit(request)
    return visit.page("unsubscribe", to=request.query_params.get("to", ""), sig=request.query_params.get("sig", ""), stopped=None)


async def unsubscribe(request: Request) -> Response:
    """Stop the e-mails that a signed link names. The signature says that it is meant, wherever the form is sent from (RFC 8058)."""
    visit = await console_of(request).visit(request)
    to, sig = request.query_params.get("to", ""), request.query_params.get("sig", "")
    stopped = await run_in_threadpool(visit.console.suite.subscriptions.unsubscribe, to, sig)
    return visit.page("unsubscribe", to=to, sig=sig, stopped=stopped)


def _wishes(form: Mapping[str, str]) -> Wishes:
    """Return what was chosen: every kind where all are ticked. Raises RequestInvalid."""
    chosen = frozenset(kind for kind in EventKind if form.get(f"kind.{kind.value}"))
    schedule = Schedule(
        quiet_from=minute_of(form.get("quiet_from", "").strip()),
        quiet_until=minute_of(form.get("quiet_until", "").strip()),
        digest_at=minute_of(form.get("digest_at", "").strip()),
    )
    kinds = None if len(chosen) == len(EventKind) else chosen
    return Wishes(
        kinds=kinds, language=form.get("language", "en"), zone=form.get("zone", "UTC").strip() or "UTC", schedule=schedule
    )


async def _checked_form(visit: Visit) -> dict[str, str]:
    async with visit.request.form(max_files=0, max_fields=FIELD_LIMIT) as form:
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    if not visit.allows(fields):
        raise HTTPException(403)
    return fields


def _done(visit: Visit, path: str, said: str) -> Response:
    response = RedirectResponse(path, 303)
    visit.say(response, said)
    return response


ROUTES = [
    Route("/o/{organization}/alerts", reads("alerts", read_alerts), methods=["GET"]),
    Route("/o/{organization}/alerts", signed_in(change_alerts), methods=["POST"]),
    Route("/o/{organization}/alerts/{channel}", reads("channel", read_channel), methods=["GET"]),
    Route("/o/{organization}/alerts/{channel}", signed_in(change_channel), methods=["POST"]),
    Route("/unsubscribe", show_unsubscribe, methods=["GET"]),
    Route("/unsubscribe", unsubscribe, methods=["POST"]),
]
