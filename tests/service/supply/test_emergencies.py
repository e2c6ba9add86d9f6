"""Emergency tokens: within the platform's limit, while the balance is low, once until a grant has repaid them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell import Thresholds
from tokenwell.core.alerts import FOR_PLATFORM
from tokenwell.core.happenings import Actor, ActorKind, EventKind
from tokenwell.core.health import State
from tokenwell.errors import AmountInvalid, EmergencyRefused, IdempotencyConflict, OrganizationNotFound, TokenwellError
from tokenwell.service.meter import Meter
from tokenwell.service.records.audit import Audit
from tokenwell.service.supply.emergencies import Emergencies
from tokenwell.store import schema
from tokenwell.store.reader import reading

MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin")


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with an organization that is Running low."""
    with Meter(database_url, thresholds=Thresholds(1_000, 100), clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        opened.create_organization("acme")
        opened.grant("acme", 500)
        yield opened


@pytest.fixture
def emergencies(meter: Meter) -> Emergencies:
    """The emergency tokens of that meter."""
    return Emergencies(meter, limit_tokens=300)


def advances(meter: Meter) -> list[tuple[str, str, str]]:
    """Return the advances that the audit log has: who, what and which pack."""
    return [(line.act.actor.name, line.act.action, line.act.subject) for line in Audit(meter.engine).list("acme").items]


def test_what_is_taken_is_a_pack_that_is_owed_and_noted(meter: Meter, emergencies: Emergencies) -> None:
    taken = emergencies.take("acme", "300", note="Until Monday", by=MEI)
    assert (taken.advanced_tokens, taken.balance_tokens) == (300, 800)
    assert (taken.pack.expires_at, taken.pack.note) == (None, "Until Monday")
    assert meter.balance("acme").overage_tokens == 300
    assert advances(meter) == [("Mei Lin", "pack.advance", taken.pack.id)]
    (found,) = meter.verify("acme")
    assert list(found.problems) == []


def test_an_organization_that_is_stopped_can_take_them(meter: Meter, emergencies: Emergencies) -> None:
    meter.debit("acme", 450)
    assert meter.balance("acme").state is State.AI_STOPPED
    assert emergencies.take("acme", 300, by=MEI).state is State.RUNNING_LOW


def test_what_is_offered_is_what_can_be_taken(meter: Meter, emergencies: Emergencies) -> None:
    offered = emergencies.offered(meter.balance("acme"))
    assert offered == emergencies.limit_tokens
    emergencies.take("acme", offered, by=MEI)
    assert emergencies.offered(meter.balance("acme")) == 0
    assert Emergencies(meter, limit_tokens=0).offered(meter.balance("acme")) == 0


def test_while_the_balance_is_normal_there_are_none(meter: Meter, emergencies: Emergencies) -> None:
    meter.grant("acme", 500)
    with pytest.raises(EmergencyRefused) as refused:
        emergencies.take("acme", 300, by=MEI)
    assert refused.value.details == {"state": "normal"}
    assert (meter.balance("acme").balance_tokens, advances(meter)) == (1_000, [])


def test_they_are_taken_once_until_all_is_repaid(meter: Meter, emergencies: Emergencies) -> None:
    emergencies.take("acme", 200, by=MEI)
    with pytest.raises(EmergencyRefused) as refused:
        emergencies.take("acme", 100, by=MEI)
    assert refused.value.details == {"overage_tokens": 200}
    meter.grant("acme", 199)
    with pytest.raises(EmergencyRefused):
        emergencies.take("acme", 100, by=MEI)
    assert meter.grant("acme", 1).repaid_tokens == 1
    assert emergencies.take("acme", 100, by=MEI).advanced_tokens == 100


def test_overage_is_no_obstacle(meter: Meter, emergencies: Emergencies) -> None:
    meter.debit("acme", 900, already_used=True)
    assert meter.balance("acme").overage_tokens == 400
    assert emergencies.offered(meter.balance("acme")) == 300
    taken = emergencies.take("acme", 300, by=MEI)
    assert (taken.balance_tokens, taken.state) == (300, State.RUNNING_LOW)
    assert meter.balance("acme").overage_tokens == 700
    with pytest.raises(EmergencyRefused):
        emergencies.take("acme", 1, by=MEI)


def test_what_was_taken_is_repaid_before_what_was_used_beyond_the_balance_since(meter: Meter, emergencies: Emergencies) -> None:
    meter.debit("acme", 550, already_used=True)  # 50 beyond the balance
    emergencies.take("acme", 100, by=MEI)
    meter.debit("acme", 130, already_used=True, key="beyond")  # and 30 more
    assert meter.grant("acme", 149).repaid_tokens == 149
    with pytest.raises(EmergencyRefused) as refused:
        emergencies.take("acme", 100, by=MEI)
    assert refused.value.details == {"overage_tokens": 31}
    assert meter.grant("acme", 1).repaid_tokens == 1
    assert emergencies.take("acme", 100, by=MEI).advanced_tokens == 100
    assert meter.balance("acme").overage_tokens == 130


def test_use_beyond_the_balance_meanwhile_is_no_obstacle(
    meter: Meter, emergencies: Emergencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter.debit("acme", 500)
    advance = meter.advance

    def used_meanwhile(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(meter, "advance", advance)
        meter.debit("acme", 7, already_used=True)
        return advance(*given, **named)

    monkeypatch.setattr(meter, "advance", used_meanwhile)
    assert emergencies.take("acme", 100, by=MEI).advanced_tokens == 100
    assert meter.balance("acme").overage_tokens == 107


def test_the_platform_is_told(meter: Meter, emergencies: Emergencies) -> None:
    taken = emergencies.take("acme", 100, by=MEI)
    with reading(meter.engine) as connection:
        query = select(schema.event.c.kind, schema.event.c.detail).order_by(schema.event.c.event_id.desc())
        kind, detail = connection.execute(query).first() or ("", "")
    told = msgspec.json.decode(detail)
    assert (kind, told["pack_id"], told["total_tokens"], told["overage_tokens"]) == ("pack.advanced", taken.pack.id, 100, 100)
    assert EventKind.PACK_ADVANCED in FOR_PLATFORM


@pytest.mark.parametrize("amount", [301, "1M", 0, -1, "many"])
def test_no_more_than_the_limit_and_no_nonsense(meter: Meter, emergencies: Emergencies, amount: int | str) -> None:
    with pytest.raises(AmountInvalid):
        emergencies.take("acme", amount, by=MEI)
    assert (meter.balance("acme").balance_tokens, advances(meter)) == (500, [])


def test_without_a_limit_of_the_platform_there_are_none(meter: Meter) -> None:
    with pytest.raises(EmergencyRefused) as refused:
        Emergencies(meter, limit_tokens=0).take("acme", 1, by=MEI)
    assert refused.value.details == {"limit_tokens": 0}


def test_a_repetition_gives_the_first_answer_whatever_holds_now(meter: Meter, emergencies: Emergencies) -> None:
    first = emergencies.take("acme", 300, key="monday", by=MEI)
    meter.grant("acme", 5_000)
    for limit in (300, 200, 0):
        again = Emergencies(meter, limit_tokens=limit).take("acme", 300, key="monday", by=MEI)
        assert (again.replayed, again.pack, again.balance_tokens) == (True, first.pack, first.balance_tokens)
    with pytest.raises(IdempotencyConflict):
        emergencies.take("acme", 200, key="monday", by=MEI)
    assert len(advances(meter)) == 1


def test_of_many_at_once_one_is_granted(meter: Meter, emergencies: Emergencies) -> None:
    refused: list[TokenwellError] = []
    together = threading.Barrier(6)

    def take() -> None:
        together.wait()
        try:
            emergencies.take("acme", 50, by=MEI)
        except EmergencyRefused as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    assert meter.balance("acme").overage_tokens == 50


def test_another_s_organization_is_not_there(emergencies: Emergencies) -> None:
    with pytest.raises(OrganizationNotFound):
        emergencies.take("nowhere", 1, by=MEI)
