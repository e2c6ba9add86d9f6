"""Embedding in tables: the origins that may frame an organization's page."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from tokenwell.core.instants import to_micros
from tokenwell.store.schema import embedding


def origins_of(connection: Connection, organization_id: str) -> tuple[str, ...]:
    """Return the origins, none where none were set."""
    text = connection.execute(
        select(embedding.c.origins).where(embedding.c.organization_id == organization_id)
    ).scalar_one_or_none()
    return tuple((text or "").split())


def put_origins(connection: Connection, organization_id: str, origins: tuple[str, ...], now: datetime) -> None:
    """Replace the origins."""
    connection.execute(delete(embedding).where(embedding.c.organization_id == organization_id))
    connection.execute(
        insert(embedding).values(organization_id=organization_id, origins=" ".join(origins), updated_at=to_micros(now))
    )
