"""What people look at is found by an index, however many rows there are: SQLite says how it goes about a statement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy

from tests.databases import sqlite_url_in
from tokenwell import Meter
from tokenwell.service.packs import Packs
from tokenwell.service.records.browsing import Browsing, LedgerFilter
from tokenwell.service.records.indexing import Indexing


def plans_of(meter: Meter, statements: list[tuple[str, Any]]) -> list[str]:
    """Return what SQLite does for each statement."""
    with meter.engine.connect() as connection:
        return [
            f"{' '.join(sql.split())}: {row[3]}"
            for sql, parameters in statements
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
        ]


def test_what_a_page_reads_is_found_by_an_index(tmp_path: Path) -> None:
    with Meter(sqlite_url_in(tmp_path)) as meter:
        meter.create_organization("acme")
        meter.grant("acme", 10_000_000)
        meter.debit("acme", 10, model="m")
        packs, browsing = Packs(meter), Browsing(meter, Indexing(meter.engine))
        statements: list[tuple[str, Any]] = []

        def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith(("SELECT", "WITH")):
                statements.append((statement, parameters))

        sqlalchemy.event.listen(meter.engine, "before_cursor_execute", keep)
        meter.balance("acme")
        meter.forecast("acme")
        packs.in_burn_order("acme")
        packs.outstanding("acme")
        browsing.ledger("acme")
        browsing.ledger("acme", LedgerFilter(model="m"))
        browsing.sums("acme", LedgerFilter(model="m", session="s"))
        sqlalchemy.event.remove(meter.engine, "before_cursor_execute", keep)
        plans = plans_of(meter, statements)
        assert len(statements) > 10
        assert not [plan for plan in plans if ": SCAN" in plan]
        open_holds = [plan for plan in plans if "FROM hold" in plan]
        assert open_holds
        assert all("ix_hold_open" in plan for plan in open_holds)
        in_order = [plan for plan in plans if "ORDER BY pack.priority" in plan]
        assert in_order
        assert all("ix_pack_burn_down" in plan for plan in in_order), in_order
