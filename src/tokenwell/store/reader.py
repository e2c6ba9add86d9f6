"""The reader: everything that is only read, without locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy

from tokenwell.store.dialects import translate


@contextmanager
def reading(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """Give a connection whose statements see the last commit and take no lock. Raises StoreUnavailable."""
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    except sqlalchemy.exc.DBAPIError as error:
        raise translate(error) or error from error
