"""Rehearsing: under the policy that was in force nothing changes; under another one what follows can be reckoned by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tests.databases import tenant_role_on
from tests.doubles import START, FrozenClock
from tokenwell.core.health import Lane, State, Thresholds
from tokenwell.core.rehearsal import Crossing, Rehearsed
from tokenwell.errors import BalanceRefused, OrganizationNotFound, RequestInvalid
from tokenwell.service.meter import Meter
from tokenwell.service.records.rehearsing import Rehearsing

HOUR = timedelta(hours=1)
LINES = Thresholds(warning_tokens=300, reserve_tokens=50)


@pytest.fixture
def meter(database_url: str, clock: FrozenClock) -> Iterator[Meter]:
    """A meter with one organization."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as opened:
        opened.create_organization("acme")
        opened.set_thresholds("acme", warning=LINES.warning_tokens, reserve=LINES.reserve_tokens)
        yield opened


def rehearsed(
    meter: Meter, since: datetime, thresholds: Thresholds | None = None, lanes: dict[str, Lane] | None = None
) -> Rehearsed:
    """Return what a rehearsal gives."""
    rehearsing = Rehearsing(meter.engine, platform=meter.thresholds, clock=meter.clock)
    return rehearsing.rehearse("acme", since=since, thresholds=thresholds, lanes=lanes)


class Living:
    """An organization to which anything may happen."""

    def __init__(self, meter: Meter, clock: FrozenClock, seed: int) -> None:
        self.meter, self.clock, self.chance = meter, clock, random.Random(seed)
        self.packs: list[str] = []
        self.requests: list[str] = []
        self.charged_at: list[datetime] = []
        self.used = 0

    def act(self) -> None:
        """Do something, and let time pass."""
        kind = self.chance.choices(["grant", "debit", "used", "refund", "extend", "revoke", "advance"], [3, 20, 2, 3, 1, 1, 1])[0]
        getattr(self, f"_{kind}")()
        self.clock.advance(timedelta(minutes=self.chance.randrange(0, 90)))

    def _grant(self) -> None:
        expires_at = self.clock() + HOUR * self.chance.randrange(1, 60) if self.chance.random() < 0.7 else None
        granted = self.meter.grant("acme", self.chance.randrange(1, 600), expires_at=expires_at, priority=self.chance.randrange(2))
        self.packs.append(granted.pack.id)

    def _debit(self, already_used: bool = False) -> None:
        key = f"request {self.clock()} {self.chance.random()}"
        try:
            self.meter.debit("acme", self.chance.randrange(1, 120), key=key, already_used=already_used)
        except BalanceRefused:
            return
        self.requests.append(key)
        self.charged_at.append(self.clock())

    def _used(self) -> None:
        self._debit(already_used=True)
        self.used += 1

    def _refund(self) -> None:
        if self.requests:
            asked = self.chance.choice(self.requests)
            self.requests.remove(asked)
            self.meter.refund("acme", asked)

    def _extend(self) -> None:
        for pack in self.meter.packs("acme").items:
            if pack.status == "active" and pack.pack.expires_at is not None:
                self.meter.extend("acme", pack.pack.id, expires_at=pack.pack.expires_at + HOUR * self.chance.randrange(1, 20))
                return

    def _revoke(self) -> None:
        if self.packs:
            self.meter.revoke("acme", self.packs.pop(self.chance.randrange(len(self.packs))))

    def _advance(self) -> None:
        self.meter.advance("acme", self.chance.randrange(1, 50), limit=10**6)


@pytest.mark.parametrize("seed", range(12))
def test_under_the_policy_that_was_in_force_nothing_changes(meter: Meter, clock: FrozenClock, seed: int) -> None:
    living = Living(meter, clock, seed)
    since = [START - HOUR]
    for _ in range(120):
        living.act()
        since.append(clock())
    clock.advance(HOUR * 10)
    now = meter.balance("acme")
    for begun in living.chance.sample(since, 4):
        told = rehearsed(meter, begun)
        assert (told.balance_tokens, told.state) == (now.balance_tokens, now.state)
        assert (told.refused_requests, told.first_refused_at) == (0, None)
        assert told.requests == sum(at > begun for at in living.charged_at)
        assert sum(told.time_in_state.values(), timedelta()) == clock() - begun
        # Of several at one instant the last is what that instant ended with.
        for at, state in {crossing.at: crossing.state for crossing in told.crossings}.items():
            assert meter.balance("acme", as_of=at).state == state


@pytest.mark.parametrize("seed", range(12))
def test_under_any_policy_every_request_is_answered_or_refused(meter: Meter, clock: FrozenClock, seed: int) -> None:
    living = Living(meter, clock, seed)
    for _ in range(120):
        living.act()
    for reserve in (0, 100, 250, 500, 10_000):
        told = rehearsed(meter, START - HOUR, Thresholds(warning_tokens=reserve, reserve_tokens=reserve))
        assert told.requests == len(living.charged_at)
        assert (told.refused_tokens > 0) == (told.refused_requests > 0) == (told.first_refused_at is not None)
        assert State.RUNNING_LOW not in {crossing.state for crossing in told.crossings}
    assert told.refused_requests >= told.requests - living.used


def test_under_a_higher_reserve_ai_stops_earlier_and_what_was_refused_is_left(meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 1_000)
    for _ in range(9):
        clock.advance(HOUR)
        meter.debit("acme", 100)
    clock.advance(HOUR)
    told = rehearsed(meter, START, Thresholds(warning_tokens=800, reserve_tokens=550))
    assert (told.requests, told.refused_requests, told.refused_tokens) == (9, 4, 400)
    assert told.first_refused_at == START + 6 * HOUR
    assert (told.balance_tokens, told.state) == (500, State.AI_STOPPED)
    assert told.crossings == (
        Crossing(at=START + 3 * HOUR, state=State.RUNNING_LOW, balance_tokens=700),
        Crossing(at=START + 5 * HOUR, state=State.AI_STOPPED, balance_tokens=500),
    )
    assert told.time_in_state == {State.NORMAL: 3 * HOUR, State.RUNNING_LOW: 2 * HOUR, State.AI_STOPPED: 5 * HOUR}


def test_a_lane_stops_first_and_the_others_go_on(meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 1_000)
    for service in ("svc_back", "svc_front") * 4:
        clock.advance(HOUR)
        meter.debit("acme", 100, service_id=service)
    told = rehearsed(meter, START, lanes={"svc_back": Lane(600, "background")})
    # 900, 800, 700, 600; then the lane would leave less than its line, and only the others' requests are answered.
    assert (told.refused_requests, told.refused_tokens, told.first_refused_at) == (2, 200, START + 5 * HOUR)
    assert told.balance_tokens == 400


def test_what_was_not_used_expires_and_a_refund_of_what_was_refused_gives_nothing_back(meter: Meter, clock: FrozenClock) -> None:
    meter.grant("acme", 600, expires_at=START + 5 * HOUR)
    meter.grant("acme", 1_000)
    for number in range(4):
        clock.advance(HOUR)
        meter.debit("acme", 150, key=str(number))
    meter.refund("acme", "0")
    meter.refund("acme", "3")
    clock.advance(2 * HOUR)
    assert rehearsed(meter, START).forfeited_tokens == 300
    told = rehearsed(meter, START, Thresholds(warning_tokens=1_400, reserve_tokens=1_400))
    # 1,450, 1,300 and stopped: the other two are refused. The first comes back, and 450 of the first pack expire.
    assert (told.refused_requests, told.forfeited_tokens, told.balance_tokens) == (2, 450, 1_000)


def test_a_rehearsal_begins_in_the_past_of_an_organization_that_exists(meter: Meter, clock: FrozenClock) -> None:
    with pytest.raises(RequestInvalid, match="in the past"):
        rehearsed(meter, clock())
    with pytest.raises(OrganizationNotFound):
        Rehearsing(meter.engine, platform=LINES, clock=clock).rehearse("nobody", since=START - HOUR)
    assert rehearsed(meter, START - HOUR).requests == 0


def test_long_journals_are_read_piece_by_piece(meter: Meter, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenwell.service.records.rehearsing._CHUNK", 2)
    meter.grant("acme", 130)
    meter.grant("acme", 500)
    for _ in range(5):
        clock.advance(HOUR)
        meter.debit("acme", 50)
    told: list[int] = []
    Rehearsing(meter.engine, platform=LINES, clock=clock).rehearse("acme", since=START - HOUR, progress=told.append)
    assert told == [1, 2, 3, 4, 6, 7, 8]
    assert rehearsed(meter, START - HOUR).balance_tokens == meter.balance("acme").balance_tokens
