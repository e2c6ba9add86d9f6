"""The inbox: what happened is kept apart for each organization, and read marks for each person."""

from __future__ import annotations

import pytest

from tests.doubles import FrozenClock
from tests.service.suites import ADA, suite_on
from tokenwell.core.happenings import PLATFORM
from tokenwell.errors import OrganizationNotFound


def test_what_is_unread_is_counted_for_each_person(database_url: str, clock: FrozenClock) -> None:
    with suite_on(database_url, clock) as suite:
        suite.meter.grant("acme", 10_000_000)
        suite.meter.grant("acme", 10_000_000)
        suite.meter.grant("beta", 10_000_000)
        first, second = suite.inbox.bell("acme", "per_mei").latest
        assert first.id > second.id
        assert suite.inbox.mark_read("acme", "per_mei", [first.id, first.id]) == 1
        assert suite.inbox.mark_read("acme", "per_mei", [first.id]) == 0
        assert [suite.inbox.count_unread("acme", person).count for person in ("per_mei", "per_vic")] == [1, 2]
        assert suite.inbox.count_unread("acme", "per_vic").newest_id == first.id
        bell = suite.inbox.bell("acme", "per_mei", limit=1)
        assert (bell.unread.count, [each.id for each in bell.latest], bell.latest[0].is_read) == (1, [first.id], True)
        assert [each.id for each in suite.inbox.unread("acme", "per_mei")] == [second.id]


def test_what_does_not_ring_is_history_and_not_unread(database_url: str, clock: FrozenClock) -> None:
    with suite_on(database_url, clock) as suite:
        suite.meter.grant("acme", 1_000)
        suite.meter.debit("acme", 1_000, already_used=True)
        kinds = [each.event.kind.value for each in suite.inbox.history("acme").items]
        assert {"pack.depleted", "service.restricted"} <= set(kinds)
        ringing = [each.event.kind.value for each in suite.inbox.bell("acme", "per_mei").latest]
        assert ringing == ["state.ai_stopped", "pack.granted"]
        assert suite.inbox.count_unread("acme", "per_mei").count == 2


def test_nobody_marks_what_is_not_there(database_url: str, clock: FrozenClock) -> None:
    with suite_on(database_url, clock) as suite, pytest.raises(OrganizationNotFound):
        suite.inbox.mark_read("nobody", "per_mei", ["evt_1"])


def test_the_platform_reads_of_every_organization_what_it_is_told_of(database_url: str, clock: FrozenClock) -> None:
    with suite_on(database_url, clock) as suite:
        for organization_id in ("acme", "beta"):
            suite.meter.grant(organization_id, 1_000)
            suite.meter.debit(organization_id, 1_000, already_used=True)
        suite.topups.ask("acme", 5_000_000, by=ADA)
        found = suite.inbox.history(PLATFORM, person_id="per_ada").items
        assert [(each.event.kind.value, each.organization_name) for each in found] == [
            ("topup.requested", "Acme Parts"), ("state.ai_stopped", "beta"), ("state.ai_stopped", "Acme Parts"),
        ]  # fmt: skip
        first = suite.inbox.history(PLATFORM, person_id="per_ada", limit=1)
        rest = suite.inbox.history(PLATFORM, person_id="per_ada", cursor=first.next_cursor, limit=5)
        assert [each.id for each in (*first.items, *rest.items)] == [each.id for each in found]
        assert suite.inbox.newest_anywhere() == found[0].id
        assert suite.inbox.mark_read(PLATFORM, "per_ada", [found[2].id, "evt_none"]) == 1
        assert suite.inbox.count_unread(PLATFORM, "per_ada").count == 2
        assert suite.inbox.count_unread(PLATFORM, "per_root").count == 3
        # Read on the platform's page is read on the organization's.
        assert found[2].id not in [each.id for each in suite.inbox.unread("acme", "per_ada")]
