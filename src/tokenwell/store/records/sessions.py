"""Usage by session in tables: summed from the lines themselves, since no rollup tells sessions apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, literal, select

from tokenwell.store.records.indexing import session_sums
from tokenwell.store.schema import entry as _entry


def usage_by_session(
    connection: Connection,
    organization_id: str,
    *,
    after: int,
    upto: int,
    offset_micros: int,
    width_micros: int,
    only: Mapping[str, str],
) -> Sequence[Any]:
    """Return bucket number, session (empty where none was named) and the sums of the lines in (after, upto].

    Buckets are numbered as those of rollups are. `only` are values by column; the empty text asks for lines that name none.
    """
    number = (_entry.c.at + literal(offset_micros, literal_execute=True)) // literal(width_micros, literal_execute=True)
    session = func.coalesce(_entry.c.session, "")
    chosen = [_entry.c[name] == text if text else func.coalesce(_entry.c[name], "") == "" for name, text in only.items()]
    return connection.execute(
        select(number.label("number"), session.label("value"), *session_sums())
        .where(
            _entry.c.organization_id == organization_id,
            _entry.c.seq > after,
            _entry.c.seq <= upto,
            _entry.c.kind.in_(["debit", "refund", "overage"]),
            *chosen,
        )
        .group_by(number, session)
    ).all()
