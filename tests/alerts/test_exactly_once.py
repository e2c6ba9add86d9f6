"""Four processes, kills and clocks that jump: every crossing is told once in its episode, whoever counts delivery ids."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise

from sqlalchemy import func, select

from tests.alerts.house import House, open_house
from tests.alerts.receivers import Receiver, Request
from tests.house.sources import ROOT
from tokenwell.core.happenings import EventKind
from tokenwell.core.health import Thresholds
from tokenwell.service.notices.subscriptions import DeliveryStatus
from tokenwell.service.ports import system_clock
from tokenwell.store.reader import reading
from tokenwell.store.schema import delivery, event

ORGANIZATIONS = ["acme", "beta", "gamma"]
EPISODES = 4
WORKERS = 4
KILLS = 4
PATIENCE_SECONDS = 90

STATES = {EventKind.STATE_RUNNING_LOW, EventKind.STATE_AI_STOPPED, EventKind.STATE_RECOVERED}


class Fleet:
    """Workers that are killed and replaced."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._started = 0
        self.workers = [self._start() for _ in range(WORKERS)]

    def _start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        command = [sys.executable, "-m", "tests.alerts.worker", self._url, str(self._started)]
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def kill_one(self, number: int) -> None:
        """Kill a worker, and start another in its place."""
        worker = self.workers[number]
        worker.kill()
        worker.wait()
        self.workers[number] = self._start()

    def stop(self) -> None:
        """Kill them all."""
        for worker in self.workers:
            worker.kill()
            worker.wait()


@contextmanager
def fleet(url: str) -> Iterator[Fleet]:
    """Run workers."""
    running = Fleet(url)
    try:
        yield running
    finally:
        running.stop()


def live_an_episode(house: House, organization_id: str, number: int) -> None:
    """Run low, stop and recover by use; then expire by time alone, with nobody asking."""
    meter = house.meter
    meter.grant(organization_id, 2_000, key=f"grant-{number}")
    for step in range(5):
        used = meter.balance(organization_id).balance_tokens // 3
        if used:
            meter.debit(organization_id, used, key=f"debit-{number}-{step}", already_used=True)
    soon = system_clock() + timedelta(hours=3)  # a clock that is ahead may have written last
    pack = meter.grant(organization_id, 5_000, key=f"passing-{number}", expires_at=soon).pack
    meter.revoke(organization_id, pack.id, key=f"revoke-{number}")
    meter.grant(organization_id, 9_000, key=f"last-{number}", expires_at=soon)


def unfinished(house: House) -> int:
    """Return how many events have no deliveries yet, and how many deliveries are due."""
    with reading(house.meter.engine) as connection:
        events = connection.execute(select(func.count()).select_from(event).where(event.c.dispatched_at.is_(None))).scalar_one()
        due = connection.execute(select(func.count()).select_from(delivery).where(delivery.c.status == "due")).scalar_one()
    return events + due


def test_every_crossing_is_told_once_by_four_processes_that_are_killed(database_url: str, receiver: Receiver) -> None:
    chance = random.Random(database_url)
    seen: dict[str, int] = {}
    lock = threading.Lock()

    def answer(request: Request) -> int:
        with lock:
            delivery_id = request.headers["webhook-id"]
            seen[delivery_id] = seen.get(delivery_id, 0) + 1
            return 500 if seen[delivery_id] == 1 and chance.random() < 0.05 else 204

    receiver.answer = answer
    with open_house(database_url) as house:
        assert house.meter.thresholds == Thresholds(1_000, 100)
        for organization_id in ORGANIZATIONS:
            house.meter.create_organization(organization_id, name="Acme Corp" if organization_id == "acme" else None)
        channels = [house.add(receiver.url, organization_id=home).channel for home in (*ORGANIZATIONS, "")]
        with fleet(database_url) as running:
            for number in range(EPISODES):
                for organization_id in ORGANIZATIONS:
                    live_an_episode(house, organization_id, number)
                if number < KILLS:
                    running.kill_one(chance.randrange(WORKERS))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while unfinished(house):
                assert time.monotonic() < deadline, f"{unfinished(house)} are not delivered"
                time.sleep(0.1)
        told = house.deliveries()
        events = {
            (home, each.id): each.event for home in ORGANIZATIONS for each in house.suite.inbox.history(home, limit=500).items
        }
    assert {each.status for each in told} == {DeliveryStatus.DELIVERED}
    assert len(channels) == len(ORGANIZATIONS) + 1
    homes = {channel.id: channel.organization_id for channel in channels}
    expected = [(home, event_id, to) for home, event_id in events for to, of in homes.items() if of in ("", home)]
    assert sorted((each.organization_id, str(each.event_id), each.channel_id) for each in told) == sorted(expected)
    arrived = set(receiver.ids())
    assert arrived == {each.id for each in told}
    for home in ORGANIZATIONS:
        crossings = [each.kind for (of, _), each in sorted(events.items()) if of == home and each.kind in STATES]
        assert len(crossings) >= EPISODES
        assert all(before is not after for before, after in pairwise(crossings)), crossings
