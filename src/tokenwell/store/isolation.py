"""Isolation: row-level security on PostgreSQL, a second wall between organizations behind the statements that name them.

Every table of tenants has a policy: a row is seen only where the transaction says whose it is (`app.organization`). The owner of
the tables is not bound by it. Reads of one organization run as a role that is, where the setting `tenant_role` names one: then even
a statement that forgot its organization gives nothing of another's. SQLite has no such thing and goes without.
"""

from __future__ import annotations

import re

import sqlalchemy
from sqlalchemy import Connection, Table, text

from tokenwell.errors import RequestInvalid
from tokenwell.store import schema

POLICY = "tenant"
ROLE_OPTION = "tenant_role"
"""The engine's option that holds the role which reads of one organization run as."""

_LOCK = 0x746F6B656E77656D
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def tenant_tables() -> tuple[Table, ...]:
    """Return the tables whose rows belong to an organization."""
    return tuple(table for table in schema.metadata.sorted_tables if "organization_id" in table.columns)


def prepare(engine: sqlalchemy.Engine, role: str) -> None:
    """Give every table of tenants its policy, and let a role read them, where that is not so already. Does nothing on SQLite.

    Raises RequestInvalid for what cannot be a role's name.
    """
    if engine.dialect.name != "postgresql":
        return
    with engine.begin() as connection:
        if not _lacking(connection, role):
            return
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})  # of several processes one does it
        for table in _lacking(connection, ""):
            condition = "organization_id = nullif(current_setting('app.organization', true), '')"
            connection.execute(text(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))
            connection.execute(text(f"CREATE POLICY {POLICY} ON {table} USING ({condition})"))
        for table in _lacking(connection, role):
            connection.execute(text(f'GRANT SELECT ON {table} TO "{checked_role(role)}"'))


def _lacking(connection: Connection, role: str) -> list[str]:
    """Return the tables of tenants without their policy, and those that the role, if there is one, may not read."""
    policies = "SELECT tablename FROM pg_policies WHERE policyname = :policy"
    protected = set(connection.execute(text(policies), {"policy": POLICY}).scalars())
    lacking = [table.name for table in tenant_tables() if table.name not in protected]
    if not role or lacking:
        return lacking
    readable = text("SELECT has_table_privilege(CAST(:role AS text), CAST(:name AS text), 'SELECT')")
    names = [table.name for table in tenant_tables()]
    return [name for name in names if not connection.execute(readable, {"role": checked_role(role), "name": name}).scalar_one()]


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
    """Return an engine whose reads of one organization run as a role; on SQLite, and without a role, the engine itself."""
    if not role or engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(**{ROLE_OPTION: checked_role(role)})
