"""The demo: an organization with three weeks of believable history, made by the same commands that anyone would use.

The history is fixed by the instant at which the organization was created: made again it changes nothing, and interrupted it is
completed the next time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta

import msgspec

from tokenwell.errors import OrganizationExists, OrganizationNotFound, RequestNotFound
from tokenwell.service.meter import Meter
from tokenwell.service.ports import Clock, Organization

ORGANIZATION_ID = "acme"
ORGANIZATION_NAME = "Acme Inc."
HISTORY = timedelta(days=21)
"""How much history there is before the instant at which the demo was made."""

_FIRST_NOTE = "Starter pack"
_WEEKDAY_REQUESTS = 42
_WEEKEND_REQUESTS = 13
_REFUNDED_DAY = 18


class SteppingClock:
    """A clock that stands at `now` until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the instant it stands at."""
        return self.now


class _PackPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A pack of the demo; days count from the beginning of the history, day 21 is when the demo was made."""

    name: str
    amount: str
    granted_day: float
    expires_day: float | None
    note: str
    priority: int = 0
    revoked_day: float | None = None
    extended_day: float | None = None
    extended_to_day: float | None = None


_PACKS = (
    _PackPlan(name="starter", amount="1M", granted_day=0, expires_day=14, note=_FIRST_NOTE),
    _PackPlan(name="campaign", amount="3M", granted_day=0.1, expires_day=15, note="Autumn campaign"),
    _PackPlan(name="mistake", amount="2M", granted_day=6, expires_day=90, note="Priority plan", priority=10, revoked_day=6.2),
    _PackPlan(name="month", amount="4M", granted_day=12, expires_day=24, note="Monthly plan"),
    _PackPlan(
        name="year", amount="5M", granted_day=14, expires_day=200, note="Annual contract", extended_day=17, extended_to_day=379
    ),
    _PackPlan(name="bonus", amount="2.5M", granted_day=18, expires_day=None, note="Thank you for the bug reports"),
)


class _Work(msgspec.Struct, frozen=True):
    """A kind of AI request of the demo, and how many tokens one takes."""

    service_id: str
    reason: str
    model: str
    prompt_tokens: tuple[int, int]
    completion_tokens: tuple[int, int]
    weight: int


_WORK = (
    _Work("support-agent", "Reply to a customer", "claude-sonnet-4-5", (2_400, 9_000), (180, 900), 9),
    _Work("support-agent", "Summarize a conversation", "claude-haiku-4-5", (3_000, 12_000), (120, 420), 4),
    _Work("auto-tagging", "Tag a ticket", "gpt-5-mini", (600, 1_900), (8, 40), 7),
    _Work("knowledge-base", "Answer from the knowledge base", "gpt-5-mini", (4_000, 16_000), (150, 700), 4),
)

_Step = tuple[datetime, Callable[[Meter], object]]


def make_demo(open_meter: Callable[[Clock], Meter], *, now: datetime) -> Organization:
    """Make the demo organization and its history up to `now`, or what of it is missing; `open_meter` opens one on a clock.

    Raises OrganizationExists if there is an organization of that id which is not the demo's.
    """
    clock = SteppingClock(now - HISTORY)
    with open_meter(clock) as meter:
        organization = _organization_in(meter)
        steps = sorted(_steps(organization.created_at), key=lambda step: step[0])
        if not _is_complete(meter):
            for at, act in steps:
                clock.now = at
                act(meter)
    return organization


def _organization_in(meter: Meter) -> Organization:
    try:
        organization = meter.organization(ORGANIZATION_ID)
    except OrganizationNotFound:
        return meter.create_organization(ORGANIZATION_ID, name=ORGANIZATION_NAME)
    first = meter.journal(ORGANIZATION_ID, limit=1).items
    if organization.name != ORGANIZATION_NAME or (first and first[0].note != _FIRST_NOTE):
        raise OrganizationExists(
            f"there is an organization {ORGANIZATION_ID} that is not the demo's", organization_id=ORGANIZATION_ID
        )
    return organization


def _is_complete(meter: Meter) -> bool:
    try:
        meter.request(ORGANIZATION_ID, _LAST_KEY)
    except RequestNotFound:
        return False
    return True


_LAST_KEY = "demo-last"


def _steps(start: datetime) -> Iterator[_Step]:
    yield start, lambda meter: meter.set_thresholds(ORGANIZATION_ID, warning="5M", reserve="1M")
    for plan in _PACKS:
        yield from _life_of(plan, start)
    yield from _requests(start)


def _life_of(plan: _PackPlan, start: datetime) -> Iterator[_Step]:
    """Give the steps of one pack. A pack is known by its number, which the first of them learns."""
    names: list[str] = []

    def grant(meter: Meter) -> None:
        expires_at = None if plan.expires_day is None else _midnight_after(start, plan.expires_day)
        granted = meter.grant(
            ORGANIZATION_ID,
            plan.amount,
            expires_at=expires_at,
            priority=plan.priority,
            note=plan.note,
            key=f"demo-grant-{plan.name}",
        )
        names.append(granted.pack.id)

    def revoke(meter: Meter) -> None:
        note = "Granted to the wrong organization"
        meter.revoke(ORGANIZATION_ID, names[0], note=note, key=f"demo-revoke-{plan.name}")

    def extend(meter: Meter) -> None:
        assert plan.extended_to_day is not None
        expires_at = _midnight_after(start, plan.extended_to_day)
        meter.extend(ORGANIZATION_ID, names[0], expires_at=expires_at, note="Contract renewed", key=f"demo-extend-{plan.name}")

    yield _day(start, plan.granted_day), grant
    if plan.revoked_day is not None:
        yield _day(start, plan.revoked_day), revoke
    if plan.extended_day is not None:
        yield _day(start, plan.extended_day), extend


def _requests(start: datetime) -> Iterator[_Step]:
    """Give the AI requests: mostly on weekdays and during the day, the same ones for the same start."""
    chance = random.Random(start.date().toordinal())
    end = start + HISTORY
    session = chance.randrange(1_000, 9_000)
    refunded = False
    for number, at in enumerate(_instants(chance, start, end), start=1):
        work = chance.choices(_WORK, weights=[work.weight for work in _WORK])[0]
        session += chance.random() < 0.4
        key = f"demo-{number}"
        yield at, _debit_of(chance, work, key=key, session=f"conversation-{session}")
        if not refunded and at > _day(start, _REFUNDED_DAY):
            refunded = True
            yield at + timedelta(minutes=4), _refund_of(key)
    yield end, _debit_of(chance, _WORK[0], key=_LAST_KEY, session=f"conversation-{session}")


def _instants(chance: random.Random, start: datetime, end: datetime) -> Iterator[datetime]:
    for day in range(HISTORY.days + 1):
        date = (start + timedelta(days=day)).date()
        midnight = datetime.combine(date, time(), tzinfo=start.tzinfo)
        count = _WEEKDAY_REQUESTS if date.weekday() < 5 else _WEEKEND_REQUESTS
        seconds = sorted(chance.triangular(5, 22, 12) * 3600 for _ in range(count + chance.randint(-6, 6)))
        instants = (midnight + timedelta(seconds=round(second, 3)) for second in seconds)
        yield from (at for at in instants if start + timedelta(hours=3) < at < end - timedelta(minutes=5))


def _debit_of(chance: random.Random, work: _Work, *, key: str, session: str) -> Callable[[Meter], object]:
    prompt_tokens = chance.randint(*work.prompt_tokens)
    completion_tokens = chance.randint(*work.completion_tokens)
    return lambda meter: meter.debit(
        ORGANIZATION_ID,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        model=work.model,
        session=session,
        reason=work.reason,
        service_id=work.service_id,
        key=key,
    )


def _refund_of(key: str) -> Callable[[Meter], object]:
    return lambda meter: meter.refund(ORGANIZATION_ID, key, note="The reply was cut off", key="demo-refund")


def _day(start: datetime, day: float) -> datetime:
    return start + timedelta(days=day)


def _midnight_after(start: datetime, day: float) -> datetime:
    return datetime.combine((_day(start, day) + timedelta(days=1)).date(), time(), tzinfo=start.tzinfo)
