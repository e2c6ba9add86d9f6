"""Both databases: what happens is told once, in the transaction in which it happens."""

from __future__ import annotations

from datetime import timedelta

from tests.doubles import FrozenClock
from tests.store.tellings import event_rows, events_of
from tests.store.tenants import NO_THRESHOLDS, Tenant, at, refused
from tests.store.workers import Workers, call, race
from tokenwell import Meter
from tokenwell.core.instants import to_micros
from tokenwell.errors import AiStopped


def test_an_organization_without_packs_has_nothing_to_tell(tenant: Tenant) -> None:
    tenant.set_thresholds(warning=100, reserve=10)
    with refused(AiStopped):
        tenant.debit(1)
    assert events_of(tenant) == []


def test_a_first_pack_that_is_ample_is_granted_and_no_more(tenant: Tenant) -> None:
    tenant.set_thresholds(warning=100, reserve=10)
    pack = tenant.grant(105, note="hello").pack
    ((kind, instant, detail),) = event_rows(tenant)
    assert (kind, instant) == ("pack.granted", to_micros(at(0)))
    assert detail == {
        "pack_id": pack.id, "pack_number": 1, "total_tokens": 105, "remaining_tokens": 105, "expires_at": None, "repaid_tokens": 0,
        "balance_tokens": 105, "seq": 1,
    }  # fmt: skip


def test_lines_are_crossed_downwards_and_recovered_from(tenant: Tenant) -> None:
    tenant.set_thresholds(warning=100, reserve=10)
    tenant.grant(200)
    tenant.debit(100)
    tenant.debit(1)
    tenant.debit(89)
    tenant.debit(1)
    tenant.grant(95)
    tenant.grant(1)
    told = [(kind, detail.get("state"), detail.get("before"), detail["balance_tokens"]) for kind, _, detail in event_rows(tenant)]
    assert [each for each in told if not each[0].startswith("pack.")] == [
        ("state.running_low", "running_low", "normal", 99),
        ("state.ai_stopped", "ai_stopped", "running_low", 9),
        ("service.restricted", "ai_stopped", "running_low", 9),
        ("state.recovered", "running_low", "ai_stopped", 104),
        ("service.restored", "running_low", "ai_stopped", 104),
        ("state.recovered", "normal", "running_low", 105),
    ]


def test_a_balance_that_dithers_around_a_line_tells_once(tenant: Tenant) -> None:
    tenant.set_thresholds(warning=100, reserve=0)
    tenant.grant(100)
    for _ in range(5):
        tenant.debit(1)
        tenant.grant(1)
    assert [kind for kind in events_of(tenant) if kind.startswith("state.")] == ["state.running_low"]


def test_thresholds_alone_cross(tenant: Tenant) -> None:
    tenant.grant(100)
    tenant.set_thresholds(warning=101, reserve=0)
    tenant.set_thresholds(warning=101, reserve=101)
    tenant.clear_thresholds()
    assert events_of(tenant, after=1) == [
        "state.running_low",
        "state.ai_stopped",
        "service.restricted",
        "state.recovered",
        "service.restored",
    ]


def test_packs_are_told_as_they_run_out_are_revoked_and_extended(tenant: Tenant) -> None:
    for number in range(3):
        tenant.grant(10, expires_at=at(60 + number))
    tenant.debit(10)
    tenant.extend("PK-2", expires_at=at(90))
    tenant.revoke("PK-3")
    rows = event_rows(tenant)[3:]
    assert [(kind, detail["pack_number"], detail["remaining_tokens"]) for kind, _, detail in rows] == [
        ("pack.depleted", 1, 0),
        ("pack.extended", 2, 10),
        ("pack.revoked", 3, 10),
    ]
    assert rows[2][2]["forfeited_tokens"] == 10


def test_overage_is_told_when_it_begins_and_when_it_is_repaid(tenant: Tenant) -> None:
    tenant.grant(10)
    tenant.debit(15, already_used=True)
    tenant.debit(5, already_used=True)
    tenant.grant(4)
    tenant.grant(10)
    rows = [(kind, detail["overage_tokens"]) for kind, _, detail in event_rows(tenant) if kind.startswith("overage.")]
    assert rows == [("overage.incurred", 5), ("overage.repaid", 6), ("overage.repaid", 0)]


def test_what_is_refused_or_repeated_is_not_told(tenant: Tenant) -> None:
    tenant.grant(10, key="g")
    tenant.debit(10, key="k")
    before = events_of(tenant)
    tenant.grant(10, key="g")
    tenant.debit(10, key="k")
    with refused(AiStopped):
        tenant.debit(1)
    assert events_of(tenant) == before


# Time alone


def test_an_expiry_is_told_by_a_sweep_without_traffic_at_its_own_instant(tenant: Tenant) -> None:
    tenant.set_thresholds(warning=20, reserve=10)
    tenant.grant(11, expires_at=at(30))
    tenant.grant(11, expires_at=at(60))
    assert tenant.id not in tenant.meter.reading.organizations_due(limit=1000)
    tenant.go_to(75)
    assert tenant.id in tenant.meter.reading.organizations_due(limit=1000)
    sweep_all(tenant)
    told = [(kind, instant) for kind, instant, _ in event_rows(tenant)[4:]]
    assert told == [
        ("pack.expired", to_micros(at(30))),
        ("state.running_low", to_micros(at(30))),
        ("pack.expired", to_micros(at(60))),
        ("state.ai_stopped", to_micros(at(60))),
        ("service.restricted", to_micros(at(60))),
    ]
    assert tenant.lines(2) == ["expire 11 PK-1 11 | 11", "expire 11 PK-2 11 | 0"]
    assert tenant.id not in tenant.meter.reading.organizations_due(limit=1000)


def test_a_sweep_lapses_holds(tenant: Tenant) -> None:
    tenant.grant(10)
    hold = tenant.open_hold(5, ttl=timedelta(seconds=30)).hold
    tenant.go_to(30)
    sweep_all(tenant)
    assert tenant.id not in tenant.meter.reading.organizations_due(limit=1000)
    assert tenant.settle(hold.id, 5).late


def test_a_sweep_sees_what_another_meter_granted(tenant: Tenant, shared_url: str) -> None:
    tenant.grant(10)
    with Meter(shared_url, thresholds=NO_THRESHOLDS, clock=tenant.clock, migrate=False) as other:
        other.grant(tenant.id, 10, expires_at=at(30))
    tenant.go_to(30)
    sweep_all(tenant)
    assert tenant.lines(2) == ["expire 10 PK-2 10 | 10"]


def test_sweeps_of_many_processes_tell_once(tenant: Tenant, shared_url: str, workers: Workers) -> None:
    tenant.set_thresholds(warning=5, reserve=5)
    for number in range(5):
        tenant.grant(2, expires_at=at(30 + number))
    scripts = [[call("sweep")] * 5 for _ in range(2)]
    arguments = {"url": shared_url, "scripts": scripts, "mode": "mixed", "clock": FrozenClock(at(60))}
    outcomes = workers.run(race, [arguments] * 3)
    assert {type(outcome) for process in outcomes for script in process for outcome in script} == {int}
    kinds = events_of(tenant)
    assert [kinds.count(kind) for kind in ("pack.expired", "state.recovered", "state.ai_stopped")] == [5, 1, 2]


def sweep_all(tenant: Tenant) -> None:
    """Sweep until nothing is due in any organization that shares the database."""
    while tenant.meter.sweep(limit=100):
        pass
