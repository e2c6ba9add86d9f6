"""Alerts: what happened, what a person is told of, and channels with what was sent through them; of an organization, or of the
platform, which is told of every organization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.frame import frame_of, home_of, place_of, reads, signed_in
from tokenwell.console.notices.alertrows import row_of, words_of
from tokenwell.console.visits import Visit, console_of
from tokenwell.core.alerts import ABOUT, AT_ONCE, Schedule
from tokenwell.core.happenings import PLATFORM, EventKind
from tokenwell.errors import IdempotencyConflict, RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.notices.subscriptions import ChannelKind, DeliveryStatus, Wishes
from tokenwell.service.notices.wishes import minute_of
from tokenwell.service.ports import new_id

ALERTS_A_PAGE = 50
DELIVERIES_A_PAGE = 25
FIELD_LIMIT = 60

KINDS = tuple(ABOUT)
"""The kinds of events in the order in which they are chosen from."""

STATUSES = (DeliveryStatus.DUE, DeliveryStatus.DELIVERED, DeliveryStatus.DEAD)
"""What the log of a channel can be cut down to."""


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """A form of wishes as it is shown: what is in each field, by its name."""

    fields: Mapping[str, str]

    def has(self, kind: str) -> bool:
        """Return whether a kind of event is ticked."""
        return f"kind.{kind}" in self.fields

    def text(self, name: str) -> str:
        """Return what stands in a field."""
        return self.fields.get(name, "")


def choices_of(kinds: frozenset[EventKind] | None, language: str, zone: str, schedule: Schedule, **more: str) -> Choices:
    """Return wishes as the fields of a form."""
    ticked = {f"kind.{kind.value}": "1" for kind in KINDS if kinds is None or kind in kinds}
    times = {name: time_of(getattr(schedule, name)) for name in ("quiet_from", "quiet_until", "digest_at")}
    return Choices(fields={**ticked, **times, "language": language, "zone": zone, **more})


def time_of(minute: int | None) -> str:
    """Return a minute of the day as a field shows it: `22:30`, empty for none."""
    return "" if minute is None else f"{minute // 60:02}:{minute % 60:02}"


def read_alerts(visit: Visit) -> dict[str, Any]:
    """Return what the alerts page shows, an organization's or the platform's."""
    home, organization = home_of(visit, Scope.ALERTS_READ)
    assert visit.session is not None
    suite, person = visit.console.suite, visit.session.person
    frame = frame_of(visit, organization)
    words = words_of(visit, frame["f"])
    cursor = visit.request.query_params.get("after")
    page = suite.inbox.history(home, person_id=person.id, cursor=cursor, limit=ALERTS_A_PAGE)
    may_change = visit.may(Scope.ALERTS_WRITE, home)
    own = suite.personal.of(home, person.id) if _tells(visit, home) else None
    return frame | {
        "base": place_of(home, "alerts"),
        "rows": [row_of(each, words) for each in page.items],
        "cursor": page.next_cursor,
        "is_first_page": cursor is None,
        "own": None if own is None else choices_of(own.kinds, own.language, own.zone, own.schedule),
        "channels": suite.subscriptions.channels(home).items if may_change else (),
        "may_change": may_change,
        "has_mail": suite.subscriptions.has_mail,
        "kinds": KINDS,
        "problem": "",
        "given": choices_of(None, visit.language, frame["f"].zone_name, AT_ONCE, key=new_id("form")),
        "is_adding": False,
    }


def _tells(visit: Visit, home: str) -> bool:
    """Return whether the person can be told by e-mail of what happens there."""
    return home == PLATFORM or any(each.organization_id == home for each in visit.memberships)


def read_channel(visit: Visit) -> dict[str, Any]:
    """Return what a channel's page shows: its settings, and the log of its deliveries."""
    home, organization = home_of(visit, Scope.ALERTS_WRITE)
    subscriptions, query = visit.console.suite.subscriptions, visit.request.query_params
    channel = subscriptions.channel(home, visit.request.path_params["channel"])
    status = next((each for each in STATUSES if each.value == query.get("status")), None)
    page = subscriptions.deliveries(home, channel.id, status=status, cursor=query.get("after"), limit=DELIVERIES_A_PAGE)
    shown = query.get("delivery")
    opened = subscriptions.attempts(home, channel.id, shown) if shown else None
    base = place_of(home, "alerts", channel.id)

    def link(**changes: str | None) -> str:
        kept = {name: value for name, value in ({"status": status and status.value} | changes).items() if value}
        return f"{base}?{urlencode(kept)}" if kept else base

    return frame_of(visit, organization) | {
        "alerts": place_of(home, "alerts"),
        "base": base,
        "link": link,
        "channel": channel,
        "chosen": status,
        "statuses": STATUSES,
        "deliveries": page.items,
        "cursor": page.next_cursor,
        "is_first_page": "after" not in query,
        "opened": opened[0] if opened else None,
        "attempts": opened[1] if opened else (),
        "secret": "",
        "key": new_id("form"),
        "kinds": KINDS,
        "problem": "",
        "given": choices_of(channel.kinds, channel.language, channel.zone, channel.schedule, name=channel.name),
    }


async def change_alerts(visit: Visit) -> Response:
    """Mark alerts as read, note what a person wants to be told of, or add a channel."""
    form = await _checked_form(visit)
    return await run_in_threadpool(_change_alerts, visit, form)


def _change_alerts(visit: Visit, form: Mapping[str, str]) -> Response:
    home, _ = home_of(visit, Scope.ALERTS_READ)
    assert visit.session is not None
    suite, person_id, do = visit.console.suite, visit.session.person.id, form.get("do")
    try:
        if do == "read":
            unread = suite.inbox.unread(home, person_id)
            suite.inbox.mark_read(home, person_id, [each.id for each in unread])
            return _done(visit, place_of(home, "alerts"), "alerts_read")
        if do == "own" and _tells(visit, home):
            suite.personal.set(home, person_id, wishes_of(form))
            return _done(visit, place_of(home, "alerts"), "alerts_own")
        if do == "add":
            return _add_channel(visit, home, form)
    except (RequestInvalid, IdempotencyConflict) as error:
        typed = {"own": Choices(fields=form)} if do == "own" else {"given": Choices(fields=form), "is_adding": True}
        return visit.page("alerts", status=400, **(read_alerts(visit) | {"problem": problem_of(error)} | typed))
    raise HTTPException(400)


def problem_of(error: RequestInvalid | IdempotencyConflict) -> str:
    """Return the name of the field that is wrong; `used` for a form that was sent before, and changed since."""
    return "used" if isinstance(error, IdempotencyConflict) else str(error.details.get("field", "form"))


def _add_channel(visit: Visit, home: str, form: Mapping[str, str]) -> Response:
    home_of(visit, Scope.ALERTS_WRITE)
    kinds = {kind.value: kind for kind in ChannelKind if kind is not ChannelKind.OWN}
    if form.get("kind") not in kinds:
        raise RequestInvalid("there is no such kind of channel", field="kind")
    created = visit.console.suite.subscriptions.add_channel(
        home,
        kind=kinds[form["kind"]],
        target=form.get("target", "").strip(),
        name=form.get("name", ""),
        wishes=wishes_of(form),
        key=form.get("key") or None,
        by=visit.principal.actor,
    )
    if created.secret is None:
        return _done(visit, place_of(home, "alerts", created.channel.id), "channel_added")
    visit.request.path_params["channel"] = created.channel.id
    return visit.page("channel", **(read_channel(visit) | {"secret": created.secret}))


async def change_channel(visit: Visit) -> Response:
    """Change a channel, test it, replace its key, disable, enable or remove it, or send again what was given up."""
    form = await _checked_form(visit)
    return await run_in_threadpool(_change_channel, visit, form)


def _change_channel(visit: Visit, form: Mapping[str, str]) -> Response:
    home, _ = home_of(visit, Scope.ALERTS_WRITE)
    subscriptions, by = visit.console.suite.subscriptions, visit.principal.actor
    channel = subscriptions.channel(home, visit.request.path_params["channel"])
    here, do, key = place_of(home, "alerts", channel.id), form.get("do"), form.get("key") or None
    if do == "change":
        try:
            subscriptions.change_channel(home, channel.id, name=form.get("name", ""), wishes=wishes_of(form), by=by)
        except RequestInvalid as error:
            typed = {"given": Choices(fields=form), "problem": problem_of(error)}
            return visit.page("channel", status=400, **(read_channel(visit) | typed))
    elif do == "test":
        subscriptions.test(home, channel.id, key=key)
    elif do == "rotate":
        rotated = subscriptions.rotate(home, channel.id, key=key, by=by)
        if rotated.secret is not None:
            return visit.page("channel", **(read_channel(visit) | {"secret": rotated.secret}))
    elif do in ("disable", "enable"):
        subscriptions.change_channel(home, channel.id, is_disabled=do == "disable", by=by)
    elif do == "remove":
        subscriptions.remove_channel(home, channel.id, by=by)
        here = place_of(home, "alerts")
    elif do == "replay":
        subscriptions.replay(home, channel.id, form.get("delivery", ""), by=by)
    elif do == "replay_all":
        subscriptions.replay_all(home, channel.id, by=by)
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
    stopped = await run_in_threadpool(visit.console.suite.personal.unsubscribe, to, sig)
    return visit.page("unsubscribe", to=to, sig=sig, stopped=stopped)


def wishes_of(form: Mapping[str, str]) -> Wishes:
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
    Route("/admin/alerts", reads("alerts", read_alerts), methods=["GET"]),
    Route("/admin/alerts", signed_in(change_alerts), methods=["POST"]),
    Route("/admin/alerts/{channel}", reads("channel", read_channel), methods=["GET"]),
    Route("/admin/alerts/{channel}", signed_in(change_channel), methods=["POST"]),
    Route("/o/{organization}/alerts", reads("alerts", read_alerts), methods=["GET"]),
    Route("/o/{organization}/alerts", signed_in(change_alerts), methods=["POST"]),
    Route("/o/{organization}/alerts/{channel}", reads("channel", read_channel), methods=["GET"]),
    Route("/o/{organization}/alerts/{channel}", signed_in(change_channel), methods=["POST"]),
    Route("/unsubscribe", show_unsubscribe, methods=["GET"]),
    Route("/unsubscribe", unsubscribe, methods=["POST"]),
]
