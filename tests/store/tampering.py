"""Tampering: what somebody with all rights on the database can do behind Tokenwell's back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, text

from tests.store.tenants import Tenant
from tokenwell.core.journal import GENESIS, hash_of

Tamper = Callable[[Connection, str], None]
"""Changes rows of the organization with the given id."""


@contextmanager
def unguarded(tenant: Tenant) -> Iterator[Connection]:
    """Give a connection on which the journal can be changed; what was changed is committed."""
    tenant.tampered = True
    with tenant.meter.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            yield connection
            return
        triggers = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
        for name, _ in triggers:
            connection.execute(text(f"DROP TRIGGER {name}"))
        yield connection
        for _, sql in triggers:
            connection.exec_driver_sql(sql)


def statement(sql: str, **values: Any) -> Tamper:
    """Return a change made by one statement; `:o` is the organization."""

    def tamper(connection: Connection, organization_id: str) -> None:
        changed = connection.execute(text(sql), {"o": organization_id} | values)
        assert changed.rowcount > 0, "nothing was tampered with"

    return tamper


def change(table: str, where: str = "TRUE", **values: Any) -> Tamper:
    """Return an UPDATE of one organization's rows."""
    sets = ", ".join(f"{name} = :{name}" for name in values)
    return statement(f"UPDATE {table} SET {sets} WHERE organization_id = :o AND {where}", **values)


def bump(table: str, column: str, by: int = 1) -> Tamper:
    """Return an UPDATE that adds to a column of an organization's rows."""
    return statement(f"UPDATE {table} SET {column} = {column} + :by WHERE organization_id = :o", by=by)


def remove(table: str, where: str = "TRUE") -> Tamper:
    """Return a DELETE of an organization's rows."""
    return statement(f"DELETE FROM {table} WHERE organization_id = :o AND {where}")


def copy(table: Table, where: str, **values: Any) -> Tamper:
    """Return an INSERT of a row like one that is there, with other values."""
    names = [column.name for column in table.columns]
    selected = [f":{name}" if name in values else name for name in names]
    sql = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(selected)} FROM {table.name}"
    return statement(f"{sql} WHERE organization_id = :o AND {where}", **values)


def rehash(tenant: Tenant) -> None:
    """Compute every line's hash anew, as a clever forger would."""
    previous = GENESIS
    with unguarded(tenant) as connection:
        for entry in tenant.entries():
            previous = hash_of(entry, previous)
            change("entry", f"seq = {entry.seq}", hash=previous)(connection, tenant.id)
