"""Tenants: one organization of a meter, addressed without its name, and told in lines short enough to compare by eye."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.doubles import START, FrozenClock
from tokenwell import Entry, LedgerLine, Meter, PackLine, Receipt, State, Thresholds
from tokenwell.errors import TokenwellError

MICROSECOND = timedelta(microseconds=1)
NO_THRESHOLDS = Thresholds(0, 0)

_numbers = itertools.count(1)


def at(seconds: float) -> datetime:
    """Return the instant that many seconds after tests begin."""
    return START + timedelta(seconds=seconds)


class Tenant:
    """A new organization; every method of the meter is one of its own, for this organization."""

    def __init__(self, meter: Meter, clock: FrozenClock) -> None:
        self.meter = meter
        self.clock = clock
        self.id = f"tenant-{next(_numbers)}"
        self.held: list[str] = []
        self.tampered = False
        meter.create_organization(self.id)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(getattr(self.meter, name), self.id)

    def go_to(self, seconds: float) -> None:
        """Set the clock."""
        self.clock.now = at(seconds)

    def entries(self, after_seq: int = 0) -> list[Entry]:
        """Return the journal."""
        return list(self.meter.journal(self.id, after_seq=after_seq).items)

    def lines(self, after_seq: int = 0) -> list[str]:
        """Return the journal: kind, amount, pack and what it has left | the balance after it."""
        names = self.pack_names()
        return [line_of(entry, names) for entry in self.entries(after_seq)]

    def pack_names(self) -> dict[str | None, str]:
        """Return the pack numbers as they are shown, by id."""
        return {None: "- -"} | {line.pack.id: f"PK-{line.pack.number}" for line in self.meter.packs(self.id, limit=1000).items}

    def pack(self, number: int) -> PackLine:
        """Return a pack by number."""
        return next(line for line in self.meter.packs(self.id, limit=1000).items if line.pack.number == number)

    def left(self) -> list[str]:
        """Return status and what is left of every pack, the first grant first."""
        return [f"{line.status} {line.pack.remaining_tokens}" for line in reversed(self.meter.packs(self.id, limit=1000).items)]

    def totals(self) -> tuple[int, int, int, State]:
        """Return balance, held, overage and state."""
        balance = self.meter.balance(self.id)
        return balance.balance_tokens, balance.held_tokens, balance.overage_tokens, balance.state

    def problems(self) -> tuple[str, ...]:
        """Return what `verify` finds."""
        (verified,) = self.meter.verify(self.id)
        return verified.problems

    def snapshot(self) -> tuple[Any, ...]:
        """Return everything that can be read, to compare before and after."""
        return (
            self.meter.balance(self.id),
            self.meter.packs(self.id, limit=1000),
            self.meter.journal(self.id, limit=1000),
            self.meter.ledger(self.id, limit=1000),
        )


def line_of(entry: Entry, names: dict[str | None, str]) -> str:
    """Return a journal line in short."""
    left = "" if entry.pack_remaining_tokens is None else f" {entry.pack_remaining_tokens}"
    return f"{entry.kind} {entry.amount_tokens} {names[entry.pack_id]}{left} | {entry.balance_after_tokens}"


def drawn_of(tenant: Tenant, receipt: Receipt) -> list[tuple[str, int]]:
    """Return which packs gave how much to a request, in order."""
    names = tenant.pack_names()
    return [(names[drawn.pack_id], drawn.amount_tokens) for drawn in receipt.drawn]


def parts_of(lines: tuple[LedgerLine, ...]) -> list[tuple[str, int | None, int, str]]:
    """Return kind, pack number, amount and `part/parts` of a request's lines."""
    return [
        (line.entry.kind.value, line.pack_number, line.entry.amount_tokens, f"{line.entry.part}/{line.entry.parts}")
        for line in lines
    ]


@contextmanager
def refused(error: type[TokenwellError], **details: Any) -> Iterator[None]:
    """Expect an error of exactly this type that carries these details."""
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    assert {name: caught.value.details.get(name) for name in details} == details
