"""The audit log in tables: reading acts. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from tokenwell.core.happenings import Act, Actor, ActorKind
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import act


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """An act with its place in the log: later ids sort after earlier ones."""

    id: str
    act: Act


_COLUMNS = (
    act.c.act_id, act.c.organization_id, act.c.at, act.c.actor_kind, act.c.actor_id, act.c.actor_name, act.c.source, act.c.action,
    act.c.subject, act.c.before, act.c.after,
)  # fmt: skip


def _line_from(row: Sequence[Any]) -> AuditLine:
    actor = Actor(kind=ActorKind(row[3]), id=row[4], name=row[5], source=row[6])
    found = Act(
        organization_id=row[1],
        at=from_micros(row[2]),
        actor=actor,
        action=row[7],
        subject=row[8],
        before=row[9],
        after=row[10],
    )
    return AuditLine(id=row[0], act=found)


def acts(
    connection: Connection,
    *,
    organization_id: str | None,
    actor: str,
    action: str,
    since: datetime | None,
    until: datetime | None,
    before: str | None,
    limit: int,
) -> list[AuditLine]:
    """Return at most `limit` acts, the latest first: of one organization or (None) of all, by an actor's id or name, of an action
    or of all that begin with `action` and a dot, within [since, until), and those before the id `before`."""
    wanted = select(*_COLUMNS)
    if organization_id is not None:
        wanted = wanted.where(act.c.organization_id == organization_id)
    if actor:
        wanted = wanted.where((act.c.actor_id == actor) | (act.c.actor_name == actor))
    if action:
        wanted = wanted.where((act.c.action == action) | act.c.action.startswith(action + ".", autoescape=True))
    if since is not None:
        wanted = wanted.where(act.c.at >= to_micros(since))
    if until is not None:
        wanted = wanted.where(act.c.at < to_micros(until))
    if before is not None:
        wanted = wanted.where(act.c.act_id < before)
    return [_line_from(row) for row in connection.execute(wanted.order_by(act.c.act_id.desc()).limit(limit))]
