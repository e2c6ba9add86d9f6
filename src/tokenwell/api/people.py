"""People and records: an organization's members, its events, and the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import Path, Query
from starlette.responses import Response, StreamingResponse

from tokenwell.api.operations import CurrentCall, Cursor, Limit, OrganizationId, page_of, reads, writes
from tokenwell.api.repeating import Operations
from tokenwell.api.wire import shaped
from tokenwell.client import bodies, managed
from tokenwell.client.shapes import Page
from tokenwell.core.instants import parse_instant
from tokenwell.errors import PersonNotFound, RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.identity.members import Member
from tokenwell.service.records.audit import AuditFilter, AuditLine

members = Operations(prefix="/v1/organizations/{organization_id}/members", tags=["Members"])
records = Operations(prefix="/v1", tags=["Events and audit log"])

PersonId = Annotated[str, Path(description="The person's id.")]
Actor = Annotated[str, Query(description="Only acts of this actor: an id or a name.")]
Action = Annotated[str, Query(description="Only this action (`key.revoke`), or those on such things (`key`).")]
Since = Annotated[str | None, Query(description="Acts at or after this instant.")]
Until = Annotated[str | None, Query(description="Acts before this instant.")]
ActFormat = Annotated[
    str | None, Query(description="Every act as a stream, `csv` or `ndjson`, instead of a page.", pattern="^(csv|ndjson)$")
]
_MEDIA = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}


@members.get("", **reads(Scope.MEMBERS_READ, "List members", answer=Page[managed.Member]))
def list_members(call: CurrentCall, organization_id: OrganizationId, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the organization's members."""
    page = call.suite.members.list(organization_id, cursor=cursor, limit=limit)
    return call.answer(page_of([_member(member) for member in page.items], page.next_cursor))


@members.put(
    "/{person_id}",
    **writes(
        Scope.MEMBERS_WRITE, "Set a member's role", body=bodies.NewRole, answer=managed.Member, example={"role": "viewer"}
    ),
)  # fmt: skip
def set_member_role(call: CurrentCall, organization_id: OrganizationId, person_id: PersonId) -> Response:
    """Give a member another role. The last administrator keeps theirs."""
    body = call.read(bodies.NewRole)
    return call.answer(_member(call.suite.members.set_role(organization_id, person_id, body.role, by=call.caller.actor)))


@members.delete("/{person_id}", **writes(Scope.MEMBERS_WRITE, "Remove a member", answer=managed.MemberRemoved))
def remove_member(call: CurrentCall, organization_id: OrganizationId, person_id: PersonId) -> Response:
    """End a membership at once. Who is no member is none afterwards either; the last administrator stays."""
    call.suite.meter.organization(organization_id)
    try:
        call.suite.members.remove(organization_id, person_id, by=call.caller.actor)
    except PersonNotFound:
        return call.answer(managed.MemberRemoved(person_id=person_id, was_member=False))
    return call.answer(managed.MemberRemoved(person_id=person_id, was_member=True))


@records.get("/organizations/{organization_id}/events", **reads(Scope.ALERTS_READ, "List events", answer=Page[managed.Event]))
def list_events(call: CurrentCall, organization_id: OrganizationId, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List what happened to the organization, the latest first."""
    page = call.suite.inbox.history(organization_id, cursor=cursor, limit=limit)
    found = [
        shaped(managed.Event, each.event, id=each.id, kind=each.event.kind.value, detail=msgspec.json.decode(each.event.detail))
        for each in page.items
    ]
    return call.answer(page_of(found, page.next_cursor))


def _acts_described(summary: str) -> dict[str, Any]:
    declared = reads(Scope.AUDIT_READ, summary, answer=Page[managed.Act])
    for media in ("application/x-ndjson", "text/csv"):
        declared["responses"][200]["content"][media] = {"schema": {"type": "string"}}
    return declared


@records.get("/organizations/{organization_id}/acts", **_acts_described("List the acts on an organization"))
def list_acts(
    call: CurrentCall, organization_id: OrganizationId, actor: Actor = "", action: Action = "", since: Since = None,
    until: Until = None, format: ActFormat = None, cursor: Cursor = None, limit: Limit = 50,
) -> Response:  # fmt: skip
    """List who administered what in the organization, the latest first."""
    wanted = _wanted(actor, action, since, until)
    return _acts(call, organization_id, wanted, format, cursor, limit)


@records.get("/acts", **_acts_described("List the acts of the platform"))
def list_all_acts(
    call: CurrentCall, actor: Actor = "", action: Action = "", since: Since = None, until: Until = None,
    format: ActFormat = None, cursor: Cursor = None, limit: Limit = 50,
) -> Response:  # fmt: skip
    """List who administered what, in every organization and on the platform, the latest first."""
    return _acts(call, None, _wanted(actor, action, since, until), format, cursor, limit)


def _acts(
    call: CurrentCall, organization_id: str | None, wanted: AuditFilter, form: str | None, cursor: str | None, limit: int
) -> Response:
    page = call.suite.audit.list(organization_id, wanted, cursor=cursor, limit=limit)
    if form is None:
        return call.answer(page_of([_act(line) for line in page.items], page.next_cursor))
    if cursor is not None:
        raise RequestInvalid("a stream has no cursor: it is every act", field="cursor")
    pieces: Iterator[str] = call.suite.audit.export(organization_id, "csv" if form == "csv" else "ndjson", wanted)
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="acts.{form}"'}
    return StreamingResponse(pieces, headers=headers, media_type=_MEDIA[form])


def _wanted(actor: str, action: str, since: str | None, until: str | None) -> AuditFilter:
    return AuditFilter(actor=actor, action=action, since=_instant(since, "since"), until=_instant(until, "until"))


def _instant(text: str | None, field: str) -> datetime | None:
    return None if not text else parse_instant(text, field=field)


def _member(member: Member) -> managed.Member:
    person = member.person
    return managed.Member(
        person_id=person.id, name=person.name, email=person.email, role=member.role.value, since=member.since,
        is_disabled=person.disabled_at is not None,
    )  # fmt: skip


def _act(line: AuditLine) -> managed.Act:
    act = line.act
    return managed.Act(
        id=line.id, organization_id=act.organization_id, at=act.at, actor_kind=act.actor.kind.value, actor_id=act.actor.id,
        actor_name=act.actor.name, source=act.actor.source, action=act.action, subject=act.subject, before=_json(act.before),
        after=_json(act.after),
    )  # fmt: skip


def _json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
