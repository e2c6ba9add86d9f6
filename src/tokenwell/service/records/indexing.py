"""Indexing: keeps what makes long ledgers quick to browse. Nothing waits for it: what it has not summed up yet is read itself."""

from __future__ import annotations

import threading

import sqlalchemy

from tokenwell.errors import StoreError
from tokenwell.store.reader import reading
from tokenwell.store.records import indexing
from tokenwell.store.records.indexing import BLOCK_LINES
from tokenwell.store.writer import transaction

BLOCKS_A_TURN = 16
"""How many blocks are written in one transaction: a writer of the ledger waits for at most one of these on SQLite."""

ORGANIZATIONS_A_TURN = 100


class Indexing:
    """Sums up new journal lines, by whole blocks. Any number of processes may do so at once: each block is written once."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine
        self._busy = threading.Lock()

    def catch_up(self, limit: int = 100_000) -> int:
        """Sum up at most about `limit` lines, of any organizations, and return how many were. 0: there is nothing to do.

        Raises StoreError.
        """
        done = 0
        while done < limit:
            with reading(self._engine) as connection:
                found = indexing.behind(connection, ORGANIZATIONS_A_TURN)
            before = done
            for organization_id in found:
                if done < limit:
                    done += self._turn(organization_id, limit - done)
            if done == before:
                break
        return done

    def refresh(self, organization_id: str, limit: int = BLOCK_LINES * BLOCKS_A_TURN) -> None:
        """Sum up lines of one organization before it is read, if nobody else is at it; a database that is busy is left alone."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._turn(organization_id, limit)
        except StoreError:
            return
        finally:
            self._busy.release()

    def _turn(self, organization_id: str, limit: int) -> int:
        blocks = min(BLOCKS_A_TURN, max(1, limit // BLOCK_LINES))
        with reading(self._engine, organization_id) as connection:
            found = indexing.digest(connection, organization_id, limit=blocks)
        if found is None:
            return 0
        try:
            with transaction(self._engine, organization_id) as connection:
                advanced = indexing.advance(connection, found)
        except sqlalchemy.exc.IntegrityError:
            advanced = False
        return found.upto - found.after if advanced else 0
