"""Engines: what their errors tell, and what they do not."""

from __future__ import annotations

import pytest
import sqlalchemy

from tokenwell.store.dialects import open_engine, parse_database


def test_an_error_tells_its_statement_but_not_what_it_was_given(database_url: str) -> None:
    """Hashes and tokens are among what statements are given, and errors end up in logs."""
    engine = open_engine(parse_database(database_url))
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
        connection.execute(sqlalchemy.text("SELECT 1 FROM nowhere WHERE token = :token"), {"token": "very-secret"})
    engine.dispose()
    assert "nowhere" in str(caught.value)
    assert "very-secret" not in str(caught.value)
