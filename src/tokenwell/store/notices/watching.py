"""Watching: what jobs look for in the tables of all organizations. Every function works in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, func, literal_column, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.core.instants import from_micros, to_micros
from tokenwell.core.packs import Pack
from tokenwell.store.rows import pack_from
from tokenwell.store.schema import organization, pack, rollup, told

_VERIFIED = "verified"


def packs_expiring(connection: Connection, *, after: datetime, until: datetime, beyond: tuple[str, str], limit: int) -> list[Pack]:
    """Return open packs that hold something and expire within (after, until], by organization and id, those beyond a pair."""
    rows = connection.execute(
        select(pack)
        .where(
            pack.c.is_open == literal_column("1"),
            pack.c.remaining_tokens > 0,
            pack.c.expires_at > to_micros(after),
            pack.c.expires_at <= to_micros(until),
            or_(pack.c.organization_id > beyond[0], and_(pack.c.organization_id == beyond[0], pack.c.pack_id > beyond[1])),
        )
        .order_by(pack.c.organization_id, pack.c.pack_id)
        .limit(limit)
    )
    return [pack_from(row) for row in rows]


def organizations_using(connection: Connection, since: datetime, least_tokens: int) -> list[str]:
    """Return the organizations that have used at least so much since an instant, by id."""
    total = func.sum(rollup.c.debited_tokens + rollup.c.overage_tokens)
    rows = connection.execute(
        select(rollup.c.organization_id)
        .where(rollup.c.bucket_at >= to_micros(since))
        .group_by(rollup.c.organization_id)
        .having(total >= least_tokens)
        .order_by(rollup.c.organization_id)
    )
    return list(rows.scalars())


def used_by_bucket(connection: Connection, organization_id: str, since: datetime) -> list[tuple[datetime, int]]:
    """Return what an organization used in each quarter of an hour since an instant in which it used something, oldest first."""
    total = func.sum(rollup.c.debited_tokens + rollup.c.overage_tokens)
    rows = connection.execute(
        select(rollup.c.bucket_at, total)
        .where(rollup.c.organization_id == organization_id, rollup.c.bucket_at >= to_micros(since))
        .group_by(rollup.c.bucket_at)
        .order_by(rollup.c.bucket_at)
    )
    return [(from_micros(row[0]), int(row[1])) for row in rows]


def least_verified(connection: Connection, before: datetime) -> str | None:
    """Return the organization whose books were verified longest ago, before an instant or never; None if there is none."""
    mark = and_(told.c.organization_id == organization.c.organization_id, told.c.subject == _VERIFIED)
    at = func.coalesce(told.c.at, 0)
    found = (
        select(organization.c.organization_id)
        .select_from(organization.outerjoin(told, mark))
        .where(at < to_micros(before))
        .order_by(at, organization.c.organization_id)
        .limit(1)
    )
    return connection.execute(found).scalar_one_or_none()


def note_verified(connection: Connection, organization_id: str, at: datetime) -> None:
    """Note when an organization's books were verified."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(told).values(organization_id=organization_id, subject=_VERIFIED, at=to_micros(at))
    key = [told.c.organization_id, told.c.subject]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_={"at": to_micros(at)}))
