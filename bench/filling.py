"""Filling: a long ledger of one organization, written in bulk.

Each line is what the engine writes for such a debit, sealed to the one before; only the way into the tables is shorter: no
decisions, no answers, and one commit for all. `tokenwell verify` has nothing to say about the result.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, insert, update
from sqlalchemy.dialects import sqlite

from tokenwell import Meter
from tokenwell.core.account import Account
from tokenwell.core.commands import Debit
from tokenwell.core.health import State
from tokenwell.core.identifiers import encode_id
from tokenwell.core.journal import Entry, EntryKind, seal, state_flag
from tokenwell.core.packs import Pack
from tokenwell.core.usage import apportion
from tokenwell.store import burning, reader, schema
from tokenwell.store.dialects import connect_postgres, connect_sqlite, parse_database
from tokenwell.store.reader import reading
from tokenwell.store.rows import Row, entry_rows, rollup_rows, to_micros

BATCH = 20_000
SAME_INSTANT = 100
"""How many lines in a row are of the same instant."""

_NAMES = 6
"""How many columns of a rollup say what it is of."""

Write = Callable[[Table, Sequence[Row]], None]


def fill(meter: Meter, url: str, debits: int, debit: Callable[[int], Debit], *, until: datetime) -> None:
    """Write so many debits, evenly from now on until an instant, each like what `debit` gives for its place.

    The organization's packs must cover them all, none may expire before, and the balance must stay normal. Nobody else may write
    meanwhile: the meter is to be opened anew before it writes again.
    """
    organization_id = debit(0).organization_id
    with reading(meter.engine, organization_id) as connection:
        account = reader.account(connection, organization_id)
        packs = burning.open_packs(connection, organization_id)
    journal = _Journal(account, packs)
    step = (until - account.last_at) / (debits // SAME_INSTANT + 1)
    rollups: dict[Row, Row] = {}
    places = iter(range(debits))
    with _writing(url) as write:
        while some := list(itertools.islice(places, BATCH)):
            rows = entry_rows(line for place in some for line in journal.debit(debit(place), place, step * (place // SAME_INSTANT)))
            write(schema.entry, rows)
            _add_up(rollups, rollup_rows(rows))
        write(schema.rollup, list(rollups.values()))
    _settle(meter, journal)


class _Journal:
    """Writes debit after debit over the packs in burn-down order."""

    def __init__(self, account: Account, packs: Sequence[Pack]) -> None:
        self.account = account
        self._began_at = account.last_at
        self._packs = deque(packs)
        self._left = packs[0].remaining_tokens
        self.spent: dict[str, int] = {}
        self.seq, self.hash, self.balance, self.at = account.seq, account.head_hash, account.balance_tokens, account.last_at

    def debit(self, command: Debit, place: int, since: Any) -> list[Entry]:
        """Return the lines of one debit, one for each pack it draws from."""
        charge = command.charge
        assert charge.prompt_tokens is not None
        assert charge.completion_tokens is not None
        draws = self._draw(charge.amount_tokens)
        cuts = [(charge.prompt_tokens, charge.completion_tokens)]
        if len(draws) > 1:
            cuts = apportion([taken for _, taken, _ in draws], charge.prompt_tokens, charge.completion_tokens)
        if place % SAME_INSTANT == 0:
            self.at = self._began_at + since
        key = place.to_bytes(16, "big")
        lines = []
        for part, ((pack, taken, left), (prompt, completion)) in enumerate(zip(draws, cuts, strict=True)):
            self.seq += 1
            self.balance -= taken
            line = Entry(
                organization_id=command.organization_id, seq=self.seq, at=self.at, kind=EntryKind.DEBIT, amount_tokens=taken,
                balance_after_tokens=self.balance, pack_id=pack, pack_remaining_tokens=left, key=None if part else key,
                fingerprint=None if part else command.fingerprint, request_id=encode_id("req", key), part=part + 1,
                parts=len(draws), prompt_tokens=prompt, completion_tokens=completion, model=charge.model, session=charge.session,
                reason=charge.reason, service_id=charge.service_id, key_id=charge.key_id, flags=state_flag(State.NORMAL),
                detail=None if part else charge.detail,
            )  # fmt: skip
            self.hash = seal(line, self.hash)
            lines.append(line)
        return lines

    def _draw(self, wanted: int) -> list[tuple[str, int, int]]:
        """Take tokens from the first packs; returns of each its id, what it gives, and what it has left."""
        draws = []
        while wanted:
            pack = self._packs[0].id
            taken = min(wanted, self._left)
            self._left -= taken
            wanted -= taken
            self.spent[pack] = self._left
            draws.append((pack, taken, self._left))
            if not self._left:
                self._packs.popleft()
                self._left = self._packs[0].remaining_tokens
        return draws


def _add_up(rollups: dict[Row, Row], added: Sequence[Row]) -> None:
    for row in added:
        name = row[:_NAMES]
        known = rollups.get(name)
        rollups[name] = row if known is None else (*name, *map(sum, zip(known[_NAMES:], row[_NAMES:], strict=True)))


@contextmanager
def _writing(url: str) -> Iterator[Write]:
    """Give what writes rows into a table in one transaction: COPY on PostgreSQL, prepared inserts on SQLite."""
    database = parse_database(url)
    if database.is_sqlite:
        connection = connect_sqlite(database)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        yield lambda table, rows: connection.executemany(str(insert(table).compile(dialect=sqlite.dialect())), rows) and None
        connection.execute("COMMIT")
        connection.close()
        return
    with connect_postgres(database) as server, server.transaction(), server.cursor() as cursor:

        def copy(table: Table, rows: Sequence[Row]) -> None:
            with cursor.copy(f"COPY {table.name} ({', '.join(table.c.keys())}) FROM STDIN") as into:
                for row in rows:
                    into.write_row(row)

        yield copy


def _settle(meter: Meter, journal: _Journal) -> None:
    """Write what the account and the packs have left."""
    account, pack = schema.account, schema.pack
    organization_id = journal.account.organization_id
    with meter.engine.begin() as connection:
        connection.execute(
            update(pack)
            .where(pack.c.organization_id == organization_id, pack.c.pack_id == bindparam("pack"))
            .values(remaining_tokens=bindparam("left"), is_open=bindparam("open")),
            [{"pack": pack_id, "left": left, "open": int(left > 0)} for pack_id, left in journal.spent.items()],
        )
        connection.execute(
            update(account)
            .where(account.c.organization_id == organization_id)
            .values(
                seq=journal.seq,
                head_hash=journal.hash,
                last_at=to_micros(journal.at),
                balance_tokens=journal.balance,
                version=account.c.version + 1,
            )
        )
