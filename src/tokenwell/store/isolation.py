"""Isolation: row-level security on PostgreSQL, a second wall between organizations behind the statements that name them.

Every table of tenants has a policy: a row is seen, added, changed and deleted only where the transaction says whose it is
(`app.organization`). Of people only members are seen, and of them no password. The owner of the tables is not bound by it. What is
about one organization runs as a role that is, where the setting `tenant_role` names one: then even a statement that forgot its
organization gives, and touches, nothing of another's. SQLite has no such thing and goes without.
"""

from __future__ import annotations

import re

import msgspec
import sqlalchemy
from sqlalchemy import Connection, Table, text

from tokenwell.errors import RequestInvalid
from tokenwell.store import schema

POLICY = "tenant"
ROLE_OPTION = "tenant_role"
"""The engine's option that holds the role which what is about one organization runs as."""

_LOCK = 0x746F6B656E77656D
_WRITERS_OWN = frozenset({"organization", "account", "pack", "hold", "growth", "key_usage", "entry", "rollup"})
"""Tables that only the journal's writer writes, which commits many organizations in one transaction, and whoever makes one."""

_APPENDED = frozenset({"event", "act"})
_HIDDEN = frozenset({"password_hash"})
"""What of a person nobody sees who is bound to an organization."""

_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def tenant_tables() -> tuple[Table, ...]:
    """Return the tables whose rows belong to an organization."""
    return tuple(table for table in schema.metadata.sorted_tables if "organization_id" in table.columns)


class Grant(msgspec.Struct, frozen=True):
    """What a role bound to one organization may do with a table, or with some of its columns alone."""

    table: str
    what: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it as GRANT does."""
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        return ", ".join(f"{each}{columns}" for each in self.what) + f" ON {self.table}"


def grants() -> tuple[Grant, ...]:
    """Return all that a role bound to one organization may do: read its tables, append to what is only appended to, and change
    the rest; but what the writer alone writes, and who there is, not at all."""
    return (
        *(Grant(table.name, _may(table.name)) for table in tenant_tables()),
        Grant(schema.pack.name, ("UPDATE",), ("note",)),
        Grant(schema.person.name, ("SELECT",), tuple(each.name for each in schema.person.columns if each.name not in _HIDDEN)),
    )


def _may(table: str) -> tuple[str, ...]:
    if table in _APPENDED:
        return ("SELECT", "INSERT")
    return ("SELECT",) if table in _WRITERS_OWN else ("SELECT", "INSERT", "UPDATE", "DELETE")


def prepare(engine: sqlalchemy.Engine, role: str) -> None:
    """Give every table of tenants its policy, and a role what it may, where that is not so already. Does nothing on SQLite.

    Raises RequestInvalid for what cannot be a role's name.
    """
    if engine.dialect.name != "postgresql":
        return
    with engine.begin() as connection:
        if not _unprotected(connection) and not _ungranted(connection, role):
            return
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})  # of several processes one does it
        for table in _unprotected(connection):
            connection.execute(text(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))
            connection.execute(text(f"CREATE POLICY {POLICY} ON {table} USING ({_condition(table)})"))
        for grant in _ungranted(connection, role):
            connection.execute(text(f'GRANT {grant} TO "{checked_role(role)}"'))


def protected_tables() -> tuple[str, ...]:
    """Return the tables that have a policy: those of tenants, and who there is."""
    return (*(table.name for table in tenant_tables()), schema.person.name)


def _condition(table: str) -> str:
    own = "organization_id = nullif(current_setting('app.organization', true), '')"
    if table == schema.person.name:
        return f"EXISTS (SELECT FROM membership WHERE membership.person_id = person.person_id AND membership.{own})"
    return own


def _unprotected(connection: Connection) -> list[str]:
    known = text("SELECT tablename FROM pg_policies WHERE policyname = :policy")
    protected = set(connection.execute(known, {"policy": POLICY}).scalars())
    return [name for name in protected_tables() if name not in protected]


def _ungranted(connection: Connection, role: str) -> list[Grant]:
    """Return what the role, if there is one, may not do yet."""
    if not role:
        return []
    lacking = []
    for grant in grants():
        named = {"role": checked_role(role), "table": grant.table}
        checks = [f"has_table_privilege(CAST(:role AS text), CAST(:table AS text), '{each}')" for each in grant.what]
        if grant.columns:
            checks = [
                f"has_column_privilege(CAST(:role AS text), CAST(:table AS text), '{column}', '{each}')"
                for each in grant.what
                for column in grant.columns
            ]
        if not connection.execute(text(f"SELECT {' AND '.join(checks)}"), named).scalar_one():
            lacking.append(grant)
    return lacking


def checked_role(role: str) -> str:
    """Return a role's name if it can be one. Raises RequestInvalid."""
    if not _ROLE.fullmatch(role):
        raise RequestInvalid("a role's name is 1 to 63 of a-z, 0-9 and _", field="tenant_role")
    return role


def enter(connection: Connection, organization_id: str) -> None:
    """Bind the transaction to one organization, where the engine names a role for it; what is no id binds it to none.

    `set_config()` would not reach the workers of a sharded database; SET LOCAL does. It takes no parameters, so what is put into it
    is checked.
    """
    role = connection.engine.get_execution_options().get(ROLE_OPTION, "")
    if not role:
        return
    known = organization_id if re.fullmatch(r"[a-z0-9_-]{1,64}", organization_id) else ""
    connection.exec_driver_sql(f"SET LOCAL app.organization = '{known}'")
    connection.exec_driver_sql(f'SET LOCAL ROLE "{checked_role(role)}"')


def bound(engine: sqlalchemy.Engine, role: str) -> sqlalchemy.Engine:
    """Return an engine on which what is about one organization runs as a role; on SQLite, and without a role, the engine itself."""
    if not role or engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(**{ROLE_OPTION: checked_role(role)})
