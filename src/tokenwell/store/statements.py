"""Statements: the SQL of the hot path, built from the schema, for each database."""

from __future__ import annotations

from functools import cache

from sqlalchemy import BigInteger, LargeBinary, SmallInteger, Table

from tokenwell.store import schema

_ADDED = {
    "rollup": ("debited_tokens", "refunded_tokens", "overage_tokens", "prompt_tokens", "completion_tokens", "requests"),
}
_REPLACED = {
    "key_usage": (
        "minute", "minute_requests", "day", "day_tokens", "month", "month_tokens", "held_tokens", "told",
    ),
    "account": tuple(column.name for column in schema.account.columns if column.name != "organization_id"),
    "pack": (
        "remaining_tokens", "repaid_tokens", "returned_tokens", "expires_at", "revoked_at", "revoked_seq", "closed_seq", "is_open",
    ),
    "hold": (
        "tokens", "status", "lapses_at", "closed_at", "used_tokens", "settled_fingerprint", "balance_after_tokens", "flags",
        "growths",
    ),
}  # fmt: skip


def names_of(table: Table) -> list[str]:
    """Return the names of a table's columns, in order."""
    return [column.name for column in table.columns]


def columns_of(table: Table) -> str:
    """Return a table's columns as SQL."""
    return ", ".join(names_of(table))


def binary_columns(table: Table) -> tuple[int, ...]:
    """Return the places of the columns that hold bytes."""
    return tuple(place for place, column in enumerate(table.columns) if isinstance(column.type, LargeBinary))


def conflict_clause(table: Table) -> str:
    """Return what happens to a row that exists: it is replaced or added to, by table; a journal line never exists."""
    key = ", ".join(column.name for column in table.primary_key.columns)
    if table.name in _ADDED:
        changes = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in _ADDED[table.name])
    elif table.name in _REPLACED:
        changes = ", ".join(f"{name} = excluded.{name}" for name in _REPLACED[table.name])
    else:
        return ""
    return f" ON CONFLICT ({key}) DO UPDATE SET {changes}"


@cache
def insert_values(table: Table, count: int) -> str:
    """Return the statement that writes `count` rows given as parameters (SQLite)."""
    row = "(" + ", ".join(["?"] * len(table.columns)) + ")"
    return f"INSERT INTO {table.name} ({columns_of(table)}) VALUES " + ", ".join([row] * count) + conflict_clause(table)


@cache
def insert_row(table: Table) -> str:
    """Return the statement that writes one row given as parameters (PostgreSQL)."""
    row = ", ".join(f"${place}" for place in range(1, len(table.columns) + 1))
    return f"INSERT INTO {table.name} ({columns_of(table)}) VALUES ({row})" + conflict_clause(table)


def _record(table: Table) -> str:
    def type_of(column: object) -> str:
        kind = column.type  # type: ignore[attr-defined]
        if isinstance(kind, SmallInteger):
            return "smallint"
        if isinstance(kind, BigInteger):
            return "bigint"
        return "bytea" if isinstance(kind, LargeBinary) else "text"

    return ", ".join(f"{column.name} {type_of(column)}" for column in table.columns)


@cache
def insert_json(table: Table) -> str:
    """Return the statement that writes any number of rows, given as one JSON text (PostgreSQL)."""
    columns = columns_of(table)
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM json_to_recordset($1::json) AS r({_record(table)})"
        + conflict_clause(table)
    )


VERSION_PLACE = names_of(schema.account).index("version")
"""Where an account's row holds its version."""

UPDATE_ACCOUNT = (
    "UPDATE account SET "
    + ", ".join(
        f"version = CASE WHEN version = ${place} THEN version + 1 END" if name == "version" else f"{name} = ${place}"
        for place, name in enumerate(_REPLACED["account"], start=1)
    )
    + f" WHERE organization_id = ${len(_REPLACED['account']) + 1}"
)
"""Writes one account if nobody else did since it was read: otherwise the version would become null, and the statement fails.
The parameters are the account's row, its organization last."""

_MOVED = ("seq", "head_hash", "last_at", "balance_tokens", "held_tokens", "overage_tokens")

MOVE_ACCOUNT = (
    "UPDATE account SET "
    + ", ".join(f"{name} = ${place}" for place, name in enumerate(_MOVED, start=1))
    + ", version = CASE WHEN version = $7 THEN version + 1 END WHERE organization_id = $8"
)
"""The same where only the totals, the last line and the version change: what most batches do, and no index has to know."""

MOVE_ACCOUNT_LOCKED = f"UPDATE account SET {', '.join(f'{name} = ?' for name in _MOVED)}, version = ? WHERE organization_id = ?"
"""The same under a lock that nobody else can have overlapped (SQLite)."""

SPEND_PACK = "UPDATE pack SET remaining_tokens = ? WHERE organization_id = ? AND pack_id = ?"
"""Writes what a pack has left where nothing else of it has changed."""

SPEND_ONE_PACK = "UPDATE pack SET remaining_tokens = $1 WHERE organization_id = $2 AND pack_id = $3"

SPEND_PACKS = (
    "UPDATE pack SET remaining_tokens = r.remaining_tokens "
    "FROM json_to_recordset($1::json) AS r(remaining_tokens bigint, organization_id text, pack_id text) "
    "WHERE pack.organization_id = r.organization_id AND pack.pack_id = r.pack_id"
)
"""The same for several packs, given as one JSON text."""

UPDATE_ACCOUNTS = (
    f"UPDATE account SET {', '.join(f'{name} = r.{name}' for name in _REPLACED['account'] if name != 'version')}, "
    "version = CASE WHEN account.version = r.version THEN account.version + 1 END "
    f"FROM json_to_recordset($1::json) AS r({_record(schema.account)}) WHERE account.organization_id = r.organization_id"
)
"""The same for several accounts, given as one JSON text."""

VERSIONS = "SELECT organization_id, version FROM account WHERE organization_id = ANY(%s)"

LOCK_ACCOUNTS = f"{VERSIONS} ORDER BY organization_id FOR UPDATE"

LOCK_LISTED = (
    "SELECT 1 FROM account WHERE organization_id IN (SELECT json_array_elements_text($1::json)) ORDER BY organization_id FOR UPDATE"
)
"""The same inside a pipeline: locks in the order of the ids, so that two batches never wait for each other."""

ACCOUNT = f"SELECT {columns_of(schema.account)} FROM account WHERE organization_id = ?"

_PACKS = f"SELECT {columns_of(schema.pack)} FROM pack WHERE organization_id = ?"
_HOLDS = f"SELECT {columns_of(schema.hold)} FROM hold WHERE organization_id = ?"
_ENTRIES = f"SELECT {columns_of(schema.entry)} FROM entry WHERE organization_id = ?"

WINDOW = f"{_PACKS} AND is_open = 1 ORDER BY priority, expires_at, granted_at, pack_id LIMIT ?"
PACK = f"{_PACKS} AND pack_id = ?"
PACKS_DUE = f"{_PACKS} AND is_open = 1 AND expires_at <= ?"
PACKS_CLOSED_SINCE = f"{_PACKS} AND closed_seq > ?"
PACKS_REPAID = f"{_PACKS} AND repaid_tokens > returned_tokens"
NEXT_EXPIRY = "SELECT MIN(expires_at) FROM pack WHERE organization_id = ? AND is_open = 1 AND expires_at > ?"
HOLD = f"{_HOLDS} AND hold_id = ?"
HOLD_BY_KEY = f"{_HOLDS} AND key = ?"
GROWTHS = f"SELECT {columns_of(schema.growth)} FROM growth WHERE organization_id = ? AND hold_id = ? ORDER BY number"
KEY_USAGE = f"SELECT {columns_of(schema.key_usage)} FROM key_usage WHERE organization_id = ? AND key_id = ?"
KEY_USED = (
    "SELECT COALESCE(SUM(debited_tokens + overage_tokens), 0) FROM rollup "
    "WHERE organization_id = ? AND key_id = ? AND bucket_at >= ?"
)
HOLDS_OPEN = f"{_HOLDS} AND status = 'open'"
HOLDS_DUE = f"{_HOLDS} AND status = 'open' AND lapses_at <= ?"
NEXT_LAPSE = "SELECT MIN(lapses_at) FROM hold WHERE organization_id = ? AND status = 'open' AND lapses_at > ?"
ACCOUNTS_DUE = "SELECT organization_id FROM account WHERE due_at <= :now ORDER BY due_at LIMIT :limit"
ENTRY_BY_KEY = f"{_ENTRIES} AND key = ?"
ENTRIES_BETWEEN = f"{_ENTRIES} AND seq BETWEEN ? AND ? ORDER BY seq"
RETURNED = (
    "SELECT ref_seq, SUM(ABS(amount_tokens)) FROM entry WHERE organization_id = ? AND ref_seq BETWEEN ? AND ? GROUP BY ref_seq"
)
