"""Happenings in tables: appending events and acts. Every function works in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from tokenwell.core.happenings import Act, Event, EventKind
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import act as _act
from tokenwell.store.schema import event as _event


def append_event(connection: Connection, event_id: str, event: Event) -> None:
    """Append an event. It becomes visible, and is told to people, with what it reports."""
    connection.execute(
        insert(_event).values(
            organization_id=event.organization_id,
            event_id=event_id,
            at=to_micros(event.at),
            kind=event.kind.value,
            detail=event.detail,
        )
    )


def append_act(connection: Connection, act_id: str, act: Act) -> None:
    """Append an act to the audit log, in the transaction that carries it out."""
    connection.execute(
        insert(_act).values(
            organization_id=act.organization_id,
            act_id=act_id,
            at=to_micros(act.at),
            actor_kind=act.actor.kind.value,
            actor_id=act.actor.id,
            actor_name=act.actor.name,
            source=act.actor.source,
            action=act.action,
            subject=act.subject,
            before=act.before,
            after=act.after,
        )
    )


def last_event(connection: Connection, organization_id: str, kind: EventKind) -> Event | None:
    """Return an organization's last event of a kind; None where there was none."""
    row = connection.execute(
        select(_event.c.at, _event.c.detail)
        .where(_event.c.organization_id == organization_id, _event.c.kind == kind.value)
        .order_by(_event.c.event_id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Event(organization_id=organization_id, at=from_micros(row[0]), kind=kind, detail=row[1])
