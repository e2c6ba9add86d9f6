"""Both databases: migrations build exactly the tables that the schema describes, once, whoever else is migrating."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from tests.databases import fresh_postgres, sqlite_url_in
from tests.store.workers import Workers, migrate
from tokenwell import Meter
from tokenwell.store import schema
from tokenwell.store.dialects import open_engine, parse_database
from tokenwell.store.migration import migrate as migrate_schema
from tokenwell.store.migration import revision_of


@pytest.fixture
def engine(database_url: str) -> Iterator[sqlalchemy.Engine]:
    """An empty database."""
    engine = open_engine(parse_database(database_url))
    yield engine
    engine.dispose()


@pytest.fixture
def second_engine(request: pytest.FixtureRequest, engine: sqlalchemy.Engine, tmp_path: Path) -> Iterator[sqlalchemy.Engine]:
    """Another empty database of the same kind."""
    with ExitStack() as stack:
        if engine.dialect.name == "sqlite":
            url = sqlite_url_in(tmp_path)
        else:
            url = stack.enter_context(fresh_postgres(request.getfixturevalue("postgres_server_url")))
        second = open_engine(parse_database(url))
        stack.callback(second.dispose)
        yield second


_SQLITE = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'trigger' AND name <> 'alembic_version'"
_POSTGRES = """
SELECT c.relname || '.' || a.attname,
  concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, l.collname, d.adbin)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
"""


def definitions_of(engine: sqlalchemy.Engine) -> dict[str, list[str]]:
    """Return what the database itself says of its tables, columns, indexes and constraints, piece by piece in any order."""
    with engine.connect() as connection:
        rows = connection.execute(text(_SQLITE if engine.dialect.name == "sqlite" else _POSTGRES)).all()
    return {name: pieces_of(told) for name, told in rows if not name.startswith("alembic_version")}


def pieces_of(told: str) -> list[str]:
    """Return a definition cut at its outer parentheses and at the commas between them, in any order: a column added later stands
    behind the constraints."""
    depth, pieces = 0, [""]
    for letter in told:
        depth += (letter == "(") - (letter == ")")
        if depth <= 1 and letter in "(),":
            pieces.append("")
        else:
            pieces[-1] += letter
    return sorted(" ".join(piece.split()) for piece in pieces if piece.strip())


def test_the_migrated_tables_are_those_of_the_schema(engine: sqlalchemy.Engine) -> None:
    migrate_schema(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_database_describes_the_migrated_tables_as_it_does_the_schemas(
    engine: sqlalchemy.Engine, second_engine: sqlalchemy.Engine
) -> None:
    migrate_schema(engine)
    schema.metadata.create_all(second_engine)
    migrated, created = definitions_of(engine), definitions_of(second_engine)
    assert migrated == created
    assert {"account", "entry", "pack", "ix_entry_key", "ix_pack_burn_down"} <= {name.split(".")[0] for name in migrated}


def test_migrating_again_changes_nothing(engine: sqlalchemy.Engine) -> None:
    assert revision_of(engine) is None
    before, head = migrate_schema(engine)
    assert (before, head) == (None, revision_of(engine))
    told = definitions_of(engine)
    assert migrate_schema(engine) == (head, head)
    assert definitions_of(engine) == told


def test_what_was_written_survives_the_next_start(database_url: str) -> None:
    with Meter(database_url) as meter:
        meter.create_organization("acme")
        granted = meter.grant("acme", 5)
    with Meter(database_url) as meter:
        assert meter.packs("acme").items[0].pack == granted.pack


def test_two_processes_may_migrate_at_the_same_moment(
    request: pytest.FixtureRequest, database_url: str, workers: Workers, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        urls = [database_url]
        for _ in range(4):
            if database_url.startswith("sqlite"):
                urls.append(sqlite_url_in(tmp_path))
            else:
                urls.append(stack.enter_context(fresh_postgres(request.getfixturevalue("postgres_server_url"))))
        workers.run(migrate, [{"urls": urls}, {"urls": urls}])
        for url in urls:
            with Meter(url, migrate=False) as meter:
                meter.create_organization("acme")
                assert meter.grant("acme", 5).balance_tokens == 5
