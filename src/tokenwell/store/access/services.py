"""AI services in tables. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from tokenwell.core.instants import from_micros, to_micros
from tokenwell.store.schema import ai_service


class Lane(StrEnum):
    """How urgent a service's requests are: those of the background leave a reserve to those that customers wait for."""

    CUSTOMER_FACING = "customer_facing"
    BACKGROUND = "background"


class AiService(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer of AI. `reserve_tokens` is the balance that a background service leaves to the others; session and reason
    stand for those that a request does not give itself."""

    id: str
    organization_id: str
    name: str
    lane: Lane
    created_at: datetime
    reserve_tokens: int | None = None
    default_session: str | None = None
    default_reason: str | None = None
    disabled_at: datetime | None = None


COLUMNS = (
    ai_service.c.service_id,
    ai_service.c.organization_id,
    ai_service.c.name,
    ai_service.c.lane,
    ai_service.c.created_at,
    ai_service.c.reserve_tokens,
    ai_service.c.default_session,
    ai_service.c.default_reason,
    ai_service.c.disabled_at,
)


def service_from(row: Sequence[Any]) -> AiService | None:
    """Return the service of a row of COLUMNS; None for the empty row of an outer join."""
    if row[0] is None:
        return None
    return AiService(
        id=row[0],
        organization_id=row[1],
        name=row[2],
        lane=Lane(row[3]),
        created_at=from_micros(row[4]),
        reserve_tokens=row[5],
        default_session=row[6],
        default_reason=row[7],
        disabled_at=None if row[8] is None else from_micros(row[8]),
    )


def add_service(connection: Connection, service: AiService) -> None:
    """Insert a service; raises sqlalchemy's IntegrityError if its name is taken, or there is no such organization."""
    connection.execute(
        insert(ai_service).values(
            organization_id=service.organization_id,
            service_id=service.id,
            created_at=to_micros(service.created_at),
            **_changeable(service),
        )
    )


def replace_service(connection: Connection, service: AiService) -> None:
    """Write what of a service may change; raises sqlalchemy's IntegrityError if its name is taken."""
    own = (ai_service.c.organization_id == service.organization_id) & (ai_service.c.service_id == service.id)
    connection.execute(update(ai_service).where(own).values(**_changeable(service)))


def _changeable(service: AiService) -> dict[str, Any]:
    return {
        "name": service.name,
        "lane": service.lane.value,
        "reserve_tokens": service.reserve_tokens,
        "default_session": service.default_session,
        "default_reason": service.default_reason,
        "disabled_at": None if service.disabled_at is None else to_micros(service.disabled_at),
    }


def find_service(connection: Connection, organization_id: str, service_id: str) -> AiService | None:
    """Return a service of the organization, or None."""
    own = (ai_service.c.organization_id == organization_id) & (ai_service.c.service_id == service_id)
    row = connection.execute(select(*COLUMNS).where(own)).first()
    return None if row is None else service_from(row)


def services_of(connection: Connection, organization_id: str, after: str | None, limit: int) -> list[AiService]:
    """Return at most `limit` services of the organization, oldest first, those after the id `after` if it is given."""
    own = select(*COLUMNS).where(ai_service.c.organization_id == organization_id)
    if after is not None:
        own = own.where(ai_service.c.service_id > after)
    rows = connection.execute(own.order_by(ai_service.c.service_id).limit(limit))
    return [found for found in map(service_from, rows) if found is not None]
