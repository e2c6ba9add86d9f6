"""Both databases: what an administrator did is kept with what it changed, and with nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.store.tellings import acts_of, events_of
from tests.store.tenants import Tenant, at, refused
from tokenwell.core.happenings import SYSTEM, Actor, ActorKind
from tokenwell.errors import AmountInvalid, OrganizationExists, PackAlreadyRevoked

ANNA = Actor(kind=ActorKind.PERSON, id="person_1", name="Anna", source="192.0.2.7")


def test_every_administrative_command_keeps_who_gave_it_and_what_it_changed(tenant: Tenant) -> None:
    granted = tenant.grant(100, expires_at=at(60), note="welcome", by=ANNA).pack
    tenant.extend("PK-1", expires_at=at(90), note="as asked", by=ANNA)
    tenant.debit(30, key="k")
    tenant.refund("k", 10, key="r", note="sorry", by=ANNA)
    tenant.revoke("PK-1", by=ANNA)
    tenant.set_thresholds(warning=5, reserve=2, by=ANNA)
    tenant.clear_thresholds(by=ANNA)
    acts = acts_of(tenant)
    assert [(action, subject) for action, subject, _, _ in acts] == [
        ("pack.grant", granted.id),
        ("pack.extend", granted.id),
        ("request.refund", "k"),
        ("pack.revoke", granted.id),
        ("thresholds.set", tenant.id),
        ("thresholds.clear", tenant.id),
    ]
    changes = [(before, after) for _, _, before, after in acts]
    assert changes[0][0] == {"balance_tokens": 0}
    assert changes[0][1] is not None
    assert (changes[0][1]["total_tokens"], changes[0][1]["balance_tokens"]) == (100, 100)
    assert changes[2] == (
        {"balance_tokens": 70},
        {"refund_id": "r", "amount_tokens": 10, "overage_tokens": 0, "forfeited_tokens": 0, "balance_tokens": 80, "note": "sorry"},
    )
    assert changes[3][1] is not None
    assert changes[3][1]["forfeited_tokens"] == 80
    assert changes[4] == (
        {"warning_tokens": 0, "reserve_tokens": 0, "set_by": "platform"},
        {"warning_tokens": 5, "reserve_tokens": 2, "set_by": "organization"},
    )
    assert changes[5] == (changes[4][1], changes[4][0])
    with tenant.meter.engine.connect() as connection:
        query = text("SELECT DISTINCT actor_kind, actor_id, actor_name, source FROM act WHERE organization_id = :o")
        assert connection.execute(query, {"o": tenant.id}).all() == [("person", "person_1", "Anna", "192.0.2.7")]


def test_what_nobody_is_named_for_is_no_act(tenant: Tenant) -> None:
    tenant.grant(100)
    tenant.set_thresholds(warning=5, reserve=2)
    assert acts_of(tenant) == []


def test_a_replay_and_a_refusal_are_no_acts_and_who_asks_is_no_part_of_the_input(tenant: Tenant) -> None:
    tenant.grant(10, key="g", by=ANNA)
    assert tenant.grant(10, key="g", by=SYSTEM).replayed
    assert tenant.grant(10, key="g").replayed
    tenant.revoke("PK-1", key="v", by=ANNA)
    assert tenant.revoke("PK-1", key="v", by=ANNA).replayed
    with refused(PackAlreadyRevoked):
        tenant.revoke("PK-1", by=ANNA)
    with refused(AmountInvalid):
        tenant.grant(0, by=ANNA)
    assert [action for action, *_ in acts_of(tenant)] == ["pack.grant", "pack.revoke"]
    assert events_of(tenant) == ["pack.granted", "pack.revoked", "state.ai_stopped", "service.restricted"]


def test_creating_an_organization_is_an_act_once(tenant: Tenant) -> None:
    named = f"{tenant.id}-created"
    for _ in range(2):
        tenant.meter.create_organization(named, name="Named", by=ANNA)
    with refused(OrganizationExists):
        tenant.meter.create_organization(named, name="Other", by=ANNA)
    with tenant.meter.engine.connect() as connection:
        query = text('SELECT action, subject, "after" FROM act WHERE organization_id = :o')
        rows = connection.execute(query, {"o": named}).all()
    assert rows == [("organization.create", named, '{"name":"Named"}')]


def test_acts_are_append_only(tenant: Tenant) -> None:
    tenant.grant(10, by=ANNA)
    for sql in ("UPDATE act SET actor_name = 'nobody'", "DELETE FROM act"):
        with pytest.raises(DBAPIError), tenant.meter.engine.begin() as connection:
            connection.execute(text(sql))
