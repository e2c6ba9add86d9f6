"""Disputes: one for a line, answered or refunded once, whatever is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import (
    AmountInvalid,
    Conflict,
    NotFound,
    OrganizationNotFound,
    RequestInvalid,
    RequestNotFound,
    StoreUnavailable,
)
from tokenwell.service.meter import Meter
from tokenwell.service.records.disputes import Disputes, DisputeStatus

MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin")
ROOT = Actor(kind=ActorKind.PERSON, id="per_root", name="Root")


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter on which acme was charged 150 tokens over two packs."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        opened.create_organization("acme")
        opened.create_organization("other")
        opened.grant("acme", 100)
        opened.grant("acme", 10_000)
        opened.set_thresholds("acme", warning=0, reserve=0)
        opened.debit("acme", 150, key="reply")
        yield opened


@pytest.fixture
def disputes(meter: Meter) -> Disputes:
    """The disputes of that meter."""
    return Disputes(meter)


def test_a_line_is_disputed_once(disputes: Disputes, meter: Meter, clock: FrozenClock) -> None:
    dispute = disputes.open("acme", "reply", note="The reply was empty", by=MEI)
    assert (dispute.status, dispute.amount_tokens, dispute.note) == (DisputeStatus.OPEN, 100, "The reply was empty")
    assert (dispute.opened_at, dispute.opened_by) == (clock(), MEI)
    assert disputes.open("acme", "reply", note="Again", by=ROOT) == dispute
    second = disputes.open("acme", "reply", part=2, note="This part too", by=MEI)
    assert (second.seq, second.amount_tokens) == (dispute.seq + 1, 50)
    assert [each.id for each in disputes.list("acme").items] == [second.id, dispute.id]
    assert disputes.list("other").items == ()


def test_the_disputes_of_lines_are_those_of_the_organization(disputes: Disputes, meter: Meter) -> None:
    lines = [line.entry.seq for line in meter.request("acme", "reply")]
    assert disputes.of_lines("acme", lines) == {}
    dispute = disputes.open("acme", "reply", part=2, note="Why?", by=MEI)
    assert disputes.of_lines("acme", lines) == {dispute.seq: dispute}
    assert disputes.of_lines("other", lines) == {}
    assert disputes.of_lines("acme", []) == {}


def test_an_answer_closes_it(disputes: Disputes, meter: Meter) -> None:
    dispute = disputes.open("acme", "reply", note="Why?", by=MEI)
    answered = disputes.answer("acme", dispute.id, answer="It was a long reply", by=ROOT)
    assert (answered.status, answered.answer, answered.decided_by) == (DisputeStatus.ANSWERED, "It was a long reply", ROOT)
    assert disputes.answer("acme", dispute.id, answer="It was a long reply", by=ROOT) == answered
    with pytest.raises(Conflict):
        disputes.answer("acme", dispute.id, answer="Other", by=ROOT)
    with pytest.raises(Conflict):
        disputes.refund("acme", dispute.id, by=ROOT)
    assert meter.balance("acme").balance_tokens == 9_950
    assert disputes.list(statuses=(DisputeStatus.OPEN,)).items == ()


@pytest.mark.parametrize(("amount", "balance"), [(None, 10_050), (30, 9_980)])
def test_a_refund_closes_it_and_gives_back_once(disputes: Disputes, meter: Meter, amount: int | None, balance: int) -> None:
    dispute = disputes.open("acme", "reply", note="Empty", by=MEI)
    refunded = disputes.refund("acme", dispute.id, amount, answer="Sorry", by=ROOT)
    assert (refunded.status, refunded.refund_tokens, refunded.answer) == (DisputeStatus.REFUNDED, amount or 100, "Sorry")
    assert disputes.refund("acme", dispute.id, amount, answer="Sorry", by=ROOT) == refunded
    assert meter.balance("acme").balance_tokens == balance
    for other in (
        lambda: disputes.refund("acme", dispute.id, 7, by=ROOT),
        lambda: disputes.answer("acme", dispute.id, answer="x", by=ROOT),
    ):
        with pytest.raises(Conflict):
            other()


@pytest.mark.parametrize("is_refunded", [False, True])
def test_a_refund_that_was_interrupted_is_completed(
    disputes: Disputes, meter: Meter, is_refunded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispute = disputes.open("acme", "reply", note="Empty", by=MEI)
    refund = meter.refund

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if is_refunded:
            refund(*args, **kwargs)
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(meter, "refund", interrupted)
        with pytest.raises(StoreUnavailable):
            disputes.refund("acme", dispute.id, by=ROOT)
    assert disputes.get("acme", dispute.id).status is DisputeStatus.REFUNDING
    assert disputes.refund("acme", dispute.id, by=ROOT).status is DisputeStatus.REFUNDED
    assert meter.balance("acme").balance_tokens == 10_050


def test_a_refund_that_is_refused_leaves_it_open(disputes: Disputes, meter: Meter) -> None:
    dispute = disputes.open("acme", "reply", note="Empty", by=MEI)
    meter.refund("acme", "reply", 120)
    with pytest.raises(RequestInvalid):
        disputes.refund("acme", dispute.id, by=ROOT)
    assert disputes.get("acme", dispute.id) == dispute
    assert disputes.refund("acme", dispute.id, 30, by=ROOT).status is DisputeStatus.REFUNDED


def test_what_makes_no_sense_is_refused(disputes: Disputes) -> None:
    for wrong in ({"note": ""}, {"note": " "}, {"note": "x" * 501}, {"note": "ok", "part": 3}):
        with pytest.raises(RequestInvalid):
            disputes.open("acme", "reply", by=MEI, **wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestNotFound):
        disputes.open("acme", "nothing", note="ok", by=MEI)
    with pytest.raises(OrganizationNotFound):
        disputes.open("nobody", "reply", note="ok", by=MEI)
    dispute = disputes.open("acme", "reply", note="ok", by=MEI)
    with pytest.raises(AmountInvalid):
        disputes.refund("acme", dispute.id, 101, by=ROOT)
    with pytest.raises(RequestInvalid):
        disputes.answer("acme", dispute.id, answer=" ", by=ROOT)
    for change in (
        lambda: disputes.get("other", dispute.id),
        lambda: disputes.answer("other", dispute.id, answer="x", by=ROOT),
        lambda: disputes.refund("other", dispute.id, by=ROOT),
    ):
        with pytest.raises(NotFound):
            change()
    assert disputes.get("acme", dispute.id) == dispute
