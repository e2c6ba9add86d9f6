"""Usage of days that are over is read once, and is what somebody finds who reads it anew; on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy

from tests.databases import tenant_role_on
from tests.doubles import START, FrozenClock
from tests.store.tenants import NO_THRESHOLDS
from tokenwell import Meter
from tokenwell.service.records.browsing import Browsing, Dimension, UsageFilter, Width
from tokenwell.service.records.indexing import Indexing
from tokenwell.service.records.pastdays import DAY_MICROS, PastDays, View

HOUR = timedelta(hours=1)


def use(meter: Meter, clock: FrozenClock, hours: int) -> None:
    """Use some tokens every hour."""
    for _ in range(hours):
        clock.now += HOUR
        meter.debit("acme", 7, model=f"model-{clock.now.hour % 2}", reason="answer")


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Meter:
    """A meter with three days of use."""
    meter = Meter(database_url, thresholds=NO_THRESHOLDS, clock=clock, tenant_role=tenant_role_on(database_url))
    meter.create_organization("acme")
    meter.grant("acme", 10**9)
    use(meter, clock, 72)
    return meter


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
@pytest.mark.parametrize("width", list(Width))
def test_what_was_remembered_is_what_is_read_anew(meter: Meter, clock: FrozenClock, zone: str, width: Width) -> None:
    day = datetime(START.year, START.month, START.day, tzinfo=UTC)
    views: list[dict[str, Any]] = [
        {"by": Dimension.MODEL}, {}, {"by": Dimension.REASON, "only": UsageFilter(model="model-1")},
        {"since": day + 30 * HOUR}, {"since": day - 9 * HOUR, "until": day + 26 * HOUR}, {"by": Dimension.MODEL},
    ]  # fmt: skip
    lasting = Browsing(meter, Indexing(meter.engine))
    for _ in range(3):
        for view in views:
            asked = {"since": day - 6 * HOUR, "until": day + 144 * HOUR} | view
            anew = Browsing(meter, Indexing(meter.engine)).usage("acme", zone=zone, width=width, **asked)
            assert lasting.usage("acme", zone=zone, width=width, **asked) == anew
        use(meter, clock, 11)
        meter.debit("acme", 3, model="model-0")
    meter.close()


def test_a_day_that_is_over_is_read_once(meter: Meter, clock: FrozenClock) -> None:
    day = datetime(START.year, START.month, START.day, tzinfo=UTC)
    browsing = Browsing(meter, Indexing(meter.engine))
    read: list[int] = []

    def watch(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM rollup" in statement:
            values = parameters.values() if isinstance(parameters, dict) else parameters
            read.append(min(value for value in values if isinstance(value, int) and value > 10**15))

    sqlalchemy.event.listen(meter.engine, "before_cursor_execute", watch)
    for _ in range(2):
        browsing.usage("acme", since=day, until=day + 96 * HOUR)
    last = clock.now.replace(hour=0, minute=0)
    assert read == [int(day.timestamp()) * 10**6, int(last.timestamp()) * 10**6]
    meter.close()


def view(organization_id: str) -> View:
    """Return a view in days of UTC."""
    return View(organization_id=organization_id, offset_micros=0, width_micros=DAY_MICROS)


def test_what_was_asked_for_the_longest_ago_is_forgotten_first() -> None:
    past = PastDays(rows_kept=8)
    read: list[str] = []

    def look(name: str) -> None:
        def rows(since: int, until: int) -> Sequence[tuple[int, ...]]:
            read.append(name)
            return [(since // DAY_MICROS, 1)]

        past.rows(view(name), 0, 2 * DAY_MICROS, last_at=2 * DAY_MICROS, read=rows)

    for name in ("a", "b", "a", "c", "a", "b"):
        look(name)
    assert read == ["a", "b", "c", "b"]
