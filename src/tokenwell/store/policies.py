"""Policies in their table, one row for an organization that has set its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy
from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from tokenwell.core.acts import act_detail
from tokenwell.core.happenings import Act, Actor
from tokenwell.core.instants import to_micros
from tokenwell.store import reader, schema
from tokenwell.store.happenings import append_act
from tokenwell.store.writer import transaction

_policy = schema.policy
_columns = (_policy.c.when_short, _policy.c.when_away, _policy.c.away_seconds, _policy.c.away_tokens)


class WhenShort(StrEnum):
    """What is done with a request where less is available than it is expected to come to."""

    REFUSE = "refuse"
    CLAMP = "clamp"
    HOLD_AVAILABLE = "hold_available"


class WhenAway(StrEnum):
    """What is done with a request while the database cannot be reached."""

    REFUSE = "refuse"
    SERVE = "serve"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization has decided for its gateway. Where it serves while the database is away, it does so for at most
    `away_seconds`, and until `away_tokens` wait to be charged."""

    when_short: WhenShort = WhenShort.REFUSE
    when_away: WhenAway = WhenAway.REFUSE
    away_seconds: int = 0
    away_tokens: int = 0


def find_policy(connection: Connection, organization_id: str) -> Policy:
    """Return an organization's policy, the defaults where it has none of its own. Raises OrganizationNotFound."""
    row = connection.execute(select(*_columns).where(_policy.c.organization_id == organization_id)).one_or_none()
    if row is None:
        reader.organization(connection, organization_id)
        return Policy()
    return _from(row)


def serving_policies(connection: Connection, *, limit: int) -> dict[str, Policy]:
    """Return the policies of the organizations that are served while the database is away, at most so many."""
    statement = select(_policy.c.organization_id, *_columns).where(_policy.c.when_away == WhenAway.SERVE.value)
    rows = connection.execute(statement.order_by(_policy.c.organization_id).limit(limit)).all()
    return {row[0]: _from(row[1:]) for row in rows}


def set_policy(
    engine: sqlalchemy.Engine,
    organization_id: str,
    change: Callable[[Policy], Policy],
    *,
    now: datetime,
    by: Actor | None,
    act_id: str,
) -> Policy:
    """Change an organization's policy and return it. Done `by` somebody, an act of theirs is kept. Raises OrganizationNotFound."""
    with transaction(engine, organization_id) as connection:
        before = _locked(connection, organization_id, now)
        policy = change(before)
        if policy == before:
            return policy
        changes = {
            name: str(value) if isinstance(value, StrEnum) else value for name, value in msgspec.structs.asdict(policy).items()
        }
        of_it = _policy.c.organization_id == organization_id
        connection.execute(_policy.update().where(of_it).values(**changes, changed_at=to_micros(now)))
        if by is not None:
            append_act(
                connection,
                act_id,
                Act(
                    organization_id=organization_id,
                    at=now,
                    actor=by,
                    action="policy.set",
                    subject=organization_id,
                    before=act_detail(msgspec.structs.asdict(before)),
                    after=act_detail(msgspec.structs.asdict(policy)),
                ),
            )
    return policy


def _from(row: Sequence[Any]) -> Policy:
    return Policy(when_short=WhenShort(row[0]), when_away=WhenAway(row[1]), away_seconds=row[2], away_tokens=row[3])


def _locked(connection: Connection, organization_id: str, now: datetime) -> Policy:
    """Return a policy that nobody else changes meanwhile: of two that change different parts none takes back what the other did."""
    find_policy(connection, organization_id)
    defaults = {"organization_id": organization_id, "when_short": WhenShort.REFUSE.value, "changed_at": to_micros(now)}
    table_insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(table_insert(_policy).values(**defaults).on_conflict_do_nothing())
    connection.execute(select(_policy.c.when_short).where(_policy.c.organization_id == organization_id).with_for_update())
    return find_policy(connection, organization_id)
