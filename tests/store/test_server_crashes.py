"""PostgreSQL itself is stopped, or crashes, under load: the meter says so, finds it again, and no acknowledged charge is lost."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.doubles import FrozenClock
from tests.store.servers import OwnServer, own_server
from tests.store.tenants import NO_THRESHOLDS, Tenant, refused
from tokenwell import Meter
from tokenwell.errors import CommitUnknown, StoreUnavailable

CALLERS, CHARGES = 8, 40


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """A server that tests may stop, as long as they start it again."""
    with own_server() as server:
        yield server


@pytest.fixture
def tenant(server: OwnServer, clock: FrozenClock) -> Iterator[Tenant]:
    """An organization with a million tokens on that server."""
    with Meter(server.url, thresholds=NO_THRESHOLDS, clock=clock) as meter:
        tenant = Tenant(meter, clock)
        tenant.grant("1M")
        yield tenant
        assert tenant.problems() == ()


def test_a_stopped_server_is_unavailable_and_found_again_when_it_is_started(server: OwnServer, tenant: Tenant) -> None:
    tenant.debit(1)
    server.stop()
    try:
        for act in (lambda: tenant.debit(1, key="k"), lambda: tenant.open_hold(1), tenant.balance, tenant.meter.ping):
            with refused(StoreUnavailable):
                act()
    finally:
        server.start()
    assert tenant.balance().balance_tokens == 10**6 - 1
    assert not tenant.debit(1, key="k").replayed


@pytest.mark.parametrize("end", [OwnServer.stop, OwnServer.crash], ids=["stopped", "crashed"])
def test_a_server_that_goes_away_under_load_loses_no_acknowledged_charge_and_repeats_none(
    server: OwnServer, tenant: Tenant, end: Callable[[OwnServer], None]
) -> None:
    acknowledged: list[str] = []
    halfway, back = threading.Event(), threading.Event()

    def charge(key: str) -> None:
        debit = functools.partial(tenant.debit, 1, key=key)
        try:
            debit()
        except (StoreUnavailable, CommitUnknown):
            back.wait()
            debit()
        acknowledged.append(key)
        if len(acknowledged) > CALLERS * CHARGES // 4:
            halfway.set()

    def load(caller: int) -> Any:
        for number in range(CHARGES):
            charge(f"{caller}-{number}")

    with ThreadPoolExecutor(CALLERS) as pool:
        loads = [pool.submit(load, caller) for caller in range(CALLERS)]
        halfway.wait()
        end(server)
        kept = list(acknowledged)
        server.start()
        charged = {line.entry.request_id for line in tenant.ledger(limit=1000).items}
        back.set()
        for each in loads:
            each.result()
    assert set(kept) <= charged
    assert sorted(line.entry.request_id or "" for line in tenant.ledger(limit=1000).items) == sorted(acknowledged)
    assert tenant.balance().balance_tokens == 10**6 - CALLERS * CHARGES
