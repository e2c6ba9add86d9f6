"""Schedules: packs that are granted again and again."""

from __future__ import annotations

from datetime import time
from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import shapes, topups
from tokenwell.service.access.scopes import Scope
from tokenwell.service.supply.schedules import Schedule

router = Operations(prefix="/v1", tags=["Schedules"])

ScheduleId = Annotated[str, Path(description="The schedule's id.")]
_OF_THE_NEW = {"organization_id": "$request.path.organization_id", "schedule_id": "$response.body#/id"}
_OF_AN_ORGANIZATION = "/organizations/{organization_id}/schedules"


@router.post(
    _OF_AN_ORGANIZATION,
    **writes(
        Scope.PACKS_WRITE,
        "Create a schedule",
        body=topups.NewSchedule,
        answer=topups.Schedule,
        status=201,
        example={"amount": "5M", "unit": "month", "first_day": "2099-01-31", "valid_days": 31, "note": "Monthly plan"},
        links={
            name: {"operationId": name, "parameters": _OF_THE_NEW} for name in ("get_schedule", "pause_schedule", "end_schedule")
        },
    ),
)
def create_schedule(call: CurrentCall, organization_id: OrganizationId) -> Response:
    """Grant a pack again and again. A month that has no 31st takes its last day; what would be due already is left out."""
    body = call.read(topups.NewSchedule)
    made = call.suite.schedules.create(
        organization_id,
        body.amount,
        unit=body.unit,
        every=body.every,
        first_day=body.first_day,
        last_day=body.last_day,
        at=time.fromisoformat(body.at),
        zone=body.zone,
        valid_days=body.valid_days,
        priority=body.priority,
        note=body.note,
        key=call.key,
        by=call.caller.actor,
    )
    return call.answer(_view(made), status=201)


@router.get(_OF_AN_ORGANIZATION, **reads(Scope.PACKS_READ, "List schedules", answer=shapes.Page[topups.Schedule]))
def list_schedules(call: CurrentCall, organization_id: OrganizationId, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List an organization's recurring grants, the latest first."""
    page = call.suite.schedules.list(organization_id, cursor=cursor, limit=limit)
    return call.answer(page_of([_view(each) for each in page.items], page.next_cursor))


@router.get("/schedules", **reads(Scope.PACKS_READ, "List every organization's schedules", answer=shapes.Page[topups.Schedule]))
def list_all_schedules(call: CurrentCall, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the recurring grants of every organization, the latest first."""
    page = call.suite.schedules.list(cursor=cursor, limit=limit)
    return call.answer(page_of([_view(each) for each in page.items], page.next_cursor))


@router.get(_OF_AN_ORGANIZATION + "/{schedule_id}", **reads(Scope.PACKS_READ, "Get a schedule", answer=topups.Schedule))
def get_schedule(call: CurrentCall, organization_id: OrganizationId, schedule_id: ScheduleId) -> Response:
    """Return a recurring grant."""
    return call.answer(_view(call.suite.schedules.get(organization_id, schedule_id)))


@router.patch(
    _OF_AN_ORGANIZATION + "/{schedule_id}",
    **writes(
        Scope.PACKS_WRITE,
        "Change a schedule",
        body=topups.ScheduleChanges,
        answer=topups.Schedule,
        example={"amount": "6M", "note": "Larger"},
    ),
)
def update_schedule(call: CurrentCall, organization_id: OrganizationId, schedule_id: ScheduleId) -> Response:
    """Change what the occurrences to come grant, and until when; the rhythm stays. What is left out stays as it is."""
    given, known = call.given(), call.suite.schedules.get(organization_id, schedule_id)
    now = {
        "amount": known.amount_tokens,
        "last_day": known.recurrence.last_day,
        "valid_days": known.valid_days,
        "priority": known.priority,
        "note": known.note,
    }
    return call.answer(_view(call.suite.schedules.change(organization_id, schedule_id, **(now | given), by=call.caller.actor)))


@router.post(_OF_AN_ORGANIZATION + "/{schedule_id}/pause", **writes(Scope.PACKS_WRITE, "Pause a schedule", answer=topups.Schedule))
def pause_schedule(call: CurrentCall, organization_id: OrganizationId, schedule_id: ScheduleId) -> Response:
    """Grant nothing until it is resumed; again changes nothing."""
    return call.answer(_view(call.suite.schedules.pause(organization_id, schedule_id, by=call.caller.actor)))


@router.post(
    _OF_AN_ORGANIZATION + "/{schedule_id}/resume", **writes(Scope.PACKS_WRITE, "Resume a schedule", answer=topups.Schedule)
)
def resume_schedule(call: CurrentCall, organization_id: OrganizationId, schedule_id: ScheduleId) -> Response:
    """Go on; what was due meanwhile is left out."""
    return call.answer(_view(call.suite.schedules.resume(organization_id, schedule_id, by=call.caller.actor)))


@router.post(_OF_AN_ORGANIZATION + "/{schedule_id}/end", **writes(Scope.PACKS_WRITE, "End a schedule", answer=topups.Schedule))
def end_schedule(call: CurrentCall, organization_id: OrganizationId, schedule_id: ScheduleId) -> Response:
    """End a recurring grant for good; packs that were granted stay."""
    return call.answer(_view(call.suite.schedules.end(organization_id, schedule_id, by=call.caller.actor)))


def _view(schedule: Schedule) -> topups.Schedule:
    often = schedule.recurrence
    return shaped(
        topups.Schedule,
        schedule,
        unit=often.unit.value,
        every=often.every,
        first_day=often.first_day,
        last_day=often.last_day,
        at=f"{often.at:%H:%M}",
    )
