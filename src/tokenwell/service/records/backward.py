"""Backward: what a balance was at instants before, for a picture, and since when AI is stopped. The past is read once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy

from tokenwell.core.happenings import EventKind
from tokenwell.store import reader
from tokenwell.store.happenings import last_event
from tokenwell.store.reader import reading

REMEMBERED = 20_000
"""How many past balances are kept in memory."""


LOOKED_AT = 10_000
"""How many of the last lines are looked at for the one that stopped AI."""


class Backward:
    """The past balances of one database. Safe to use from several threads."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[tuple[str, datetime], int] = OrderedDict()
        self._lock = threading.Lock()

    def balances(self, organization_id: str, instants: Sequence[datetime]) -> list[tuple[datetime, int]]:
        """Return the balance after the last line at or before each instant, all of them past, in order; from the first line on."""
        with self._lock:
            known = {at: self._known.get((organization_id, at)) for at in instants}
        missing = [at for at, tokens in known.items() if tokens is None]
        if missing:
            self._read(organization_id, missing, known)
        return [(at, tokens) for at in sorted(instants) if (tokens := known[at]) is not None and tokens >= 0]

    def stopped_at(self, organization_id: str, line_tokens: int) -> datetime | None:
        """Return since when the balance of an organization whose AI is stopped has been below `line_tokens`: the instant it was
        told, or a later one where it rose above the line meanwhile, too little to be told. None where that is not known (yet)."""
        with reading(self._engine, organization_id) as connection:
            told = last_event(connection, organization_id, EventKind.STATE_AI_STOPPED)
            seq = reader.account(connection, organization_id).seq
            told_seq = 0 if told is None else int(msgspec.json.decode(told.detail).get("seq", 0))
            above = reader.last_line_above(connection, organization_id, line_tokens, after=max(told_seq, seq - LOOKED_AT))
            if above == seq:
                return None  # what crossed the line is not written yet: an expiry, within a second
            if above is None:
                return None if told is None else told.at
            return reader.lines(connection, organization_id, after=above, limit=1)[0].at

    def _read(self, organization_id: str, missing: Sequence[datetime], known: dict[datetime, int | None]) -> None:
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            upto = account.seq
            for at in sorted(missing, reverse=True):
                line = reader.last_line_at(connection, organization_id, at, upto_seq=upto)
                known[at] = -1 if line is None else line.balance_after_tokens
                upto = 0 if line is None else line.seq
        with self._lock:
            for at in missing:
                if at < account.last_at:  # no line can be written before it any more
                    self._known[organization_id, at] = -1 if (tokens := known[at]) is None else tokens
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
