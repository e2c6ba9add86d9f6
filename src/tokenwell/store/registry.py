"""The registry: organizations, written off the hot path."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy
from sqlalchemy import select

from tokenwell.core.account import Account
from tokenwell.core.acts import act_detail
from tokenwell.core.happenings import Act, Actor
from tokenwell.core.instants import to_micros
from tokenwell.errors import OrganizationExists
from tokenwell.store import schema
from tokenwell.store.happenings import append_act
from tokenwell.store.reader import reading
from tokenwell.store.rows import account_row
from tokenwell.store.statements import names_of
from tokenwell.store.writer import transaction


def create_organization(
    engine: sqlalchemy.Engine, organization_id: str, *, name: str, now: datetime, by: Actor | None, act_id: str
) -> None:
    """Create an organization and its empty account; again with the same name changes nothing. Raises OrganizationExists.

    Where it is done `by` somebody, an act of theirs is kept.
    """
    known = select(schema.organization.c.name).where(schema.organization.c.organization_id == organization_id)
    try:
        with transaction(engine) as connection:
            found = connection.execute(known).scalar_one_or_none()
            if found is None:
                connection.execute(
                    schema.organization.insert().values(organization_id=organization_id, name=name, created_at=to_micros(now))
                )
                row = account_row(Account(organization_id=organization_id))
                connection.execute(schema.account.insert().values(dict(zip(names_of(schema.account), row, strict=True))))
                if by is not None:
                    append_act(connection, act_id, _creation(organization_id, name, now, by))
    except sqlalchemy.exc.IntegrityError:
        # Somebody else created it at the same moment.
        with reading(engine) as connection:
            found = connection.execute(known).scalar_one()
    if found is not None and found != name:
        raise OrganizationExists(organization_id=organization_id, name=found)


def _creation(organization_id: str, name: str, now: datetime, by: Actor) -> Act:
    return Act(
        organization_id=organization_id,
        at=now,
        actor=by,
        action="organization.create",
        subject=organization_id,
        after=act_detail({"name": name}),
    )
