"""The audit log: what was done, by whom, from where; by filter, exported, and never changed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy

from tests.doubles import FrozenClock
from tests.service.suites import ADA, PASSWORD, suite_on
from tokenwell.core.happenings import Actor
from tokenwell.errors import OrganizationNotFound, RequestInvalid
from tokenwell.service.records import audit
from tokenwell.service.records.audit import AuditFilter
from tokenwell.service.suite import Suite


@pytest.fixture
def suite(database_url: str, clock: FrozenClock) -> Iterator[Suite]:
    """Acts of an afternoon, in two organizations and on the platform."""
    with suite_on(database_url, clock) as opened:
        opened.keys.create("acme", name="=1+1", by=ADA)
        clock.advance(timedelta(hours=1))
        opened.keys.create("beta", name="theirs")
        clock.advance(timedelta(hours=1))
        opened.people.create_admin(email="ada@example.com", password=PASSWORD)
        key = opened.keys.list("acme").items[0]
        opened.keys.revoke("acme", key.id, by=ADA)
        yield opened


def actions(suite: Suite, organization_id: str | None = None, **wanted: object) -> list[str]:
    return [line.act.action for line in suite.audit.list(organization_id, AuditFilter(**wanted)).items]  # type: ignore[arg-type]


def test_an_organization_sees_its_own_acts_the_platform_all(suite: Suite) -> None:
    assert actions(suite, "acme") == ["key.revoke", "key.create"]
    assert actions(suite, "beta") == ["key.create"]
    assert actions(suite) == ["key.revoke", "person.create", "key.create", "key.create"]
    with pytest.raises(OrganizationNotFound):
        suite.audit.list("nowhere")


def test_acts_are_filtered_by_who_what_and_when(suite: Suite, clock: FrozenClock) -> None:
    assert actions(suite, actor="Ada Root") == actions(suite, actor="per_ada") == ["key.revoke", "key.create"]
    assert actions(suite, action="key.revoke") == ["key.revoke"]
    assert actions(suite, action="key") == ["key.revoke", "key.create", "key.create"]
    assert actions(suite, action="ke") == []
    assert actions(suite, since=clock() - timedelta(hours=1)) == ["key.revoke", "person.create", "key.create"]
    assert actions(suite, until=clock() - timedelta(hours=1)) == ["key.create"]
    with pytest.raises(RequestInvalid):
        suite.audit.list(None, AuditFilter(since=clock().replace(tzinfo=None)))


def test_pages_follow_one_another(suite: Suite) -> None:
    seen, cursor = [], None
    while True:
        page = suite.audit.list(None, cursor=cursor, limit=3)
        seen += [line.id for line in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 4


def test_exports_hold_every_act_and_no_formula(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "EXPORT_PAGE", 2)
    lines = suite.audit.list(None).items
    rows = list(csv.DictReader(io.StringIO("".join(suite.audit.export(None, "csv")))))
    told = [json.loads(line) for line in "".join(suite.audit.export(None, "ndjson")).splitlines()]
    assert [row["id"] for row in rows] == [each["id"] for each in told] == [line.id for line in lines]
    assert told[0]["source"] == "192.0.2.7"
    suite.keys.create("acme", name="one", by=named("=cmd()"))
    assert "'=cmd()" in "".join(suite.audit.export("acme", "csv"))
    with pytest.raises(RequestInvalid):
        suite.audit.export(None, "xml")  # type: ignore[arg-type]


def named(name: str) -> Actor:
    return Actor(kind=ADA.kind, name=name)


@pytest.mark.parametrize("statement", ["UPDATE act SET action = 'nothing'", "DELETE FROM act"])
def test_what_was_done_cannot_be_undone_in_the_log(suite: Suite, statement: str) -> None:
    with pytest.raises(sqlalchemy.exc.DBAPIError, match="append-only"), suite.meter.engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement))
    assert len(suite.audit.list(None).items) == 4
