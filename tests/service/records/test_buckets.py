"""Buckets are cut where a zone's own days and hours begin, whatever its clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from tokenwell.core.instants import to_micros
from tokenwell.service.records.buckets import Width, spans, start_of, starts_in, zone_of

QUARTER = timedelta(minutes=15)
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 6, 1, tzinfo=UTC)),
    ("America/St_Johns", datetime(2026, 11, 1, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
]


@pytest.mark.parametrize(("name", "around"), CHANGES)
@pytest.mark.parametrize("width", list(Width))
def test_every_quarter_falls_into_the_bucket_of_its_local_day_or_hour(name: str, around: datetime, width: Width) -> None:
    zone, since, until = zone_of(name), around - timedelta(days=2, minutes=15), around + timedelta(days=2)
    starts = starts_in(width, zone, since, until)
    assert starts == sorted(set(starts))
    assert len({start.astimezone(zone).date() for start in starts}) == len(starts) or width is Width.HOUR
    for start, end, offset in spans(zone, since, until):
        at = start
        while at < end:
            bucket = start_of(width, (to_micros(at) + offset) // width.micros, offset, zone, start)
            assert bucket in starts
            assert bucket == max(each for each in starts if each <= at)
            local, begun = at.astimezone(zone), bucket.astimezone(zone)
            assert local.date() == begun.date()
            assert width is Width.DAY or (local.hour, local.utcoffset()) == (begun.hour, begun.utcoffset())
            at += QUARTER


@pytest.mark.parametrize(("name", "around"), CHANGES)
def test_a_day_begins_where_the_day_before_ends(name: str, around: datetime) -> None:
    zone = zone_of(name)
    starts = starts_in(Width.DAY, zone, around - timedelta(days=5), around + timedelta(days=5))
    for before, after in pairwise(starts):
        assert (after - timedelta(microseconds=1)).astimezone(zone).date() == before.astimezone(zone).date()


def test_spans_join_to_the_whole_and_keep_one_offset() -> None:
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    found = list(spans(ZoneInfo("Europe/Berlin"), since, until))
    assert [offset // 3_600_000_000 for _, _, offset in found] == [1, 2, 1]
    assert [start for start, _, _ in found] == [since, datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)]
    assert [end for _, end, _ in found][-1] == until
