"""Deliveries arrive at least once, each under one id; what fails is tried again, given up in the end, and can be replayed."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.alerts.house import House, Once, open_house
from tests.alerts.receivers import PATIENCE_SECONDS, Receiver, receiving
from tests.doubles import START, FrozenClock
from tokenwell.core.alerts import ATTEMPTS, LONGEST_WAIT
from tokenwell.core.happenings import EventKind
from tokenwell.core.instants import to_micros
from tokenwell.service.notices.subscriptions import ChannelKind, DeliveryStatus
from tokenwell.store.notices import deliveries as store
from tokenwell.store.writer import transaction

CLAIM = timedelta(seconds=60)


async def test_a_webhook_arrives_with_a_signature_that_others_verify(database_url: str, receiver: Receiver) -> None:
    with open_house(database_url) as house:
        created = house.add(receiver.url)
        event_id = house.happen(EventKind.STATE_AI_STOPPED, balance_tokens=99, reserve_tokens=100)
        assert await house.deliver() == 1
        (told,) = house.deliveries()
    (request,) = receiver.requests
    assert created.secret is not None
    verified = Webhook(created.secret).verify(request.body, request.headers)
    assert verified["type"] == "state.ai_stopped"
    assert verified["data"]["event_id"] == event_id
    assert verified["data"]["organization_id"] == "acme"
    assert verified["data"]["detail"] == {"balance_tokens": 99, "reserve_tokens": 100}
    assert verified["data"]["text"].startswith("The balance is 99 tokens, below the minimum reserve of 100.")
    assert request.headers["webhook-id"] == told.id
    assert (told.status, told.attempts) == (DeliveryStatus.DELIVERED, 1)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 43 + "=").verify(request.body, request.headers)


async def test_while_a_key_is_replaced_both_verify_and_afterwards_the_new_one_alone(sqlite_url: str, receiver: Receiver) -> None:
    with open_house(sqlite_url) as house:
        created = house.add(receiver.url)
        new = house.subscriptions.rotate("acme", created.channel.id).secret
        house.happen()
        await house.deliver()
    (request,) = receiver.requests
    assert created.secret is not None
    assert new is not None
    for secret in (created.secret, new):
        Webhook(secret).verify(request.body, request.headers)


async def test_a_day_after_it_was_replaced_the_old_key_signs_no_more(house: House, clock: FrozenClock, receiver: Receiver) -> None:
    created = house.add(receiver.url)
    house.subscriptions.rotate("acme", created.channel.id)
    for wait, signatures in ((timedelta(hours=23), 2), (timedelta(hours=1), 1)):
        clock.advance(wait)
        house.happen()
        await house.deliver()
        assert len(receiver.requests[-1].headers["webhook-signature"].split()) == signatures


async def test_what_failed_is_tried_again_under_the_same_id(house: House, clock: FrozenClock, receiver: Receiver) -> None:
    receiver.answer = lambda request: 500 if len(receiver.requests) < 4 else 200
    house.add(receiver.url)
    house.happen()
    for _ in range(12):
        await house.deliver()
        clock.advance(timedelta(minutes=2))
    assert len(receiver.ids()) == 4
    assert len(set(receiver.ids())) == 1
    (told,) = house.deliveries()
    assert (told.status, told.attempts) == (DeliveryStatus.DELIVERED, 4)
    _, attempts = house.subscriptions.attempts("acme", told.channel_id, told.id)
    assert [attempt.outcome for attempt in attempts] == ["delivered", "refused", "refused", "refused"]
    assert [attempt.status for attempt in attempts] == [200, 500, 500, 500]


async def test_given_up_after_its_last_attempt_it_can_be_replayed(house: House, clock: FrozenClock, receiver: Receiver) -> None:
    receiver.answer = lambda request: 503
    channel = house.add(receiver.url).channel
    house.happen()
    for _ in range(ATTEMPTS + 3):
        await house.deliver()
        clock.advance(LONGEST_WAIT)
    (dead,) = house.deliveries()
    assert (dead.status, dead.attempts, len(receiver.ids())) == (DeliveryStatus.DEAD, ATTEMPTS, ATTEMPTS)
    assert house.subscriptions.deliveries("acme", channel.id, status=DeliveryStatus.DEAD).items == (dead,)
    # It has all its attempts before it again: one more failure does not give it up.
    house.subscriptions.replay("acme", channel.id, dead.id)
    await house.deliver()
    (again,) = house.deliveries()
    assert (again.status, again.attempts) == (DeliveryStatus.DUE, 1)
    receiver.answer = lambda request: 200
    clock.advance(LONGEST_WAIT)
    await house.deliver()
    assert house.deliveries()[0].status is DeliveryStatus.DELIVERED
    assert set(receiver.ids()) == {dead.id}
    house.subscriptions.replay("acme", channel.id, dead.id)
    assert await house.deliver() == 0


async def test_a_receiver_that_is_gone_for_good_is_given_up_at_once(house: House, receiver: Receiver) -> None:
    receiver.answer = lambda request: 410
    house.add(receiver.url)
    house.happen()
    await house.deliver()
    assert [each.status for each in house.deliveries()] == [DeliveryStatus.DEAD]


async def test_a_receiver_that_asks_for_patience_is_left_alone_so_long(house: House, receiver: Receiver) -> None:
    receiver.answer = lambda request: (429, {"retry-after": "3000"})
    house.add(receiver.url)
    house.happen()
    await house.deliver()
    assert house.deliveries()[0].due_at >= START + timedelta(seconds=3000)


async def test_a_redirect_is_a_failure_and_is_not_followed(house: House, receiver: Receiver) -> None:
    with receiving() as other:
        receiver.answer = lambda request: (302, {"location": other.url})
        house.add(receiver.url)
        house.happen()
        await house.deliver()
        assert other.requests == []
    told = house.deliveries()[0]
    _, (attempt,) = house.subscriptions.attempts("acme", told.channel_id, told.id)
    assert (attempt.status, attempt.answer.splitlines()[0]) == (302, "redirects are not followed")


async def test_a_slow_receiver_does_not_delay_a_quick_one(house: House, receiver: Receiver) -> None:
    """By order: the slow one answers only once the quick one has had everything."""
    let_go = threading.Event()
    order: list[str] = []

    def slow(request: object) -> int:
        assert let_go.wait(PATIENCE_SECONDS)
        order.append("slow")
        return 200

    with receiving() as quick:

        def answer(request: object) -> int:
            order.append("quick")
            if order.count("quick") == 5:
                let_go.set()
            return 200

        receiver.answer, quick.answer = slow, answer
        house.add(receiver.url)
        house.add(quick.url)
        for _ in range(5):
            house.happen()
        assert await house.deliver() == 10
    assert order == ["quick"] * 5 + ["slow"] * 5


async def test_what_a_killed_process_had_claimed_is_sent_once_the_claim_ends(
    house: House, clock: FrozenClock, receiver: Receiver
) -> None:
    channel = house.add(receiver.url).channel
    house.happen()
    await asyncio.to_thread(house.outbox.dispatch)
    with transaction(house.meter.engine) as connection:
        lane = ("acme", channel.id)
        (claimed,) = store.claim_in(connection, lane, "killed", now=clock(), claim=CLAIM, bundle=50)
    assert await house.deliver() == 0
    clock.advance(CLAIM)
    assert await house.deliver() == 1
    assert receiver.ids() == [claimed.id]
    assert house.deliveries()[0].attempts == 2


async def test_a_claim_by_a_clock_that_was_ahead_is_no_claim(house: House, clock: FrozenClock, receiver: Receiver) -> None:
    channel = house.add(receiver.url).channel
    house.happen()
    await asyncio.to_thread(house.outbox.dispatch)
    with transaction(house.meter.engine) as connection:
        ahead = clock() + timedelta(hours=2)
        assert store.claim_in(connection, ("acme", channel.id), "ahead", now=ahead, claim=CLAIM, bundle=50)
    assert await house.deliver() == 1


async def test_what_somebody_claimed_meanwhile_is_not_claimed_again(house: House, clock: FrozenClock, receiver: Receiver) -> None:
    channel = house.add(receiver.url).channel
    house.happen()
    await asyncio.to_thread(house.outbox.dispatch)
    (seen,) = house.deliveries()
    with transaction(house.meter.engine) as connection:
        assert store.claim_in(connection, ("acme", channel.id), "first", now=clock(), claim=CLAIM, bundle=50)
    # A database that does not lock what it reads may show the row as it was: the claim itself must notice.
    with transaction(house.meter.engine) as connection:
        assert not store._claim(connection, seen, "second", to_micros(clock() + CLAIM))


async def test_told_to_stop_midway_it_gives_its_claims_back(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenwell.alerts.deliverer.GRACE_SECONDS", 0.05)
    let_go = threading.Event()
    receiver.answer = lambda request: 200 if let_go.wait(PATIENCE_SECONDS) else 500
    house.add(receiver.url)
    house.happen()
    await asyncio.to_thread(house.outbox.dispatch)
    turn = Once()
    working = asyncio.create_task(house.deliverer.work(turn))
    await asyncio.to_thread(receiver.wait_for, 1)
    turn.is_over = True
    turn.over.set()
    assert await working == 0
    let_go.set()
    (due,) = house.deliveries()
    assert (due.status, due.attempts) == (DeliveryStatus.DUE, 0)
    assert await house.deliver() == 1
    assert set(receiver.ids()) == {due.id}


async def test_what_is_to_go_through_a_channel_that_is_no_more_is_dropped(house: House, receiver: Receiver) -> None:
    gone, off = house.add(receiver.url).channel, house.add(receiver.url).channel
    house.happen()
    await asyncio.to_thread(house.outbox.dispatch)
    house.subscriptions.remove_channel("acme", gone.id)
    house.subscriptions.change_channel("acme", off.id, is_disabled=True)
    assert await house.deliver() == 0
    assert {each.status for each in house.deliveries()} == {DeliveryStatus.DROPPED}
    assert receiver.requests == []


async def test_the_log_has_no_secret(house: House, receiver: Receiver) -> None:
    hook = house.add(receiver.url + "?token=hidden-in-query")
    slack = house.add(receiver.url + "/hidden-in-path", kind=ChannelKind.SLACK)
    house.happen()
    assert await house.deliver() == 2
    log = ""
    for told in house.deliveries():
        log += repr(house.subscriptions.attempts("acme", told.channel_id, told.id))
    log += repr(house.subscriptions.channels("acme"))
    assert "hidden" not in log
    assert (hook.secret or "") not in log
    assert slack.secret is None
    assert slack.channel.shown.endswith("/…")


async def test_chats_are_told_in_their_language_with_a_link(house: House, receiver: Receiver) -> None:
    house.add(receiver.url + "/slack", kind=ChannelKind.SLACK, language="zh")
    house.add(receiver.url + "/chat", kind=ChannelKind.CHAT)
    house.happen(EventKind.TOPUP_DECLINED, reason="<no> & never")
    assert await house.deliver() == 2
    said = {request.path: request.json for request in receiver.requests}
    assert said["/hook/slack"] == {
        "text": "*Acme Corp* 申请被拒绝：&lt;no&gt; &amp; never\n<https://ai.example.com/o/acme|打开 AI 资源>"
    }
    assert said["/hook/chat"]["text"] == "Acme Corp: Request declined: <no> & never\nhttps://ai.example.com/o/acme"
    assert said["/hook/chat"]["events"][0]["type"] == "topup.declined"


async def test_a_test_arrives_and_says_that_it_is_one(house: House, receiver: Receiver) -> None:
    channel = house.add(receiver.url, kinds=frozenset()).channel
    queued = house.subscriptions.test("acme", channel.id)
    assert await house.deliver() == 1
    (request,) = receiver.requests
    assert request.headers["webhook-id"] == queued.id
    assert (request.json["type"], request.json["data"]["title"]) == ("test", "This is a test.")


async def test_a_platforms_channel_is_told_of_every_organization(house: House, receiver: Receiver) -> None:
    house.meter.create_organization("beta", name="Beta")
    channel = house.add(receiver.url, organization_id="").channel
    house.happen()
    house.happen(organization_id="beta")
    assert await house.deliver() == 2
    assert {request.json["data"]["organization_name"] for request in receiver.requests} == {"Acme Corp", "Beta"}
    log = house.subscriptions.deliveries("", channel.id)
    assert {each.organization_id for each in log.items} == {"acme", "beta"}
    for each in log.items:
        assert house.subscriptions.attempts("", channel.id, each.id)[0] == each
