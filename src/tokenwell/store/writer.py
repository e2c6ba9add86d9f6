"""The writer: the one place that commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy

from tokenwell.errors import CommitUnknown
from tokenwell.store.dialects import translate


@contextmanager
def transaction(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """Run a transaction off the hot path: committed when the block ends, rolled back when it raises.

    Raises StoreBusy, StoreUnavailable, and CommitUnknown if the connection is lost while committing.
    """
    try:
        connection = engine.connect()
    except Exception as error:
        raise translate(error) or error from error
    with connection:
        try:
            yield connection
        except Exception as error:
            connection.rollback()
            raise translate(error) or error from error
        try:
            connection.commit()
        except Exception as error:
            raise CommitUnknown() if translate(error) else error from error
