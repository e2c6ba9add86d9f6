"""Packs in the order in which they are used, and what stands out among them; on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.doubles import FrozenClock
from tests.store.tenants import NO_THRESHOLDS
from tokenwell import Meter
from tokenwell.errors import OrganizationNotFound, RequestInvalid
from tokenwell.service.packs import LARGEST, Outstanding, Packs

DAY = timedelta(days=1)


def test_many_packs_tell_the_same_as_all_of_them(database_url: str, clock: FrozenClock) -> None:
    with Meter(database_url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        meter.create_organization("acme")
        packs = Packs(meter)
        assert packs.outstanding("acme") == Outstanding()
        assert packs.in_burn_order("acme").items == ()
        for place in range(4 * LARGEST):
            expires_at = None if place % 5 == 0 else clock.now + DAY * (1 + place * 7 % 11)
            meter.grant("acme", 100 + place * 37 % 90, expires_at=expires_at, priority=place % 3 - 1)
        meter.debit("acme", 130)
        meter.revoke("acme", "PK-9")
        clock.now += 2 * DAY  # some have expired by now, though nobody has written it
        active = [line.pack for line in meter.packs("acme", limit=1_000).items if line.status.value == "active"]
        assert 0 < len(active) < 4 * LARGEST - 2
        in_order = sorted(active, key=lambda pack: pack.burn_order())
        assert packs.outstanding("acme") == Outstanding.among(active)
        found, cursor = [], None
        while True:
            page = packs.in_burn_order("acme", cursor=cursor, limit=4)
            found += [line.pack for line in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == in_order
        for wrong in ("999", "PK-1", "-1"):
            with pytest.raises(RequestInvalid):
                packs.in_burn_order("acme", cursor=wrong)
        with pytest.raises(OrganizationNotFound):
            packs.outstanding("nobody")
