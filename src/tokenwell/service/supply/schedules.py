"""Schedules: packs that are granted again and again, each occurrence once.

A pack is granted under a key that belongs to the schedule and the occurrence, and only then the schedule moves on: whatever is
interrupted is done again and grants nothing more. What was missed while nothing ran is caught up, unless it is too old.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import structlog
from sqlalchemy import Connection

from tokenwell.core.amounts import parse_amount
from tokenwell.core.happenings import SYSTEM, Actor
from tokenwell.core.identifiers import check_label
from tokenwell.core.packs import NOTE_LIMIT, PRIORITY_LIMIT
from tokenwell.core.schedules import Recurrence, Unit, instant_of
from tokenwell.errors import Conflict, IdempotencyConflict, NotFound, RequestInvalid, StoreError, TokenwellError
from tokenwell.service.acts import differences, record
from tokenwell.service.meter import Meter
from tokenwell.service.pages import check_limit, page_of
from tokenwell.service.ports import Page, new_id
from tokenwell.store.access.creations import claim
from tokenwell.store.reader import reading
from tokenwell.store.supply import schedules as store
from tokenwell.store.supply.schedules import Schedule
from tokenwell.store.writer import transaction

__all__ = ["Recurrence", "Schedule", "Schedules", "Unit", "Upcoming"]

CATCH_UP = timedelta(days=31)
"""How late a pack is still granted. An occurrence that was missed for longer is skipped."""

VALID_LIMIT_DAYS = 36_600
_AT_ONCE = 100
"""How many schedules are looked at in one go."""

_KEY = "schedule:{}:{}"
_log = structlog.get_logger("tokenwell.schedules")


class Upcoming(msgspec.Struct, frozen=True, kw_only=True):
    """An occurrence to come. `is_short_month`: the last day of a month that has no such day. `is_moved`: clocks leave its time out,
    so that it comes as much later."""

    at: datetime
    day: date
    expires_at: datetime | None
    is_short_month: bool
    is_moved: bool


class Schedules:
    """The schedules in the meter's database."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._engine = meter.engine

    def create(
        self,
        organization_id: str,
        amount: int | str,
        *,
        unit: Unit | str,
        every: int = 1,
        first_day: date,
        at: time = time(),
        zone: str = "UTC",
        last_day: date | None = None,
        valid_days: int | None = None,
        priority: int = 0,
        note: str = "",
        key: str | None = None,
        by: Actor,
    ) -> Schedule:
        """Grant `amount` every so many days, weeks or months at a time of day in a zone; what would be due already is left out.

        A pack is valid for `valid_days` from when it is due; None for ever. The same key gives the first schedule again. Raises
        RequestInvalid, IdempotencyConflict, OrganizationNotFound.
        """
        recurrence = Recurrence(unit=_unit(unit), every=_whole(every, "every"), first_day=first_day, at=at, last_day=last_day)
        now, terms = self._meter.clock(), _terms(amount, valid_days=valid_days, priority=priority, note=note)
        number = recurrence.number_after(now - timedelta(microseconds=1), _zone(zone))
        schedule = Schedule(
            id=new_id("sch"),
            organization_id=organization_id,
            recurrence=recurrence,
            zone=zone,
            created_at=now,
            created_by=by,
            next_number=number,
            next_at=_due(recurrence, number, zone),
            **terms,
        )
        self._meter.organization(organization_id)
        with transaction(self._engine, organization_id) as connection:
            first = None if key is None else claim(connection, organization_id, key, schedule.id, _view(schedule), now)
            if first is None:
                store.add_schedule(connection, schedule)
                self._note(connection, schedule, "schedule.create", by=by, after=_view(schedule))
        return schedule if first is None else self.get(organization_id, first)

    def change(
        self,
        organization_id: str,
        schedule_id: str,
        *,
        amount: int | str,
        last_day: date | None,
        valid_days: int | None,
        priority: int,
        note: str,
        by: Actor,
    ) -> Schedule:
        """Let the occurrences to come grant something else, or end on another day; the same again changes nothing.

        The rhythm stays: occurrences keep their numbers, by which each is granted once. Raises RequestInvalid, NotFound, Conflict
        for a schedule that has ended, or that was due in this very moment.
        """
        before = self._going(organization_id, schedule_id)
        wanted = self._changed(before, last_day, _terms(amount, valid_days=valid_days, priority=priority, note=note))
        if wanted == before:
            return before
        old, new = differences(before, wanted)
        with transaction(self._engine, organization_id) as connection:
            if not store.change(connection, before, wanted):
                raise Conflict("the schedule was due in this moment; change it again", schedule_id=schedule_id)
            self._note(connection, wanted, "schedule.change", by=by, before=_told(old), after=_told(new))
        return self.get(organization_id, schedule_id)

    def _changed(self, schedule: Schedule, last_day: date | None, terms: dict[str, Any]) -> Schedule:
        """Return a schedule with other terms. One that was over goes on from now where its last day moves."""
        recurrence = msgspec.structs.replace(schedule.recurrence, last_day=last_day)
        number, next_at = schedule.next_number, schedule.next_at
        if recurrence != schedule.recurrence:
            if next_at is None:
                number = max(number, recurrence.number_after(self._meter.clock(), _zone(schedule.zone)))
            next_at = _due(recurrence, number, schedule.zone)
        return msgspec.structs.replace(schedule, recurrence=recurrence, next_number=number, next_at=next_at, **terms)

    def upcoming(
        self, recurrence: Recurrence, zone: str, *, valid_days: int | None = None, after: datetime | None = None, count: int = 6
    ) -> tuple[Upcoming, ...]:
        """Return the next occurrences of a rhythm, and when their packs expire: what a schedule would do, before there is one."""
        place, now = _zone(zone), self._meter.clock() - timedelta(microseconds=1)
        number = recurrence.number_after(now if after is None else max(now, after), place)
        found: list[Upcoming] = []
        while len(found) < count:
            day, at = recurrence.day(number), recurrence.instant(number, place)
            if day is None or at is None:
                break
            found.append(
                Upcoming(
                    at=at,
                    day=day,
                    expires_at=_expiry_of(recurrence, number, valid_days, place),
                    is_short_month=recurrence.unit is Unit.MONTH and day.day != recurrence.first_day.day,
                    is_moved=at.astimezone(place).time() != recurrence.at,
                )
            )
            number += 1
        return tuple(found)

    def get(self, organization_id: str, schedule_id: str) -> Schedule:
        """Return a schedule. Raises NotFound, OrganizationNotFound."""
        self._meter.organization(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.find_schedule(connection, organization_id, schedule_id)
        if found is None:
            raise NotFound("the organization has no such schedule", schedule_id=schedule_id)
        return found

    def list(
        self, organization_id: str | None = None, *, going: bool = False, cursor: str | None = None, limit: int = 50
    ) -> Page[Schedule]:
        """Return schedules of one organization, or of all, the latest first; `going` leaves out those that have ended."""
        check_limit(limit)
        if cursor is not None:
            check_label(cursor, field="cursor")
        if organization_id is not None:
            self._meter.organization(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.schedules(connection, organization_id, going=going, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def pause(self, organization_id: str, schedule_id: str, *, by: Actor) -> Schedule:
        """Grant nothing until `resume`; again changes nothing. Raises NotFound, Conflict for a schedule that has ended."""
        schedule = self._going(organization_id, schedule_id)
        with transaction(self._engine, organization_id) as connection:
            if store.pause(connection, organization_id, schedule_id, self._meter.clock()):
                self._note(connection, schedule, "schedule.pause", by=by)
        return self.get(organization_id, schedule_id)

    def resume(self, organization_id: str, schedule_id: str, *, by: Actor) -> Schedule:
        """Go on; what was due meanwhile is left out. Again changes nothing. Raises NotFound, Conflict."""
        schedule = self._going(organization_id, schedule_id)
        zone = _zone(schedule.zone)
        number = max(schedule.next_number, schedule.recurrence.number_after(self._meter.clock() - timedelta(microseconds=1), zone))
        next_at = schedule.recurrence.instant(number, zone)
        with transaction(self._engine, organization_id) as connection:
            if store.resume(connection, schedule, next_number=number, next_at=next_at):
                self._note(connection, schedule, "schedule.resume", by=by)
        return self.get(organization_id, schedule_id)

    def end(self, organization_id: str, schedule_id: str, *, by: Actor) -> Schedule:
        """End a schedule for good; again changes nothing. Packs that were granted stay. Raises NotFound."""
        schedule = self.get(organization_id, schedule_id)
        with transaction(self._engine, organization_id) as connection:
            if store.end(connection, organization_id, schedule_id, self._meter.clock()):
                self._note(connection, schedule, "schedule.end", by=by)
        return self.get(organization_id, schedule_id)

    def run_due(self) -> int:
        """Grant what is due, in every organization; returns how many packs were granted. Raises StoreError."""
        granted = 0
        while True:
            with reading(self._engine) as connection:
                found = store.due_schedules(connection, self._meter.clock(), _AT_ONCE)
            for schedule in found:
                granted += self._run(schedule)
            if len(found) < _AT_ONCE:
                return granted

    def _going(self, organization_id: str, schedule_id: str) -> Schedule:
        schedule = self.get(organization_id, schedule_id)
        if schedule.ended_at is not None:
            raise Conflict("the schedule has ended", schedule_id=schedule_id)
        return schedule

    def _run(self, schedule: Schedule) -> int:
        """Do one occurrence after the other until none is due; returns how many packs were granted."""
        granted = 0
        now, zone = self._meter.clock(), _zone(schedule.zone)
        while schedule.next_at is not None and schedule.next_at <= now:
            is_granted = self._grant(schedule, schedule.next_at, zone)
            following = schedule.next_number + 1
            next_at = schedule.recurrence.instant(following, zone)
            counts = {"granted": int(is_granted), "skipped": int(not is_granted)}
            with transaction(self._engine, schedule.organization_id) as connection:
                if not store.advance(connection, schedule, next_number=following, next_at=next_at, **counts):
                    return granted  # another process, or somebody who ended it, was quicker
                if not is_granted:
                    self._note(connection, schedule, "schedule.skip", by=SYSTEM, after={"number": schedule.next_number})
            granted += is_granted
            schedule = msgspec.structs.replace(schedule, next_number=following, next_at=next_at)
        return granted

    def _grant(self, schedule: Schedule, due_at: datetime, zone: tzinfo) -> bool:
        """Grant the pack of an occurrence, once; returns whether there is one."""
        expires_at = _expiry(schedule, zone)
        if due_at < self._meter.clock() - CATCH_UP:
            return False
        try:
            self._meter.grant(
                schedule.organization_id,
                schedule.amount_tokens,
                expires_at=expires_at,
                priority=schedule.priority,
                note=schedule.note,
                key=_KEY.format(schedule.id, schedule.next_number),
                by=SYSTEM,
            )
        except IdempotencyConflict:
            return True
        except StoreError:
            raise
        except TokenwellError as error:  # it expired before it could be granted, or the balance would be too large
            _log.warning("occurrence_skipped", schedule_id=schedule.id, number=schedule.next_number, reason=error.message)
            return False
        return True

    def _note(
        self,
        connection: Connection,
        schedule: Schedule,
        action: str,
        *,
        by: Actor,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        owner, at = schedule.organization_id, self._meter.clock()
        record(connection, by=by, at=at, organization_id=owner, action=action, subject=schedule.id, before=before, after=after)


def _terms(amount: int | str, *, valid_days: int | None, priority: int, note: str) -> dict[str, Any]:
    """Return what an occurrence grants. Raises RequestInvalid."""
    return {
        "amount_tokens": parse_amount(amount),
        "valid_days": None if valid_days is None else _bounded(valid_days, "valid_days", 1, VALID_LIMIT_DAYS),
        "priority": _bounded(priority, "priority", -PRIORITY_LIMIT, PRIORITY_LIMIT),
        "note": check_label(note, field="note", limit=NOTE_LIMIT) or "",
    }


def _due(recurrence: Recurrence, number: int, zone: str) -> datetime:
    next_at = recurrence.instant(number, _zone(zone))
    if next_at is None:
        raise RequestInvalid("the schedule would never be due", field="last_day")
    return next_at


def _told(changed: dict[str, Any]) -> dict[str, Any]:
    """Return what of a change people compare."""
    return {name: value for name, value in changed.items() if name not in ("next_number", "next_at")}


def _expiry(schedule: Schedule, zone: tzinfo) -> datetime | None:
    return _expiry_of(schedule.recurrence, schedule.next_number, schedule.valid_days, zone)


def _expiry_of(recurrence: Recurrence, number: int, valid_days: int | None, zone: tzinfo) -> datetime | None:
    day = recurrence.day(number)
    if valid_days is None or day is None:
        return None
    try:
        return instant_of(day + timedelta(days=valid_days), recurrence.at, zone)
    except OverflowError:
        return None


def _view(schedule: Schedule) -> dict[str, Any]:
    names = ("amount_tokens", "zone", "valid_days", "priority", "note")
    return {name: getattr(schedule, name) for name in names} | {"recurrence": schedule.recurrence}


def _unit(unit: Unit | str) -> Unit:
    try:
        return Unit(unit)
    except ValueError:
        raise RequestInvalid(f"a unit is one of {', '.join(Unit)}", field="unit") from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError, TypeError):
        raise RequestInvalid("zone must be a time zone such as Europe/Berlin", field="zone") from None


def _whole(number: int, field: str) -> int:
    if type(number) is not int:
        raise RequestInvalid(f"{field} must be a whole number", field=field)
    return number


def _bounded(number: int, field: str, least: int, most: int) -> int:
    if type(number) is not int or not least <= number <= most:
        raise RequestInvalid(f"{field} must be between {least} and {most}", field=field)
    return number
