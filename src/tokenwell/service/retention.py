"""Retention: what is kept for how long. The journal, its idempotency keys and the audit log are kept for ever, events as long as a
setting says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import sqlalchemy

from tokenwell.service.jobs import Turn
from tokenwell.store import retention as store
from tokenwell.store.writer import transaction

FAILURES_KEPT = timedelta(days=1)
"""How long failed sign-ins are kept."""

DELIVERIES_KEPT = timedelta(days=90)
"""How long deliveries and what was answered are kept, from the day they were delivered, given up or dropped."""

MARKS_KEPT = timedelta(days=400)
"""How long it is kept which alerts a person has read, and what was told once and for all."""

WRITES_KEPT = timedelta(days=90)
"""How long the answers to writes of the REST API are kept by their idempotency keys. Those of the ledger are in the journal."""


def delete_old(engine: sqlalchemy.Engine, turn: Turn, *, events_kept: timedelta | None = None) -> int:
    """Delete what is kept no longer, in short transactions; returns how many rows. Leaves off when the turn is over.

    `events_kept` is how long events are kept, None for ever: until nobody is told of them any more in any case.
    """
    now = turn.now
    steps: list[Callable[[sqlalchemy.Connection], int]] = [
        lambda connection: store.delete_sessions(connection, now),
        lambda connection: store.delete_failures(connection, now - FAILURES_KEPT),
        lambda connection: store.delete_deliveries(connection, now - DELIVERIES_KEPT),
        lambda connection: store.delete_marks(connection, now - MARKS_KEPT),
        lambda connection: store.delete_writes(connection, now - WRITES_KEPT),
    ]
    if events_kept is not None:
        steps.append(lambda connection: store.delete_events(connection, now - events_kept))
    total = 0
    for step in steps:
        deleted = store.CHUNK
        while deleted >= store.CHUNK and not turn.is_over:
            with transaction(engine) as connection:
                deleted = step(connection)
            total += deleted
    return total
