"""Each event becomes one delivery for every channel that wants it, whoever dispatches, as often as they like."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

from tests.alerts.house import House
from tokenwell.core.happenings import EventKind
from tokenwell.service.identity.people import Role
from tokenwell.service.notices.subscriptions import ChannelKind, Wishes
from tokenwell.store.notices import outbox
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

URL = "http://127.0.0.1:9/hook"


def test_of_many_that_dispatch_at_once_each_event_and_channel_has_one_delivery(house: House) -> None:
    channels = [house.add(URL).channel.id for _ in range(3)]
    events = [house.happen() for _ in range(30)]
    gate = threading.Barrier(6)

    def dispatch() -> None:
        gate.wait()
        for _ in range(5):
            house.outbox.dispatch()

    threads = [threading.Thread(target=dispatch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = Counter((each.event_id, each.channel_id) for each in house.deliveries())
    assert made == {(event, channel): 1 for event in events for channel in channels}


def test_an_event_that_nobody_wants_is_looked_at_once(house: House) -> None:
    house.add(URL, kinds=frozenset({EventKind.STATE_AI_STOPPED}))
    house.happen(EventKind.PACK_EXPIRED)
    assert house.outbox.dispatch() == 1
    assert house.outbox.dispatch() == 0
    assert house.deliveries() == []


def test_a_channel_hears_of_its_own_organization_and_of_the_kinds_it_wants(house: House) -> None:
    house.meter.create_organization("beta")
    wants = house.add(URL, kinds=frozenset({EventKind.PACK_GRANTED})).channel
    everything = house.add(URL, organization_id="beta").channel
    platform = house.add(URL, organization_id="").channel
    off = house.add(URL, organization_id="beta").channel
    house.subscriptions.change_channel("beta", off.id, is_disabled=True)
    house.happen(EventKind.PACK_GRANTED)
    house.happen(EventKind.PACK_EXPIRED)
    house.happen(EventKind.PACK_EXPIRED, organization_id="beta")
    house.outbox.dispatch()
    told = Counter((each.organization_id, each.channel_id) for each in house.deliveries())
    assert told == {("acme", wants.id): 1, ("acme", platform.id): 2, ("beta", platform.id): 1, ("beta", everything.id): 1}


def test_who_left_or_was_disabled_is_told_no_more(house: House) -> None:
    people = house.suite.people
    left, disabled, stays = (people.create_person(email=f"{name}@acme.example", password="correct horse battery") for name in "abc")
    for person in (left, disabled, stays):
        people.add_member("acme", person.id, Role.VIEWER)
        house.personal.set("acme", person.id, Wishes())
    people.remove_member("acme", left.id)
    people.disable(disabled.id)
    house.happen()
    house.outbox.dispatch()
    assert [each.channel_id for each in house.deliveries()] == [stays.id]


def test_the_kinds_a_person_chose_go_before_those_of_their_role(house: House) -> None:
    mei = house.suite.people.create_person(email="mei@acme.example", password="correct horse battery")
    house.suite.people.add_member("acme", mei.id, Role.ORGANIZATION_ADMIN)
    assert EventKind.STATE_AI_STOPPED in house.personal.of("acme", mei.id).kinds
    house.personal.set("acme", mei.id, Wishes(kinds=frozenset({EventKind.OVERAGE_REPAID})))
    house.happen(EventKind.STATE_AI_STOPPED)
    house.happen(EventKind.OVERAGE_REPAID)
    house.outbox.dispatch()
    assert len(house.deliveries()) == 1


async def test_a_dispatch_that_is_told_to_stop_leaves_the_rest_for_the_next(house: House) -> None:
    house.meter.create_organization("beta")
    house.happen()
    house.happen(organization_id="beta")
    answers = iter([False, True])
    assert await asyncio.to_thread(house.outbox.dispatch, lambda: next(answers)) == 1
    assert await asyncio.to_thread(house.outbox.dispatch) == 1


def test_something_is_told_once_until_its_subject_changes(house: House) -> None:
    with transaction(house.meter.engine) as connection:
        assert outbox.tell_once(connection, "acme", "expiring/pack/14", house.clock())
        assert not outbox.tell_once(connection, "acme", "expiring/pack/14", house.clock())
        assert outbox.tell_once(connection, "acme", "expiring/pack/3", house.clock())
    with reading(house.meter.engine) as connection:
        assert outbox.was_told(connection, "acme", "expiring/pack/3")
        assert not outbox.was_told(connection, "beta", "expiring/pack/3")


def test_a_viewer_who_said_nothing_is_not_told_by_email(house: House) -> None:
    viewer = house.suite.people.create_person(email="viewer@acme.example", password="correct horse battery")
    house.suite.people.add_member("acme", viewer.id, Role.VIEWER)
    assert house.personal.of("acme", viewer.id).kinds == frozenset()
    house.add("ops@acme.example", kind=ChannelKind.EMAIL, kinds=frozenset())
    house.happen(EventKind.STATE_AI_STOPPED)
    house.outbox.dispatch()
    assert house.deliveries() == []
