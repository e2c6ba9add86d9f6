"""A filtered ledger, its sums, sessions and usage are what somebody finds who reads every line; on both databases."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.databases import fresh_postgres, sqlite_url_in, tenant_role_on
from tests.doubles import START, FrozenClock
from tests.service.browsed import every_line, fill, passing
from tests.store.tenants import NO_THRESHOLDS
from tokenwell import Entry, Meter
from tokenwell.core.journal import EntryKind
from tokenwell.errors import NotFound, OrganizationNotFound, PackNotFound, RequestInvalid
from tokenwell.service.records import browsing as browsing_module
from tokenwell.service.records.browsing import Browsing, Dimension, LedgerFilter, Sums, UsageFilter, Width
from tokenwell.service.records.indexing import Indexing
from tokenwell.service.shapes import UsageTotals
from tokenwell.store.records import browsing as store
from tokenwell.store.records.indexing import BLOCK_LINES

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meter]:
    """A meter with two organizations of the same story: one summed up, one only up to its middle."""
    clock = FrozenClock()

    def told(url: str) -> Iterator[Meter]:
        with Meter(url, thresholds=NO_THRESHOLDS, clock=clock, tenant_role=tenant_role_on(url)) as meter:
            for name in ("whole", "half"):
                clock.now = START
                asyncio.run(fill(meter, name, clock))
            Indexing(meter.engine)._turn("whole", 10**6)
            Indexing(meter.engine)._turn("half", BLOCK_LINES)
            yield meter

    if request.param == "sqlite":
        yield from told(sqlite_url_in(tmp_path_factory.mktemp("browsing")))
        return
    with fresh_postgres(request.getfixturevalue("postgres_server_url")) as url:
        yield from told(url)


class Idle(Indexing):
    """Sums up nothing by itself."""

    def refresh(self, organization_id: str, limit: int = 0) -> None:
        """Leave it as it is."""


@pytest.fixture(params=["whole", "half"])
def organization_id(request: pytest.FixtureRequest) -> str:
    """Each of the two organizations."""
    return str(request.param)


@pytest.fixture
def browsing(world: Meter) -> Browsing:
    """Reads, with what is summed up left as it is."""
    return Browsing(world, Idle(world.engine))


def filters(entries: list[Entry]) -> list[LedgerFilter]:
    """Return filters of every kind and some of their combinations."""
    span: dict[str, Any] = {"since": START + 3 * HOUR, "until": START + 15 * HOUR}
    packs = sorted({entry.pack_id for entry in entries if entry.pack_id})
    single: list[dict[str, Any]] = [
        {}, {"model": "model-1"}, {"session": "session-40"}, {"session": "rare"}, {"reason": "tagging"}, {"service": "svc-2"},
        {"key": "key-rare"}, {"kind": EntryKind.REFUND}, {"kind": EntryKind.DEBIT}, {"model": "nobody"},
        *({"pack": pack} for pack in packs),
    ]  # fmt: skip
    pairs = [a | b for a, b in itertools.combinations(single, 2) if a and b and not set(a) & set(b)]
    return [LedgerFilter(**chosen) for chosen in [*single, *pairs[::4], *(each | span for each in single[::3])]]


def pages(browsing: Browsing, organization_id: str, asked: LedgerFilter, limit: int) -> list[Entry]:
    """Return all pages of a filter, one after the other."""
    found: list[Entry] = []
    cursor = None
    while True:
        page = browsing.ledger(organization_id, asked, cursor=cursor, limit=limit)
        found += [line.entry for line in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_the_story_covers_several_blocks_and_packs(world: Meter) -> None:
    entries = every_line(world, "whole")
    assert len(entries) > 3 * BLOCK_LINES
    assert {entry.kind for entry in entries} >= {EntryKind.DEBIT, EntryKind.REFUND, EntryKind.OVERAGE, EntryKind.OVERAGE_REPAID}
    assert len({entry.pack_id for entry in entries if entry.kind is EntryKind.DEBIT}) == 3


def test_pages_of_a_filter_are_exactly_its_lines(world: Meter, browsing: Browsing, organization_id: str) -> None:
    entries = every_line(world, organization_id)
    for asked in filters(entries):
        assert pages(browsing, organization_id, asked, limit=300) == passing(entries, asked), asked
    few = LedgerFilter(key="key-rare")
    assert pages(browsing, organization_id, few, limit=1) == passing(entries, few)


def test_sums_of_a_filter_are_those_of_its_lines(world: Meter, browsing: Browsing, organization_id: str) -> None:
    entries = every_line(world, organization_id)
    for asked in filters(entries):
        lines = passing(entries, asked)
        debits = [line for line in lines if line.kind is EntryKind.DEBIT]
        assert browsing.sums(organization_id, asked) == Sums(
            len(lines),
            sum(line.amount_tokens for line in debits),
            sum(line.amount_tokens for line in lines if line.kind is EntryKind.REFUND),
            sum(line.prompt_tokens or 0 for line in debits),
            sum(line.completion_tokens or 0 for line in debits),
        ), asked


def test_a_stream_is_exactly_a_filter(world: Meter, browsing: Browsing) -> None:
    asked = LedgerFilter(reason="answer", model="model-2")
    streamed = [line.entry for line in browsing.export("half", asked, chunk=100)]
    assert streamed == passing(every_line(world, "half"), asked)


def test_a_request_is_found_by_its_id_and_still_filtered(world: Meter, browsing: Browsing) -> None:
    entries = every_line(world, "whole")
    for request in ("r-399", "held", "refund-3", "nothing"):
        asked = LedgerFilter(request=request)
        assert [line.entry for line in browsing.ledger("whole", asked).items] == passing(entries, asked)
    asked = LedgerFilter(request="r-400", model="model-0")
    assert browsing.ledger("whole", asked).items == ()
    assert browsing.sums("whole", asked).lines == 0


def test_a_pack_is_named_by_its_number_too(browsing: Browsing) -> None:
    assert {line.pack_number for line in browsing.ledger("whole", LedgerFilter(pack="PK-2")).items} == {2}
    with pytest.raises(PackNotFound):
        browsing.ledger("whole", LedgerFilter(pack="PK-99"))
    with pytest.raises(PackNotFound):
        browsing.ledger("whole", LedgerFilter(pack="nonsense"))


def test_sessions_have_the_sums_of_their_lines(world: Meter, browsing: Browsing, organization_id: str) -> None:
    entries = every_line(world, organization_id)
    found = []
    cursor = None
    while True:
        page = browsing.sessions(organization_id, cursor=cursor, limit=37)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [row.last_seq for row in found] == sorted({row.last_seq for row in found}, reverse=True)
    assert {row.session for row in found} == {entry.session for entry in entries if entry.session}
    for row in found:
        lines = [entry for entry in entries if entry.session == row.session]
        charges = {entry.request_id for entry in lines if entry.kind is EntryKind.DEBIT}
        assert (row.first_at, row.last_at, row.requests) == (lines[0].at, lines[-1].at, len(charges))
        assert row.debited_tokens == sum(entry.amount_tokens for entry in lines if entry.kind is EntryKind.DEBIT)
        assert row.refunded_tokens == sum(entry.amount_tokens for entry in lines if entry.kind is EntryKind.REFUND)
        assert row.overage_tokens == sum(entry.amount_tokens for entry in lines if entry.kind is EntryKind.OVERAGE)
        assert row.prompt_tokens == sum(entry.prompt_tokens or 0 for entry in lines)
        assert browsing.session(organization_id, row.session) == row
    with pytest.raises(NotFound):
        browsing.session(organization_id, "nobody")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
@pytest.mark.parametrize("width", list(Width))
def test_days_and_hours_sum_to_the_range_and_to_the_rows(world: Meter, browsing: Browsing, zone: str, width: Width) -> None:
    since, until = START - HOUR, START + 24 * HOUR
    entries = [entry for entry in every_line(world, "whole") if since <= entry.at < until]
    usage = browsing.usage("whole", since=since, until=until, zone=zone, width=width, by=Dimension.MODEL)
    debited = sum(entry.amount_tokens for entry in entries if entry.kind is EntryKind.DEBIT)
    refunded = sum(entry.amount_tokens for entry in entries if entry.kind is EntryKind.REFUND)
    assert (usage.total.debited_tokens, usage.total.refunded_tokens) == (debited, refunded)
    assert sum(bucket.debited_tokens for bucket in usage.buckets) == debited
    assert sum(bucket.refunded_tokens for series in usage.series for bucket in series.buckets) == refunded
    place = ZoneInfo(zone)
    for start, end, bucket in zip(usage.starts, [*usage.starts[1:], until], usage.buckets, strict=True):
        local = start.astimezone(place)
        assert local.minute == 0
        assert width is Width.HOUR or local.hour == 0
        rows = [entry for entry in entries if start <= entry.at < end and entry.kind is EntryKind.DEBIT]
        assert bucket.debited_tokens == sum(entry.amount_tokens for entry in rows)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
@pytest.mark.parametrize("width", list(Width))
def test_sessions_are_told_apart_line_by_line_and_sum_to_the_range(
    world: Meter, browsing: Browsing, zone: str, width: Width
) -> None:
    since, until = START + HOUR, START + 30 * HOUR
    entries = [entry for entry in every_line(world, "whole") if since <= entry.at < until]
    usage = browsing.usage("whole", since=since, until=until, zone=zone, width=width, by=Dimension.SESSION, limit=5)
    debits: dict[str, int] = {}
    for entry in entries:
        if entry.kind is EntryKind.DEBIT:
            debits[entry.session or ""] = debits.get(entry.session or "", 0) + entry.amount_tokens
    largest = sorted(debits, key=lambda name: (-debits[name], name))[:5]
    assert [series.value for series in usage.series] == [*largest, ""]
    assert [series.is_rest for series in usage.series] == [False] * 5 + [True]
    assert [series.total.debited_tokens for series in usage.series[:5]] == [debits[name] for name in largest]
    whole = browsing.usage("whole", since=since, until=until, zone=zone, width=width)
    assert (usage.total, usage.buckets, usage.is_partial) == (whole.total, whole.buckets, False)
    for name in UsageTotals.__struct_fields__:
        for number, bucket in enumerate(whole.buckets):
            assert sum(getattr(series.buckets[number], name) for series in usage.series) == getattr(bucket, name)


def test_of_a_long_range_only_the_latest_lines_are_told_apart_and_nothing_is_lost(
    world: Meter, browsing: Browsing, monkeypatch: pytest.MonkeyPatch
) -> None:
    span: dict[str, datetime] = {"since": START - HOUR, "until": START + 48 * HOUR}
    lines = len([entry for entry in every_line(world, "whole") if entry.kind is not EntryKind.GRANT])
    monkeypatch.setattr(browsing_module, "SESSION_LINES", 300)
    part = browsing.usage("whole", **span, by=Dimension.SESSION, limit=1_000)
    assert (part.is_partial, lines > 300) == (True, True)
    assert part.series[-1].is_rest
    assert part.series[-1].total.debited_tokens > 0
    assert sum(series.total.debited_tokens for series in part.series) == part.total.debited_tokens
    assert browsing.usage("whole", **span, by=Dimension.SESSION, only=UsageFilter(model="model-1")).total == (
        browsing.usage("whole", **span, only=UsageFilter(model="model-1")).total
    )


def test_usage_folds_what_is_small_and_can_be_filtered(world: Meter, browsing: Browsing) -> None:
    span: dict[str, datetime] = {"since": START - HOUR / 2, "until": START + 48 * HOUR - HOUR / 2}
    usage = browsing.usage("whole", **span, by=Dimension.SERVICE, limit=2)
    assert [series.is_rest for series in usage.series] == [False, False, True]
    assert sum(series.total.requests for series in usage.series) == usage.total.requests
    one = browsing.usage("whole", **span, by=Dimension.MODEL, only=UsageFilter(service="svc-1"))
    rows = [entry for entry in every_line(world, "whole") if entry.service_id == "svc-1" and entry.kind is EntryKind.DEBIT]
    assert one.total.debited_tokens == sum(entry.amount_tokens for entry in rows)
    assert {series.value for series in one.series} == {"model-0", "model-1", "model-2"}


def test_bad_input_is_refused(browsing: Browsing) -> None:
    for asked in (LedgerFilter(kind=EntryKind.GRANT), LedgerFilter(model="x" * 201)):
        with pytest.raises(RequestInvalid):
            browsing.ledger("whole", asked)
    for cursor in ("x", "-1", "9" * 30):
        with pytest.raises(RequestInvalid):
            browsing.ledger("whole", cursor=cursor)
        with pytest.raises(RequestInvalid):
            browsing.sessions("whole", cursor=cursor)
    for limit in (0, 1_001):
        with pytest.raises(RequestInvalid):
            browsing.ledger("whole", limit=limit)
    with pytest.raises(RequestInvalid):
        browsing.usage("whole", since=START, until=START + HOUR, zone="Mars/Olympus")
    with pytest.raises(RequestInvalid):
        browsing.usage("whole", since=START + timedelta(seconds=1), until=START + HOUR)
    with pytest.raises(RequestInvalid):
        browsing.usage("whole", since=START, until=START + timedelta(days=100), width=Width.HOUR)
    with pytest.raises(OrganizationNotFound):
        browsing.ledger("nobody")
    with pytest.raises(OrganizationNotFound):
        browsing.sessions("nobody")


def test_what_takes_too_long_to_count_says_at_least(world: Meter, browsing: Browsing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LINES_LOOKED_THROUGH", 600)
    asked = LedgerFilter(model="model-1", reason="answer")
    capped = browsing.sums("whole", asked)
    assert capped.is_capped
    assert (capped.debited_tokens, 0 < capped.lines < 600) == (None, True)
    assert pages(browsing, "whole", asked, limit=1_000) == passing(every_line(world, "whole"), asked)


def test_catching_up_writes_every_whole_block_once(database_url: str, clock: FrozenClock) -> None:
    with Meter(database_url, thresholds=NO_THRESHOLDS, clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        asyncio.run(fill(meter, "acme", clock))
        lines = len(every_line(meter, "acme"))
        first, second = Browsing(meter, Indexing(meter.engine)), Browsing(meter, Indexing(meter.engine))
        assert first.catch_up(BLOCK_LINES) == BLOCK_LINES
        assert second.catch_up() == (lines // BLOCK_LINES - 1) * BLOCK_LINES
        assert (first.catch_up(), second.catch_up()) == (0, 0)
        entries = every_line(meter, "acme")
        asked = LedgerFilter(model="model-1")
        assert pages(first, "acme", asked, limit=400) == passing(entries, asked)
