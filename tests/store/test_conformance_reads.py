"""Both databases: pages give each line once, the past reads as it was, and sums equal the rows they sum."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from tests.doubles import FrozenClock
from tests.store.tenants import MICROSECOND, NO_THRESHOLDS, Tenant, at, parts_of, refused
from tokenwell import Balance, EntryKind, Meter, Pack, PackStatus, State, Usage, UsageTotals
from tokenwell.errors import RequestInvalid, RequestNotFound


def lively(tenant: Tenant, tell: Callable[[], None]) -> list[str]:
    """Live through every kind of command, a second apart, and tell after each; returns the ids of the holds."""
    held: list[str] = []
    for number, act in enumerate(
        (
            lambda: tenant.grant(100, expires_at=at(12.5), key="g1"),
            lambda: tenant.grant(50, priority=1),
            lambda: held.append(tenant.open_hold(30, ttl=timedelta(seconds=4.5), key="h1").hold.id),
            lambda: tenant.debit(prompt_tokens=80, completion_tokens=40, model="m", reason="r", key="d1"),
            lambda: tenant.refund("d1", 30),
            lambda: tenant.extend("PK-1", expires_at=at(20.5)),
            lambda: tenant.grant(10, expires_at=at(10.5)),
            lambda: held.append(tenant.open_hold(5).hold.id),
            lambda: tenant.settle(held[0], 25, model="m"),
            lambda: tenant.debit(200, already_used=True, key="d2"),
            lambda: tenant.grant(60),
            lambda: tenant.revoke("PK-2"),
            lambda: tenant.settle(held[1], 3),
            lambda: tenant.refund("d2", 190, key="r2"),
            lambda: held.append(tenant.open_hold(1).hold.id),
            lambda: tenant.release(held[2]),
            lambda: tenant.extend("PK-1", expires_at=None),
            lambda: tenant.revoke("PK-4", cancel_holds=True),
            lambda: tenant.grant(7, expires_at=at(19.5)),
            lambda: tenant.debit(2, model="other", reason="r"),
            lambda: tenant.set_thresholds(warning=0, reserve=0),
        )
    ):
        tenant.go_to(number)
        act()
        tell()
    return held


@pytest.fixture
def lived(tenant: Tenant) -> Tenant:
    """An organization with something of everything in its journal."""
    tenant.held = lively(tenant, lambda: None)
    return tenant


# Pages


def all_pages(read: Callable[..., Any], limit: int) -> list[Any]:
    items: list[Any] = []
    page = read(limit=limit)
    while page.next_cursor is not None:
        assert len(page.items) == limit
        items.extend(page.items)
        assert len(items) < 1000, "the pages have no end"
        page = read(limit=limit, cursor=page.next_cursor)
    return items + list(page.items)


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_give_every_line_exactly_once(lived: Tenant, limit: int) -> None:
    assert all_pages(lived.ledger, limit) == list(lived.ledger(limit=1000).items)
    assert all_pages(lived.packs, limit) == list(lived.packs(limit=1000).items)
    past = at(10)
    assert all_pages(lambda **page: lived.packs(as_of=past, **page), limit) == list(lived.packs(as_of=past).items)
    by_cursor = all_pages(lambda limit, cursor="0": lived.journal(after_seq=int(cursor), limit=limit), limit)
    assert by_cursor == lived.entries()
    assert [entry.seq for entry in by_cursor] == list(range(1, len(by_cursor) + 1))


def test_the_ledger_shows_debits_and_refunds_the_latest_first_with_the_numbers_of_their_packs(lived: Tenant) -> None:
    numbers = {line.pack.id: line.pack.number for line in lived.packs().items}
    shown = [entry for entry in lived.entries() if entry.kind in (EntryKind.DEBIT, EntryKind.REFUND)]
    assert [(line.entry, line.pack_number) for line in lived.ledger().items] == [
        (entry, numbers[entry.pack_id or ""]) for entry in reversed(shown)
    ]
    assert len(shown) == 11


def test_lines_written_between_two_pages_neither_repeat_nor_hide_one(tenant: Tenant) -> None:
    tenant.grant(100)
    for number in range(6):
        tenant.debit(1, key=f"d{number}")
    page = tenant.ledger(limit=3)
    tenant.debit(1, key="new")
    rest = tenant.ledger(limit=10, cursor=page.next_cursor)
    told = [line.entry.request_id for line in (*page.items, *rest.items)]
    assert told == ["d5", "d4", "d3", "d2", "d1", "d0"]


def test_packs_are_listed_by_status(lived: Tenant) -> None:
    everything = lived.packs(limit=1000).items
    for status in PackStatus:
        of_status = [line for line in everything if line.status is status]
        assert all_pages(lambda status=status, **page: lived.packs(status=status, **page), 1) == of_status
        assert lived.pack_counts()[status] == len(of_status)
        past = [line for line in lived.packs(as_of=at(10)).items if line.status is status]
        assert list(lived.packs(as_of=at(10), status=status).items) == past


def test_organizations_are_listed_by_id(database_url: str, clock: FrozenClock) -> None:
    with Meter(database_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        for name in ("b", "a_1", "a", "z9", "a1", "0"):
            meter.create_organization(name)
        listed = all_pages(meter.organizations, 2)
        assert [organization.id for organization in listed] == ["0", "a", "a1", "a_1", "b", "z9"]
        assert [verified.organization_id for verified in meter.verify()] == ["0", "a", "a1", "a_1", "b", "z9"]


# Requests


def test_a_request_is_read_whole_by_its_key_or_its_hold(lived: Tenant) -> None:
    assert parts_of(lived.request("d1")) == [("debit", 1, 100, "1/2"), ("debit", 2, 20, "2/2")]
    assert [(line.entry.prompt_tokens, line.entry.completion_tokens) for line in lived.request("d1")] == [(80, 20), (0, 20)]
    assert parts_of(lived.request("h1")) == [("debit", 3, 10, "1/3"), ("debit", 1, 10, "2/3"), ("debit", 2, 5, "3/3")]
    assert lived.request("h1") == lived.request(lived.held[0])
    assert parts_of(lived.request("d2")) == [("debit", 2, 45, "1/2"), ("overage", None, 155, "2/2")]
    for unknown in ("nonsense", "hold_00000000000000000000000000"):
        with refused(RequestNotFound, request_id=unknown):
            lived.request(unknown)


# The past


def timeless(told: Balance | Pack) -> Balance | Pack:
    """Leave out which line is the last: an expiry is in force at its instant, but its line is written with the next command."""
    return replace(told, seq=0, head_hash="") if isinstance(told, Balance) else replace(told, closed_seq=None)


def test_the_past_reads_as_it_was_read_then(tenant: Tenant) -> None:
    told: list[tuple[datetime, Balance, Any]] = []

    def tell() -> None:
        for _ in range(2):
            told.append((tenant.clock.now, tenant.balance(), tenant.packs()))
            tenant.clock.advance(timedelta(seconds=0.5))

    lively(tenant, tell)
    for then, balance, packs in told:
        assert timeless(tenant.balance(as_of=then)) == timeless(balance)
        assert [(timeless(line.pack), line.status) for line in tenant.packs(as_of=then).items] == [
            (timeless(line.pack), line.status) for line in packs.items
        ]
    assert len({balance.balance_tokens for _, balance, _ in told}) >= 10


def test_as_of_an_instant_every_line_up_to_it_counts(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    tenant.go_to(1)
    tenant.debit(4)
    tenant.debit(15, already_used=True)
    tenant.go_to(2)
    tenant.grant(20)
    tenant.go_to(3)

    def told(as_of: datetime) -> tuple[int, int, State, int]:
        balance = tenant.balance(as_of=as_of)
        assert balance.as_of == as_of
        return balance.balance_tokens, balance.overage_tokens, balance.state, balance.seq

    assert told(at(0) - MICROSECOND) == (0, 0, State.AI_STOPPED, 0)
    assert told(at(0)) == (10, 0, State.NORMAL, 1)
    assert told(at(1) - MICROSECOND) == (10, 0, State.NORMAL, 1)
    assert told(at(1)) == (0, 9, State.AI_STOPPED, 4)
    assert told(at(2)) == (11, 0, State.NORMAL, 6)
    assert told(at(3)) == (11, 0, State.NORMAL, 6)
    assert tenant.packs(as_of=at(0) - MICROSECOND).items == ()
    assert tenant.balance(as_of=at(1)).head_hash == tenant.entries()[3].hash.hex()


def test_as_of_reads_see_an_expiry_before_and_after_it_was_extended(tenant: Tenant) -> None:
    tenant.grant(10, expires_at=at(60))
    tenant.go_to(50)
    tenant.extend("PK-1", expires_at=at(70))
    tenant.go_to(80)
    tenant.grant(1)

    def told(as_of: datetime) -> tuple[int, datetime | None, str]:
        line = tenant.packs(as_of=as_of).items[-1]
        return tenant.balance(as_of=as_of).balance_tokens, line.pack.expires_at, line.status.value

    assert told(at(49)) == (10, at(60), "active")
    assert told(at(50)) == (10, at(70), "active")
    assert told(at(65)) == (10, at(70), "active")
    assert told(at(70) - MICROSECOND) == (10, at(70), "active")
    assert told(at(70)) == (0, at(70), "expired")


def test_as_of_reads_see_what_was_held_then(tenant: Tenant) -> None:
    tenant.grant(100)
    settled, released = (tenant.open_hold(tokens, ttl=timedelta(seconds=10)).hold for tokens in (1, 2))
    tenant.open_hold(4, ttl=timedelta(seconds=3))
    late = tenant.open_hold(8, ttl=timedelta(seconds=4)).hold
    tenant.go_to(1)
    tenant.settle(settled.id, 1)
    tenant.go_to(2)
    tenant.release(released.id)
    tenant.go_to(6)
    tenant.settle(late.id, 1)
    tenant.go_to(9)
    tenant.grant(1)
    instants = [at(0), at(1) - MICROSECOND, at(1), at(2), at(3) - MICROSECOND, at(3), at(4) - MICROSECOND, at(4), at(6)]
    assert [tenant.balance(as_of=then).held_tokens for then in instants] == [15, 15, 14, 12, 12, 8, 8, 0, 0]


def test_the_future_cannot_be_read(tenant: Tenant) -> None:
    tenant.grant(1)
    assert tenant.balance(as_of=at(0)) == tenant.balance()
    for read in (tenant.balance, tenant.packs):
        with refused(RequestInvalid, field="as_of"):
            read(as_of=at(0) + MICROSECOND)


# Sums

KATHMANDU = timezone(timedelta(hours=5, minutes=45))


def test_usage_is_summed_by_the_days_of_any_time_zone(tenant: Tenant) -> None:
    midnight = datetime(2027, 2, 1, tzinfo=KATHMANDU).astimezone(UTC)
    tenant.grant(1000)
    tenant.clock.now = midnight - MICROSECOND
    tenant.debit(usage=Usage(input_tokens=10, output_tokens=1))
    tenant.clock.now = midnight
    tenant.debit(usage=Usage(input_tokens=20, reasoning_tokens=2), key="k")
    tenant.clock.now = midnight + timedelta(days=1) - MICROSECOND
    tenant.debit(5)
    tenant.refund("k", 7)
    tenant.clock.now = midnight + timedelta(days=1)
    tenant.debit(2000, already_used=True)
    days = [
        tenant.usage_totals(since=midnight + timedelta(days=day), until=midnight + timedelta(days=day + 1)) for day in (-1, 0, 1)
    ]
    assert days == [
        UsageTotals(debited_tokens=11, prompt_tokens=10, completion_tokens=1, requests=1),
        UsageTotals(debited_tokens=27, refunded_tokens=7, prompt_tokens=20, completion_tokens=2, requests=2),
        UsageTotals(debited_tokens=969, overage_tokens=1031, requests=1),
    ]


def test_usage_is_summed_by_whole_quarters_of_an_hour_only(tenant: Tenant) -> None:
    tenant.grant(1)
    since, until = at(0), at(900)
    assert tenant.usage_totals(since=since, until=until) == UsageTotals()
    for wrong in ({"since": at(1)}, {"until": at(899)}, {"until": until + MICROSECOND}):
        with pytest.raises(RequestInvalid):
            tenant.usage_totals(**{"since": since, "until": until} | wrong)


def test_usage_totals_equal_the_sums_of_the_lines(tenant: Tenant) -> None:
    for quarter in range(4):
        tenant.clock.now = at(900 * quarter)
        lively_from(tenant, quarter)
    entries = tenant.entries()
    for first in range(5):
        for last in range(first, 6):
            since, until = at(900 * first), at(900 * last)
            lines = [entry for entry in entries if since <= entry.at < until]
            debits = [entry for entry in lines if entry.kind is EntryKind.DEBIT]
            overages = [entry for entry in lines if entry.kind is EntryKind.OVERAGE]
            assert tenant.usage_totals(since=since, until=until) == UsageTotals(
                debited_tokens=sum(entry.amount_tokens for entry in debits),
                refunded_tokens=sum(entry.amount_tokens for entry in lines if entry.kind is EntryKind.REFUND),
                overage_tokens=sum(entry.amount_tokens for entry in overages),
                prompt_tokens=sum(entry.prompt_tokens or 0 for entry in debits),
                completion_tokens=sum(entry.completion_tokens or 0 for entry in debits),
                requests=len({entry.request_id for entry in debits + overages if entry.ref_seq is None}),
            )


def lively_from(tenant: Tenant, quarter: int) -> None:
    """Grant, charge across packs and into overage, settle, refund: once a quarter, over the border of it."""
    tenant.grant(1000 + quarter, expires_at=at(900 * quarter + 2000))
    tenant.debit(prompt_tokens=30, completion_tokens=quarter, model="m", session="s", reason="r", key=f"a{quarter}")
    held = tenant.open_hold(10).hold
    tenant.debit(1200, already_used=True, model="m", service_id="v", key=f"b{quarter}")
    tenant.clock.now = at(900 * quarter + 899) + MICROSECOND * 999_999
    tenant.settle(held.id, prompt_tokens=7, completion_tokens=5, key_id="k")
    tenant.refund(f"a{quarter}", 11)
    tenant.refund(f"b{quarter}", 60)
