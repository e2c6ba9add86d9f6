"""Top-up requests: one open at a time, granted once whatever is interrupted, declined with a reason."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.builders import after
from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import (
    AmountInvalid,
    OrganizationNotFound,
    RequestInvalid,
    ScopeMissing,
    StoreUnavailable,
    TopupClosed,
    TopupNotFound,
)
from tokenwell.service.meter import Meter
from tokenwell.service.supply.topups import Topups, TopupStatus
from tokenwell.store import schema
from tokenwell.store.reader import reading

MEI = Actor(kind=ActorKind.PERSON, id="per_mei", name="Mei Lin")
ROOT = Actor(kind=ActorKind.PERSON, id="per_root", name="Root")


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with two organizations."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        opened.create_organization("acme")
        opened.create_organization("other")
        yield opened


@pytest.fixture
def topups(meter: Meter) -> Topups:
    """The requests of that meter."""
    return Topups(meter)


def happenings(meter: Meter, table: Any, column: str) -> list[tuple[str, Any]]:
    """Return what was told or noted of acme's requests, in order: the kind and what is kept with it."""
    order = table.c[f"{table.name}_id"]
    text = table.c.detail if table is schema.event else table.c.after
    with reading(meter.engine) as connection:
        rows = connection.execute(
            select(table.c[column], text).where(table.c.organization_id == "acme", table.c[column].like("topup.%")).order_by(order)
        )
        return [(row[0], json.loads(row[1])) for row in rows]


def test_a_request_is_kept_told_and_noted(meter: Meter, topups: Topups, clock: FrozenClock) -> None:
    topup = topups.ask("acme", "5M", note="Black Friday", by=MEI)
    assert (topup.status, topup.amount_tokens, topup.note) == (TopupStatus.OPEN, 5_000_000, "Black Friday")
    assert (topup.asked_at, topup.asked_by) == (clock(), MEI)
    assert topups.get("acme", topup.id) == topups.open_one("acme") == topups.latest("acme") == topup
    told = {"topup_id": topup.id, "amount_tokens": 5_000_000, "note": "Black Friday", "by": "Mei Lin"}
    assert happenings(meter, schema.event, "kind") == [("topup.requested", told)]
    assert happenings(meter, schema.act, "action") == [("topup.ask", {"amount_tokens": 5_000_000, "note": "Black Friday"})]


def test_while_one_is_open_asking_again_gives_that_one(meter: Meter, topups: Topups) -> None:
    first = topups.ask("acme", "5M", by=MEI)
    assert topups.ask("acme", "7M", note="again", by=ROOT) == first
    assert topups.ask("other", "7M", by=MEI).id != first.id
    assert len(happenings(meter, schema.event, "kind")) == 1


def test_many_who_ask_at_once_get_the_same(meter: Meter, topups: Topups) -> None:
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(topups.ask("acme", "5M", by=MEI).id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6
    assert len(set(got)) == 1
    assert len(happenings(meter, schema.event, "kind")) == 1


def test_without_an_amount_the_forecast_s_is_asked_for(meter: Meter, topups: Topups, clock: FrozenClock) -> None:
    assert topups.suggestion("acme") is None
    with pytest.raises(RequestInvalid):
        topups.ask("acme", by=MEI)
    meter.grant("acme", "1M")
    for _ in range(30):
        meter.debit("acme", 100)
        clock.advance(timedelta(hours=1))
    assert topups.suggestion("acme") == 72_000
    assert topups.ask("acme", by=MEI).amount_tokens == 72_000


def test_approving_grants_the_pack_and_closes_the_request(meter: Meter, topups: Topups, clock: FrozenClock) -> None:
    topup = topups.ask("acme", "5M", note="Black Friday", by=MEI)
    clock.advance(timedelta(hours=1))
    approved = topups.approve("acme", topup.id, amount="6M", expires_at=after(86_400), priority=3, by=ROOT)
    pack = approved.granted.pack
    assert (pack.total_tokens, pack.expires_at, pack.priority, pack.note) == (6_000_000, after(86_400), 3, "Black Friday")
    assert meter.balance("acme").balance_tokens == 6_000_000
    closed = topups.get("acme", topup.id)
    assert closed == approved.topup
    assert (closed.status, closed.pack_id, closed.decided_by, closed.decided_at) == (TopupStatus.APPROVED, pack.id, ROOT, clock())
    assert topups.open_one("acme") is None
    kind, told = happenings(meter, schema.event, "kind")[-1]
    assert (kind, told["granted_tokens"], told["pack_id"], told["by"]) == ("topup.approved", 6_000_000, pack.id, "Root")
    assert happenings(meter, schema.act, "action")[-1][0] == "topup.approve"


def test_approved_again_with_the_same_terms_it_grants_nothing_more(meter: Meter, topups: Topups) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    first = topups.approve("acme", topup.id, by=ROOT)
    again = topups.approve("acme", topup.id, by=MEI)
    assert again.topup == first.topup
    assert again.granted.replayed
    assert again.granted.pack == first.granted.pack
    with pytest.raises(TopupClosed):
        topups.approve("acme", topup.id, amount="9M", by=ROOT)
    assert meter.balance("acme").balance_tokens == 5_000_000
    assert [kind for kind, _ in happenings(meter, schema.event, "kind")] == ["topup.requested", "topup.approved"]


def test_many_who_approve_at_once_grant_once(meter: Meter, topups: Topups) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    amounts = ["5M", "6M", "5M", "6M", "5M", "6M"]
    outcomes: list[str] = []

    def approve(amount: str) -> None:
        try:
            outcomes.append(topups.approve("acme", topup.id, amount=amount, by=ROOT).granted.pack.id)
        except TopupClosed:
            outcomes.append("closed")

    threads = [threading.Thread(target=approve, args=(amount,)) for amount in amounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 6
    assert outcomes.count("closed") == 3
    assert len(set(outcomes)) == 2
    assert len(meter.packs("acme").items) == 1


@pytest.mark.parametrize("is_granted", [False, True])
def test_an_approval_that_was_interrupted_is_completed(
    meter: Meter, topups: Topups, is_granted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    grant = meter.grant

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if is_granted:
            grant(*args, **kwargs)
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(meter, "grant", interrupted)
        with pytest.raises(StoreUnavailable):
            topups.approve("acme", topup.id, by=ROOT)
    assert topups.get("acme", topup.id).status is TopupStatus.APPROVING
    assert topups.ask("acme", "1M", by=MEI).id == topup.id
    with pytest.raises(TopupClosed):
        topups.decline("acme", topup.id, reason="no", by=ROOT)
    assert topups.finish_approvals() == 1
    assert topups.finish_approvals() == 0
    assert topups.get("acme", topup.id).status is TopupStatus.APPROVED
    assert meter.balance("acme").balance_tokens == 5_000_000


def test_what_cannot_be_granted_leaves_the_request_open(meter: Meter, topups: Topups) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    for wrong in ({"expires_at": after(-1)}, {"priority": 5_000}, {"amount": 0}, {"amount": "x"}, {"note": "a\nb"}):
        with pytest.raises(RequestInvalid):
            topups.approve("acme", topup.id, by=ROOT, **wrong)
        assert topups.get("acme", topup.id) == topup
    assert meter.packs("acme").items == ()
    assert topups.approve("acme", topup.id, by=ROOT).topup.status is TopupStatus.APPROVED


def test_a_declined_request_says_why_and_stays_declined(meter: Meter, topups: Topups) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    declined = topups.decline("acme", topup.id, reason="Ask next month", by=ROOT)
    assert (declined.status, declined.reason, declined.decided_by) == (TopupStatus.DECLINED, "Ask next month", ROOT)
    assert topups.decline("acme", topup.id, reason="Ask next month", by=ROOT) == declined
    for change in (
        lambda: topups.decline("acme", topup.id, reason="Never", by=ROOT),
        lambda: topups.approve("acme", topup.id, by=ROOT),
        lambda: topups.cancel("acme", topup.id, by=MEI, is_administrator=False),
    ):
        with pytest.raises(TopupClosed):
            change()
    assert topups.get("acme", topup.id) == declined
    assert meter.packs("acme").items == ()
    assert [kind for kind, _ in happenings(meter, schema.event, "kind")] == ["topup.requested", "topup.declined"]
    assert topups.ask("acme", "5M", by=MEI).id != topup.id


def test_a_request_can_be_taken_back(meter: Meter, topups: Topups) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    cancelled = topups.cancel("acme", topup.id, by=MEI, is_administrator=False)
    assert cancelled.status is TopupStatus.CANCELLED
    assert topups.cancel("acme", topup.id, by=MEI, is_administrator=False) == cancelled
    with pytest.raises(TopupClosed):
        topups.approve("acme", topup.id, by=ROOT)
    assert [action for action, _ in happenings(meter, schema.act, "action")] == ["topup.ask", "topup.cancel"]


def test_a_request_of_somebody_else_is_taken_back_by_administrators_alone(topups: Topups) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    stranger = Actor(kind=ActorKind.PLATFORM_KEY, id=MEI.id, name=MEI.name)
    for other in (ROOT, stranger):
        with pytest.raises(ScopeMissing):
            topups.cancel("acme", topup.id, by=other, is_administrator=False)
    assert topups.get("acme", topup.id) == topup
    assert topups.cancel("acme", topup.id, by=ROOT, is_administrator=True).status is TopupStatus.CANCELLED


def test_another_organizations_request_does_not_exist(topups: Topups) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    for change in (
        lambda: topups.get("other", topup.id),
        lambda: topups.approve("other", topup.id, by=ROOT),
        lambda: topups.decline("other", topup.id, reason="no", by=ROOT),
        lambda: topups.cancel("other", topup.id, by=MEI, is_administrator=False),
        lambda: topups.get("acme", "top_nothing"),
    ):
        with pytest.raises(TopupNotFound):
            change()
    with pytest.raises(OrganizationNotFound):
        topups.ask("nobody", "5M", by=MEI)
    assert topups.get("acme", topup.id) == topup


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"amount": 0}, AmountInvalid), ({"amount": "many"}, AmountInvalid), ({"amount": 5, "note": "x" * 501}, RequestInvalid)],
)
def test_a_request_that_makes_no_sense_is_refused(topups: Topups, fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        topups.ask("acme", by=MEI, **fields)
    assert topups.latest("acme") is None


def test_declining_needs_a_reason(topups: Topups) -> None:
    topup = topups.ask("acme", "5M", by=MEI)
    for reason in ("", "  ", "x" * 501):
        with pytest.raises(RequestInvalid):
            topups.decline("acme", topup.id, reason=reason, by=ROOT)
    assert topups.get("acme", topup.id) == topup


def test_requests_are_listed_page_by_page_by_status_and_organization(topups: Topups) -> None:
    made = []
    for number in range(5):
        topup = topups.ask("acme", number + 1, by=MEI)
        topups.decline("acme", topup.id, reason="no", by=ROOT)
        made.append(topup.id)
    waiting = topups.ask("other", 9, by=MEI)
    listed: list[str] = []
    cursor = None
    while True:
        page = topups.list("acme", cursor=cursor, limit=2)
        listed += [each.id for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert listed == made[::-1]
    assert [each.id for each in topups.list(statuses=(TopupStatus.OPEN,)).items] == [waiting.id]
    assert len(topups.list().items) == 6
    for limit in (0, 1_001):
        with pytest.raises(RequestInvalid):
            topups.list(limit=limit)
