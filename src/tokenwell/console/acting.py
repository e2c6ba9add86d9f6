"""Acting: forms that change something, in front of their page or on a page of their own, previewed and checked by the server.

It works without scripts. It carries an idempotency key, so that sending it twice does one thing, and what was typed stays on show
until it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenwell.console.formats import UTC_NAME, Formats, zone_named
from tokenwell.console.forms import checked_form
from tokenwell.console.frame import signed_in
from tokenwell.console.visits import Visit
from tokenwell.core.amounts import parse_amount
from tokenwell.errors import AmountInvalid, Conflict, IdempotencyConflict, RequestInvalid
from tokenwell.service.ports import new_id

EXPIRY_CHOICES = {"30": 30, "90": 90, "365": 365}
"""The expiries offered, in days."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What an act came to: where to go, and what is said there (a code of `said.html.j2`, and what it is about)."""

    path: str
    said: str
    about: str = ""


class Sent(msgspec.Struct, kw_only=True):
    """A form as it came in. `is_final` says that it is meant, and not only to be looked at first."""

    fields: Mapping[str, str]
    is_final: bool
    problems: dict[str, str] = {}

    def text(self, name: str, otherwise: str = "") -> str:
        """Return what was typed in a field, without the space around it."""
        return self.fields.get(name, otherwise).strip()

    @property
    def key(self) -> str:
        """The idempotency key it carries; a fresh one for a form that is shown for the first time."""
        return self.text("key") or new_id("form")

    def amount(self, name: str, *, least: int = 1) -> int | None:
        """Return an amount that was typed, None (and a problem) where it cannot be read."""
        try:
            return parse_amount(self.text(name), field=name, least=least)
        except AmountInvalid as error:
            self.problems[name] = "amount_range" if "least" in error.details else "amount"
            return None

    def note(self, name: str = "note", *, limit: int = 500) -> str:
        """Return a note; too long a one is a problem."""
        text = self.text(name)
        if len(text) > limit or not all(each.isprintable() for each in text):
            self.problems[name] = "note"
        return text

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        """Return a whole number that was typed; None where the field is empty, or (a problem) holds none within the bounds."""
        text = self.text(name)
        if not text:
            return None
        if text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most:
            return int(text)
        self.problems[name] = "whole"
        return None

    def day(self, name: str) -> date | None:
        """Return a day that was typed; None where the field is empty, or (a problem) holds none."""
        text = self.text(name)
        if not text:
            return None
        try:
            return date.fromisoformat(text)
        except ValueError:
            self.problems[name] = "date"
            return None

    def prefilled(self, **fields: str) -> Sent:
        """Return the form with these words in its fields where it is shown for the first time; what was sent stays as it is."""
        return self if "key" in self.fields else Sent(fields={**fields, **self.fields}, is_final=False, problems={})

    def only_typed(self) -> None:
        """Forget what is wrong with fields that are empty still: a form that is only looked at is not told what it lacks."""
        for name in [name for name in self.problems if name in self.fields and not self.text(name)]:
            del self.problems[name]

    def expiry(self, formats: Formats) -> datetime | None:
        """Return the instant that was chosen, None for never: the end of a day of the zone on show. In the past is a problem."""
        choice = self.text("expires", "90")
        if choice == "never":
            return None
        zone = zone_named(self.text("zone")) or formats.zone
        today = formats.now.astimezone(zone).date()
        if choice in EXPIRY_CHOICES:
            return _end_of(today + timedelta(days=EXPIRY_CHOICES[choice]), zone)
        try:
            chosen = _end_of(date.fromisoformat(self.text("date")), zone)
        except (ValueError, OverflowError):
            self.problems["date"] = "date"
            return None
        if chosen <= formats.now:
            self.problems["date"] = "past"
        return chosen


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What an act came to that is shown in place of its form, once: a new secret."""

    context: dict[str, Any]


Act = Callable[[Visit, Sent], dict[str, Any] | Done | Shown]


def _end_of(day: date, zone: Any) -> datetime:
    return datetime(day.year, day.month, day.day, 23, 59, tzinfo=zone).astimezone(ZoneInfo(UTC_NAME))


def acting(path: str, template: str, act: Act) -> list[Route]:
    """Return the routes of a form: shown with GET, previewed or carried out with POST.

    `act` runs in a thread. It returns what the template shows, its problems among it, or that it is done. What it raises of a kind
    that the form can do something about is shown in the form.
    """

    async def show(visit: Visit) -> Response:
        context = await run_in_threadpool(act, visit, Sent(fields=dict(visit.request.query_params), is_final=False, problems={}))
        assert isinstance(context, dict)
        return visit.page(template, **(context | {"problems": {}}))

    async def send(visit: Visit) -> Response:
        fields = await checked_form(visit)
        sent = Sent(fields=fields, is_final="preview" not in fields, problems={})
        outcome = await run_in_threadpool(_tried, act, visit, sent)
        if isinstance(outcome, Done):
            return _gone_to(visit, outcome)
        if isinstance(outcome, Shown):
            return visit.page(template, **outcome.context)
        return visit.page(template, status=422 if sent.is_final else 200, **outcome)

    return [
        Route(path, signed_in(show), methods=["GET"]),
        Route(path, signed_in(send), methods=["POST"]),
    ]


def _tried(act: Act, visit: Visit, sent: Sent) -> dict[str, Any] | Done | Shown:
    """Act; what the ledger refuses is shown in the form, which is then only looked at again."""
    try:
        return act(visit, sent)
    except IdempotencyConflict:
        sent.problems["form"] = "used"
    except Conflict as error:
        sent.problems["form"] = error.code
    except RequestInvalid as error:
        field = str(error.details.get("field", "form"))
        sent.problems[field if field in sent.fields else "form"] = error.code
    again = Sent(fields=sent.fields, is_final=False, problems=sent.problems)
    shown = act(visit, again)
    assert isinstance(shown, dict)
    return shown


def _gone_to(visit: Visit, done: Done) -> Response:
    response = Response(headers={"HX-Redirect": done.path}) if visit.is_fragment else RedirectResponse(done.path, 303)
    visit.say(response, done.said, done.about)
    return response


def form_of(sent: Sent, formats: Formats) -> dict[str, Any]:
    """Return what every form shows: what was typed, what is wrong with it, its key, and the zone its dates are meant in."""
    return {"fields": dict(sent.fields), "problems": sent.problems, "key": sent.key, "zone": formats.zone_name}
