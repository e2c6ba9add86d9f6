"""Meters to measure: organizations with packs, a ledger of a given length, and the debit that every benchmark makes.

A debit is a request as a program would meter it: prompt and completion tokens, a model, a session and a reason, charged one to
one, from packs that expire one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import func, select

from tokenwell import Meter
from tokenwell.core.commands import Command
from tokenwell.store import schema

HOT = "hot"
PLENTY = 10**15
_BATCH = 1_000
_REQUESTS: list[dict[str, Any]] = [
    {
        "prompt_tokens": 800,
        "completion_tokens": 200,
        "model": ("gpt-4o-mini", "claude-sonnet-4")[place % 2],
        "session": f"session-{place}",
        "reason": "chat",
    }
    for place in range(50)
]

Debit = Callable[[str], object]
AsyncDebit = Callable[[str], Awaitable[object]]


def debit_of(meter: Meter, *, random_keys: bool = False) -> Debit:
    """Return a plain call that debits an organization. Keys are the library's own, time-ordered, or random ones of the caller."""
    requests, debit = itertools.cycle(_REQUESTS), meter.debit
    if random_keys:
        return lambda organization_id: debit(organization_id, key=str(uuid4()), **next(requests))
    return lambda organization_id: debit(organization_id, **next(requests))


def adebit_of(meter: Meter, *, random_keys: bool = False) -> AsyncDebit:
    """Return the same for tasks."""
    requests, debit = itertools.cycle(_REQUESTS), meter.aio.debit
    if random_keys:
        return lambda organization_id: debit(organization_id, key=str(uuid4()), **next(requests))
    return lambda organization_id: debit(organization_id, **next(requests))


def open_meter(url: str, organizations: Sequence[str], *, packs: int = 3, lines: int = 0, **options: Any) -> Meter:
    """Return a meter whose organizations have `packs` packs and at least `lines` debits together, written in large batches."""
    meter = Meter(url, **options)
    for organization_id in organizations:
        meter.create_organization(organization_id)
    grant(meter, organizations, packs)
    fill(meter, organizations, lines)
    return meter


def grant(meter: Meter, organizations: Sequence[str], packs: int, *, tokens: int | None = None, priority: int = 0) -> None:
    """Grant packs, each expiring an hour after the one before; together they last for ever unless `tokens` says less."""
    first = datetime.now(UTC) + timedelta(days=30)
    _commit(
        meter,
        (
            meter.intake.grant(each, tokens or PLENTY // packs, expires_at=first + timedelta(hours=place), priority=priority)
            for place in range(packs)
            for each in organizations
        ),
    )


def fill(meter: Meter, organizations: Sequence[str], lines: int) -> None:
    """Write debits until there are `lines` of them: real ones, by the engine itself, only in larger batches than callers make."""
    turns = zip(range(lines), itertools.cycle(organizations), itertools.cycle(_REQUESTS), strict=False)
    _commit(meter, (meter.intake.debit(organization_id, **request) for _, organization_id, request in turns))


def _commit(meter: Meter, commands: itertools.chain[Command] | Any) -> None:
    commands = iter(commands)
    while batch := list(itertools.islice(commands, _BATCH)):
        for answer in meter._writer.commit(batch):
            if isinstance(answer, Exception):
                raise answer


def debits_in(meter: Meter) -> int:
    """Return how many debits the journal has, counted in the table itself."""
    entry = schema.entry.c
    with meter.engine.connect() as connection:
        first_lines = select(func.count()).select_from(schema.entry).where(entry.kind == "debit", entry.part == 1)
        return int(connection.execute(first_lines).scalar_one())


def prove(meter: Meter, acknowledged: int, organizations: Sequence[str]) -> str:
    """Check that what was acknowledged is in the journal, once, and that the journals keep their laws; says so."""
    found = debits_in(meter)
    assert found == acknowledged, f"{acknowledged} debits were acknowledged, {found} are in the journal"
    lines = 0
    for organization_id in organizations:
        for verified in meter.verify(organization_id):
            assert not verified.problem_count, verified.problems
            lines += verified.lines
    return f"{found:,} acknowledged debits, each in the journal once; {lines:,} lines verified"
