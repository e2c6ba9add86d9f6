"""Policies in their table, one row for an organization that has set its own."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy
from sqlalchemy import Connection, select

from tokenwell.core.acts import act_detail
from tokenwell.core.happenings import Act, Actor
from tokenwell.core.instants import to_micros
from tokenwell.store import reader, schema
from tokenwell.store.happenings import append_act
from tokenwell.store.writer import transaction

_policy = schema.policy


class WhenShort(StrEnum):
    """What is done with a request where less is available than it is expected to come to."""

    REFUSE = "refuse"
    CLAMP = "clamp"
    HOLD_AVAILABLE = "hold_available"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an organization has decided for its gateway."""

    when_short: WhenShort = WhenShort.REFUSE


def find_policy(connection: Connection, organization_id: str) -> Policy:
    """Return an organization's policy, the defaults where it has none of its own. Raises OrganizationNotFound."""
    row = connection.execute(select(_policy.c.when_short).where(_policy.c.organization_id == organization_id)).one_or_none()
    if row is None:
        reader.organization(connection, organization_id)
        return Policy()
    return Policy(when_short=WhenShort(row[0]))


def set_policy(
    engine: sqlalchemy.Engine, organization_id: str, policy: Policy, *, now: datetime, by: Actor | None, act_id: str
) -> None:
    """Set an organization's policy. Done `by` somebody, an act of theirs is kept. Raises OrganizationNotFound."""
    with transaction(engine, organization_id) as connection:
        before = find_policy(connection, organization_id)
        connection.execute(_policy.delete().where(_policy.c.organization_id == organization_id))
        connection.execute(
            _policy.insert().values(organization_id=organization_id, when_short=policy.when_short.value, changed_at=to_micros(now))
        )
        if by is not None and before != policy:
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
