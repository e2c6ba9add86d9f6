"""The profile: one's name, language and time zone, password, second factor, and the sessions that are open."""

from __future__ import annotations

from functools import partial
from typing import Any
from zoneinfo import available_timezones

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.acting import Done, Sent, Shown, acting
from tokenwell.console.catalogue import LANGUAGES
from tokenwell.console.formats import zone_named
from tokenwell.console.forms import checked_form
from tokenwell.console.frame import around, place_of, signed_in
from tokenwell.console.identity.signin import LANGUAGE_SECONDS
from tokenwell.console.notices.alertspage import time_of
from tokenwell.console.sheets import refused, sheet_of
from tokenwell.console.visits import LANGUAGE_COOKIE, Visit
from tokenwell.core.happenings import PLATFORM
from tokenwell.errors import AccessDenied, RequestInvalid
from tokenwell.service.identity.people import Person
from tokenwell.service.notices.wishes import Own
from tokenwell.service.ports import Organization

PATH = "/profile"

ORGANIZATIONS_SHOWN = 20
"""Of how many organizations the profile tells what one is told of."""


async def show(visit: Visit) -> Response:
    """Show the profile."""
    return visit.page("profile", **await run_in_threadpool(_read, visit))


def _read(visit: Visit) -> dict[str, Any]:
    person, suite = _person(visit), visit.console.suite
    token = visit.request.cookies.get(visit.console.cookies.session)
    assert visit.session is not None
    return around(visit, home_of(visit)) | {
        "told_of": _told_of(visit, person),
        "time_of": time_of,
        "codes_left": suite.second_factors.codes_left(person.id),
        "sessions": suite.people.sessions_of(person.id, token),
        "zones": sorted(available_timezones()),
        "zone": visit.session.zone or "",
    }


def _told_of(visit: Visit, person: Person) -> list[tuple[str, str, Own]]:
    """Return what the person is told of by e-mail: for each of their organizations its name and where that is changed; the
    platform has no name."""
    homes = [(each.organization_id, each.organization_name) for each in visit.memberships[:ORGANIZATIONS_SHOWN]]
    homes = [*([(PLATFORM, "")] if visit.is_platform else []), *homes]
    return [(name, place_of(home, "alerts"), visit.console.suite.personal.of(home, person.id)) for home, name in homes]


def home_of(visit: Visit) -> Organization | None:
    """Return the organization whose pages the frame leads to, where there is one."""
    if visit.is_platform or not visit.memberships:
        return None
    return visit.console.meter.organization(visit.memberships[0].organization_id)


def _person(visit: Visit) -> Person:
    assert visit.session is not None
    return visit.session.person


async def keep(visit: Visit) -> Response:
    """Keep name, language and time zone."""
    form = await checked_form(visit)
    language, zone, name = form.get("language", ""), form.get("zone", ""), form.get("name", "")
    if language not in LANGUAGES or (zone and zone_named(zone) is None):
        raise RequestInvalid("no such language or time zone", field="zone")
    await run_in_threadpool(
        partial(visit.console.people.keep_profile, _person(visit).id, name=name, language=language, zone=zone or None)
    )
    response = RedirectResponse(PATH, 303)
    visit.console.cookies.put(response, LANGUAGE_COOKIE, language, seconds=LANGUAGE_SECONDS)
    visit.say(response, "profile_kept")
    return response


def change_password(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Choose another password, with the one there is; every session ends, this one too."""
    person, people = _person(visit), visit.console.people
    if sent.is_final:
        try:
            people.check_password(person, sent.fields.get("current", ""), source=visit.source)
            people.set_password(person.id, sent.fields.get("password", ""), by=visit.principal.actor)
            return Done(path="/sign-in", said="password_changed")
        except AccessDenied as error:
            sent.problems["current"] = error.code
        except RequestInvalid as error:
            refused(sent, error)
    return sheet_of(visit, _without_passwords(sent), home_of(visit), "password", PATH)


def enrol(visit: Visit, sent: Sent) -> dict[str, Any] | Done | Shown:
    """Add a second factor: scan, type the first code, keep the recovery codes."""
    person, factors = _person(visit), visit.console.suite.second_factors
    offer = factors.begin(person, sent.text("sealed"))
    if sent.is_final:
        try:
            codes = factors.confirm(person, offer.sealed, sent.text("code"), by=visit.principal.actor)
            return Shown(context=sheet_of(visit, sent, home_of(visit), "recovery_codes", PATH, codes=codes))
        except RequestInvalid:
            sent.problems["code"] = "second_factor_code"
    return sheet_of(visit, sent, home_of(visit), "second_factor", PATH, offer=offer)


def drop_factor(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Remove the second factor, with the password."""
    person, factors = _person(visit), visit.console.suite.second_factors
    if sent.is_final:
        try:
            factors.remove(person, sent.fields.get("current", ""), source=visit.source, by=visit.principal.actor)
            return Done(path=PATH, said="factor_removed")
        except AccessDenied as error:
            sent.problems["current"] = error.code
    return sheet_of(visit, _without_passwords(sent), home_of(visit), "second_factor_remove", PATH)


def _without_passwords(sent: Sent) -> Sent:
    """Return a form as it is shown again: passwords are typed again."""
    kept = {name: value for name, value in sent.fields.items() if name not in ("current", "password")}
    return Sent(fields=kept, is_final=sent.is_final, problems=sent.problems)


ROUTES = [
    Route(PATH, signed_in(show), methods=["GET"]),
    Route(PATH, signed_in(keep), methods=["POST"]),
    *acting(f"{PATH}/password", "sheet", change_password),
    *acting(f"{PATH}/second-factor", "sheet", enrol),
    *acting(f"{PATH}/second-factor/remove", "sheet", drop_factor),
]
