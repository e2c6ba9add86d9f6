"""The registry: organizations and rates, written off the hot path."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy
from sqlalchemy import select

from tokenwell.core.account import Account
from tokenwell.core.acts import act_detail
from tokenwell.core.happenings import PLATFORM, Act, Actor
from tokenwell.core.instants import from_micros, to_micros
from tokenwell.core.rates import Rate
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


def _pricing(rate: Rate, now: datetime, by: Actor) -> Act:
    after = {name: getattr(rate, name) for name in rate.__struct_fields__}
    return Act(organization_id=PLATFORM, at=now, actor=by, action="rate.set", subject=rate.model, after=act_detail(after))


def set_rate(
    engine: sqlalchemy.Engine, rate: Rate, *, now: datetime | None = None, by: Actor | None = None, act_id: str = ""
) -> None:
    """Set a rate from its date on; the same model and date again replaces it. With `by` it is an act of theirs, at `now`."""
    table = schema.rate
    key = (table.c.model == rate.model, table.c.effective_at == to_micros(rate.effective_at))
    with transaction(engine) as connection:
        if by is not None and now is not None:
            append_act(connection, act_id, _pricing(rate, now, by))
        connection.execute(table.delete().where(*key))
        connection.execute(
            table.insert().values(
                model=rate.model,
                effective_at=to_micros(rate.effective_at),
                input_millionths=rate.input_millionths,
                cache_read_millionths=rate.cache_read_millionths,
                cache_write_millionths=rate.cache_write_millionths,
                output_millionths=rate.output_millionths,
                reasoning_millionths=rate.reasoning_millionths,
            )
        )


def rates(engine: sqlalchemy.Engine) -> tuple[Rate, ...]:
    """Return every rate ever set, by model and date."""
    with reading(engine) as connection:
        rows = connection.execute(select(schema.rate).order_by(schema.rate.c.model, schema.rate.c.effective_at)).all()
    return tuple(
        Rate(
            model=row[0],
            effective_at=from_micros(row[1]),
            input_millionths=row[2],
            cache_read_millionths=row[3],
            cache_write_millionths=row[4],
            output_millionths=row[5],
            reasoning_millionths=row[6],
        )
        for row in rows
    )
