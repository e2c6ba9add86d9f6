"""Grants of the platform: the packs granted last in every organization, and the recurring grants that make the next ones."""

from __future__ import annotations

from datetime import date, time
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, acting
from tokenwell.console.formats import Formats, distance, zone_named
from tokenwell.console.frame import check_platform, frame_of, organization_of, reads
from tokenwell.console.presenters import pack_label
from tokenwell.console.sheets import sheet_of
from tokenwell.console.visits import Visit
from tokenwell.core.schedules import MOST_EVERY, Recurrence, Unit
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.supply.schedules import VALID_LIMIT_DAYS, Schedule

GRANTS_A_PAGE = 50
SCHEDULES_A_PAGE = 25
OFFERED = 200
"""How many organizations the form offers by name; of others the id is typed."""

BACK = "/admin/grants"
UNITS = tuple(Unit)


def read_grants(visit: Visit) -> dict[str, Any]:
    """Return the recurring grants, and the packs granted last, of every organization."""
    frame = frame_of(visit, None)
    suite, query = visit.console.suite, visit.request.query_params
    asked = {name: query.get(name) or None for name in ("before", "schedules", "schedules_after")}
    shows_all = asked["schedules"] == "all"
    page = suite.directory.grants(cursor=asked["before"], limit=GRANTS_A_PAGE)
    schedules = suite.schedules.list(going=not shows_all, cursor=asked["schedules_after"], limit=SCHEDULES_A_PAGE)

    def link(**changes: str | None) -> str:
        chosen = {name: text for name, text in (asked | changes).items() if text}
        return f"{BACK}?{urlencode(chosen)}" if chosen else BACK

    now = visit.console.meter.clock()
    return frame | {
        "rows": page.items,
        "cursor": page.next_cursor,
        "is_first_page": asked["before"] is None,
        "label": pack_label,
        "now": now,
        "link": link,
        "schedules": schedules.items,
        "schedules_cursor": schedules.next_cursor,
        "is_first_schedules_page": asked["schedules_after"] is None,
        "shows_all": shows_all,
        "names": suite.directory.names(each.organization_id for each in schedules.items),
        "far": {each.id: distance(each.next_at, now) for each in schedules.items if each.next_at},
        "zoned": lambda schedule: _zoned(visit, schedule.zone),
    }


def _zoned(visit: Visit, zone: str) -> Formats:
    """Return how the visitor reads instants on the clocks of a schedule."""
    return Formats(visit.language, zone, visit.console.meter.clock())


def create(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show when a recurring grant would be due, or make it."""
    check_platform(visit)
    suite = visit.console.suite
    formats = visit.formats(suite.meter.clock())
    today = formats.now.astimezone(formats.zone).date()
    sent = sent.prefilled(
        organization=visit.request.query_params.get("organization", ""),
        amount="5,000,000",
        every="1",
        unit=Unit.MONTH.value,
        first_day=today.isoformat(),
        at="09:00",
        in_zone=formats.zone_name,
        valid_days="31",
        last_day="",
        note="",
    )
    organization_id, names = sent.text("organization"), suite.directory.names([sent.text("organization")])
    if organization_id not in names:
        sent.problems["organization"] = "organization"
    amount, note, valid_days = sent.amount("amount"), sent.note(), sent.whole("valid_days", least=1, most=VALID_LIMIT_DAYS)
    rhythm = _rhythm_of(sent)
    if sent.is_final and not sent.problems and rhythm is not None and amount is not None:
        recurrence, zone = rhythm
        suite.schedules.create(
            organization_id,
            amount,
            unit=recurrence.unit,
            every=recurrence.every,
            first_day=recurrence.first_day,
            at=recurrence.at,
            last_day=recurrence.last_day,
            zone=zone,
            valid_days=valid_days,
            note=note,
            key=sent.key,
            by=visit.principal.actor,
        )
        return Done(path=BACK, said="schedule_created", about=names[organization_id])
    if not sent.is_final:
        sent.only_typed()
    offered = suite.meter.organizations(limit=OFFERED).items
    coming = _coming(visit, rhythm, valid_days)
    return sheet_of(
        visit, sent, None, "schedule", BACK, nav="grants", amount=amount, offered=offered, name=names.get(organization_id), **coming
    )


def _rhythm_of(sent: Sent) -> tuple[Recurrence, str] | None:
    """Return the rhythm that was typed and its zone, None (and problems) where it is none."""
    every, first_day, last_day = sent.whole("every", least=1, most=MOST_EVERY), sent.day("first_day"), sent.day("last_day")
    at, zone = _time_of(sent), sent.text("in_zone")
    for name, value in (("every", every), ("first_day", first_day)):
        if value is None:
            sent.problems.setdefault(name, "whole" if name == "every" else "date")
    if zone_named(zone) is None:
        sent.problems["in_zone"] = "zone"
    try:
        unit = Unit(sent.text("unit"))
        if at is None or not isinstance(every, int) or not isinstance(first_day, date) or "in_zone" in sent.problems:
            return None
        return Recurrence(unit=unit, every=every, first_day=first_day, at=at, last_day=last_day), zone
    except ValueError:
        sent.problems["unit"] = "request_invalid"
    except RequestInvalid:
        sent.problems["last_day"] = "before_first"
    return None


def _time_of(sent: Sent) -> time | None:
    text = sent.text("at")
    try:
        if len(text) == 5 and text[2] == ":" and text.isascii():
            return time(int(text[:2]), int(text[3:]))
    except ValueError:
        pass
    sent.problems["at"] = "time"
    return None


def _coming(visit: Visit, rhythm: tuple[Recurrence, str] | None, valid_days: int | None) -> dict[str, Any]:
    """Return the next occurrences, on the clocks of their zone."""
    if rhythm is None:
        return {"coming": (), "zoned": None}
    recurrence, zone = rhythm
    return {
        "coming": visit.console.suite.schedules.upcoming(recurrence, zone, valid_days=valid_days),
        "zoned": _zoned(visit, zone),
    }


def change(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what the next occurrences would grant, or change them."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    suite, schedule = visit.console.suite, _schedule_of(visit)
    last = schedule.recurrence.last_day
    sent = sent.prefilled(
        amount=f"{schedule.amount_tokens:,}",
        valid_days="" if schedule.valid_days is None else str(schedule.valid_days),
        last_day="" if last is None else last.isoformat(),
        note=schedule.note,
    )
    amount, note, valid_days = sent.amount("amount"), sent.note(), sent.whole("valid_days", least=1, most=VALID_LIMIT_DAYS)
    last_day = sent.day("last_day")
    if last_day is not None and last_day < schedule.recurrence.first_day:
        sent.problems["last_day"] = "before_first"
    if sent.is_final and not sent.problems and amount is not None:
        suite.schedules.change(
            organization.id,
            schedule.id,
            amount=amount,
            last_day=last_day,
            valid_days=valid_days,
            priority=schedule.priority,
            note=note,
            by=visit.principal.actor,
        )
        return Done(path=BACK, said="schedule_changed", about=organization.name)
    wanted = None
    if "last_day" not in sent.problems:
        often = schedule.recurrence
        wanted = Recurrence(unit=often.unit, every=often.every, first_day=often.first_day, at=often.at, last_day=last_day)
    shown = _coming(visit, None if wanted is None else (wanted, schedule.zone), valid_days)
    return sheet_of(
        visit, sent, organization, "schedule_change", BACK, nav="", amount=amount, schedule=schedule, valid_days=valid_days, **shown
    )


def switch(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Pause a schedule, let it go on, or end it."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    act = visit.request.path_params["act"]
    if act not in ("pause", "resume", "end"):
        raise HTTPException(404)
    suite, schedule = visit.console.suite, _schedule_of(visit)
    if sent.is_final:
        getattr(suite.schedules, act)(organization.id, schedule.id, by=visit.principal.actor)
        return Done(path=BACK, said=f"schedule_{act}", about=organization.name)
    coming = _coming(visit, (schedule.recurrence, schedule.zone), schedule.valid_days)
    return sheet_of(visit, sent, organization, f"schedule_{act}", BACK, nav="", schedule=schedule, **coming)


def _schedule_of(visit: Visit) -> Schedule:
    """Return the schedule of the address. Raises NotFound."""
    parameters = visit.request.path_params
    return visit.console.suite.schedules.get(parameters["organization"], parameters["schedule"])


ROUTES = [
    Route(BACK, reads("grants", read_grants)),
    *acting("/admin/grants/schedule", "sheet", create),
    *acting("/o/{organization}/schedules/{schedule}/change", "sheet", change),
    *acting("/o/{organization}/schedules/{schedule}/{act}", "sheet", switch),
]
