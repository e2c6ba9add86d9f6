"""Tellings: what an organization's events and acts say, in lines short enough to compare by eye."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import text

from tests.store.tenants import Tenant


def events_of(tenant: Tenant, *, after: int = 0) -> list[str]:
    """Return the kinds of an organization's events in their order, those after the first `after`."""
    return [kind for kind, _, _ in event_rows(tenant)][after:]


def event_rows(tenant: Tenant) -> list[tuple[str, int, dict[str, Any]]]:
    """Return kind, instant and detail of an organization's events in their order."""
    rows = _read(tenant, "SELECT kind, at, detail FROM event WHERE organization_id = :o ORDER BY event_id")
    return [(kind, at, json.loads(detail)) for kind, at, detail in rows]


def acts_of(tenant: Tenant) -> list[tuple[str, str, dict[str, Any] | None, dict[str, Any] | None]]:
    """Return action, subject, before and after of an organization's acts in their order."""
    rows = _read(tenant, 'SELECT action, subject, "before", "after" FROM act WHERE organization_id = :o ORDER BY act_id')
    return [(action, subject, _json(before), _json(after)) for action, subject, before, after in rows]


def _json(detail: str | None) -> dict[str, Any] | None:
    return None if detail is None else json.loads(detail)


def _read(tenant: Tenant, sql: str) -> list[Any]:
    with tenant.meter.engine.connect() as connection:
        return list(connection.execute(text(sql), {"o": tenant.id}))
