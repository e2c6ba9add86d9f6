"""The directory: the same order and the same balances on both databases, read page by page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.databases import tenant_role_on
from tests.doubles import START, FrozenClock
from tokenwell.core.health import State, Thresholds
from tokenwell.errors import RequestInvalid
from tokenwell.service.meter import Meter
from tokenwell.service.records.directory import Directory
from tokenwell.service.records.outlooks import Outlooks
from tokenwell.service.shapes import UsageTotals

PLATFORM = Thresholds(5_000, 1_000)


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    with Meter(database_url, thresholds=PLATFORM, clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        yield meter


@pytest.fixture
def directory(meter: Meter, clock: FrozenClock) -> Directory:
    return Directory(meter.engine, platform=PLATFORM, clock=clock)


def test_it_agrees_with_each_organizations_own_balance(meter: Meter, directory: Directory, clock: FrozenClock) -> None:
    for number in range(12):
        name = f"org-{number:02}"
        meter.create_organization(name, name=f"Organization {number}")
        meter.grant(name, 1 + 700 * number)
        if number % 3 == 0:
            meter.grant(name, 4_000, expires_at=clock.now + timedelta(minutes=number + 1))
        if number % 4 == 0:
            meter.set_thresholds(name, warning=50, reserve=20)
    clock.advance(timedelta(minutes=5))
    found = []
    cursor = None
    while True:
        page = directory.organizations(cursor=cursor, limit=5)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(found) == 12
    assert {each.organization_id for each in found} == {f"org-{number:02}" for number in range(12)}
    for each in found:
        balance = meter.balance(each.organization_id)
        assert (each.balance_tokens, each.state, each.active_packs) == (
            balance.balance_tokens,
            balance.state,
            balance.active_packs,
        )
        assert (each.warning_tokens, each.reserve_tokens) == (balance.warning_tokens, balance.reserve_tokens)
    urgency = [State.AI_STOPPED, State.RUNNING_LOW, State.NORMAL]
    runs = (State.RUNNING_LOW, State.NORMAL)
    keys = [(each.state in runs, each.balance_tokens - each.reserve_tokens, each.organization_id) for each in found]
    assert keys == sorted(keys)
    counted = directory.counts()
    assert counted == {state: sum(each.state is state for each in found) for state in urgency}


def test_the_soonest_to_stop_come_before_those_nearer_to_the_reserve(
    meter: Meter, directory: Directory, clock: FrozenClock
) -> None:
    granted = {"slow": 2_000, "quick": 90_000, "idle": 1_500, "stopped": 0, "expiring": 50_000}
    for name, tokens in granted.items():
        meter.create_organization(name)
        if tokens:
            meter.grant(name, tokens, expires_at=clock.now + timedelta(days=4) if name == "expiring" else None)
    for _ in range(26):
        for name, tokens in {"slow": 1, "quick": 1_000, "expiring": 10}.items():
            meter.debit(name, tokens)
        clock.advance(timedelta(hours=1))
    by_margin = ["stopped", "idle", "slow", "expiring", "quick"]
    assert [each.organization_id for each in directory.organizations().items] == by_margin
    assert Outlooks(meter).refresh() == 5
    found, cursor = [], None
    for _ in granted:
        page = directory.organizations(cursor=cursor, limit=1)
        found += page.items
        cursor = page.next_cursor
    assert cursor is None
    assert [each.organization_id for each in found] == ["stopped", "quick", "expiring", "slow", "idle"]
    for each in found[1:4]:
        told = meter.forecast(each.organization_id)
        assert told is not None
        assert (each.stops_at, each.tokens_per_day) == (told.expected.ai_stops_at, told.tokens_per_day)
    assert (found[4].stops_at, found[4].tokens_per_day) == (None, 0)
    assert [each.organization_id for each in directory.organizations(state=State.NORMAL).items] == ["quick", "expiring"]


def test_a_search_finds_parts_of_names_and_ids_and_nothing_else(meter: Meter, directory: Directory) -> None:
    meter.create_organization("acme", name="100% Parts")
    meter.create_organization("beta_2", name="Beta")
    assert [each.organization_id for each in directory.organizations(search="0% p").items] == ["acme"]
    assert [each.organization_id for each in directory.organizations(search="A_2").items] == ["beta_2"]
    assert directory.organizations(search="%%").items == ()
    assert directory.counts(search="beta") == {State.AI_STOPPED: 1, State.RUNNING_LOW: 0, State.NORMAL: 0}


@pytest.mark.parametrize("cursor", ["", "x", "1.2", "1.2.\x00", "-1.1.a", f"{2**63}.1.a", f"1.{2**63}.a"])
def test_a_cursor_that_no_page_gave_is_refused(directory: Directory, cursor: str) -> None:
    with pytest.raises(RequestInvalid):
        directory.organizations(cursor=cursor)


def test_the_usage_of_all_is_the_sum_of_each(meter: Meter, directory: Directory, clock: FrozenClock) -> None:
    for number, name in enumerate(("acme", "beta", "gamma")):
        meter.create_organization(name, name=name.capitalize())
        meter.grant(name, 90_000)
        meter.debit(name, 100 * (number + 1), prompt_tokens=60, completion_tokens=40, model="m", key="r")
    meter.refund("beta", "r", 50, key="back")
    clock.advance(timedelta(days=2))
    meter.debit("gamma", 7)
    since, until = START - timedelta(minutes=30), START + timedelta(minutes=30)
    for search in ("", "a", "beta", "%"):
        rows = directory.usage(since=since, until=until, search=search).items
        of_all = directory.usage_total(since=since, until=until, search=search)
        assert of_all.organizations == len(rows)
        for name in UsageTotals.__struct_fields__:
            assert getattr(of_all.total, name) == sum(getattr(row.total, name) for row in rows), (search, name)
    assert directory.usage_total(since=since, until=until).total.debited_tokens == 600
    with pytest.raises(RequestInvalid):
        directory.usage_total(since=until, until=since)


def test_names_are_read_at_once(meter: Meter, directory: Directory) -> None:
    meter.create_organization("acme", name="Acme Parts")
    assert directory.names(["acme", "acme", "nobody"]) == {"acme": "Acme Parts"}
    assert directory.names([]) == {}
