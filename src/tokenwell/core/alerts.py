"""Alerts: which events are worth telling whom, when they are sent, and when a delivery that failed is tried again. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

import msgspec

from tokenwell.core.happenings import EventKind

MINUTES_A_DAY = 24 * 60

ATTEMPTS = 34
"""How often a delivery is tried: 34 waits of half their longest make a day."""

FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(hours=2)
"""The longest wait after the first failure, and after any; the one doubles until it reaches the other."""

MILLION = 1_000_000


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a kind of event. `is_urgent`: quiet hours and digests do not hold it back. `rings`: it counts as unread
    until it was read. The organization's administrators, or the platform's, are told by e-mail unless they say otherwise."""

    is_urgent: bool = False
    rings: bool = True
    tells_organization: bool = False
    tells_platform: bool = False


ABOUT: dict[EventKind, About] = {
    EventKind.STATE_AI_STOPPED: About(is_urgent=True, tells_organization=True, tells_platform=True),
    EventKind.STATE_RUNNING_LOW: About(is_urgent=True, tells_organization=True),
    EventKind.STATE_RECOVERED: About(is_urgent=True, tells_organization=True),
    EventKind.PACK_EXPIRING: About(tells_organization=True),
    EventKind.PACK_GRANTED: About(tells_organization=True),
    EventKind.PACK_ADVANCED: About(tells_platform=True),
    EventKind.PACK_DEPLETED: About(rings=False),
    EventKind.PACK_EXPIRED: About(),
    EventKind.PACK_REVOKED: About(tells_organization=True),
    EventKind.PACK_EXTENDED: About(),
    EventKind.OVERAGE_INCURRED: About(),
    EventKind.OVERAGE_REPAID: About(rings=False),
    EventKind.SERVICE_RESTRICTED: About(rings=False),
    EventKind.SERVICE_RESTORED: About(rings=False),
    EventKind.KEY_LIMIT_REACHED: About(tells_organization=True),
    EventKind.USAGE_UNUSUAL: About(is_urgent=True, tells_organization=True),
    EventKind.TOPUP_REQUESTED: About(tells_platform=True),
    EventKind.TOPUP_APPROVED: About(tells_organization=True),
    EventKind.TOPUP_DECLINED: About(tells_organization=True),
    EventKind.PURCHASE_UNRESOLVED: About(tells_organization=True, tells_platform=True),
    EventKind.PURCHASE_CHARGED_BACK: About(tells_platform=True),
    EventKind.PURCHASE_REFUNDED: About(tells_platform=True),
    EventKind.PURCHASE_FAILED: About(tells_organization=True),
    EventKind.PURCHASE_COMPLETED: About(rings=False),
}
"""Every kind of event, those that matter most first."""

RINGING = tuple(kind for kind, about in ABOUT.items() if about.rings)
"""The kinds that count as unread."""

FOR_ORGANIZATION = frozenset(kind for kind, about in ABOUT.items() if about.tells_organization)
FOR_PLATFORM = frozenset(kind for kind, about in ABOUT.items() if about.tells_platform)
"""What administrators are told by e-mail who have not said what they want."""


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel keeps sealed: where it sends to, and the keys that webhooks are signed with. After a rotation there are two,
    the newest first, until `old_until`."""

    target: str
    keys: tuple[str, ...] = ()
    old_until: datetime | None = None

    def keys_at(self, now: datetime) -> tuple[str, ...]:
        """Return the keys to sign with."""
        return self.keys if self.old_until is not None and now < self.old_until else self.keys[:1]


STAGES = (1, 3, 14)
"""How many days before its expiry a pack is told of, the nearest first."""


def stage_of(granted_at: datetime, expires_at: datetime, now: datetime) -> int | None:
    """Return which of STAGES a pack has reached; None for one that has not, or that was granted for less: nobody is surprised."""
    days = next((days for days in STAGES if expires_at - now <= timedelta(days=days)), None)
    return None if days is None or expires_at - timedelta(days=days) < granted_at else days


CHANNEL_PURPOSE = "channel"
"""What a channel's secret is sealed for."""


UNSUBSCRIBE_PURPOSE = "unsubscribe"
"""What the links that stop e-mails are signed for."""


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of what: a channel of an organization (or of the platform), and one kind of event, or all (None). Links that stop
    e-mails are signed over its text."""

    home: str
    channel_id: str
    kind: EventKind | None = None

    @property
    def text(self) -> str:
        """It in one word."""
        return f"{self.home}/{self.channel_id}/{self.kind.value if self.kind else ''}"

    @classmethod
    def parse(cls, text: str) -> Subscription | None:
        """Return what a text stands for, or None."""
        home, _, rest = text.partition("/")
        channel_id, _, kind = rest.partition("/")
        known = {each.value: each for each in EventKind}
        if not channel_id or (kind and kind not in known):
            return None
        return cls(home=home, channel_id=channel_id, kind=known.get(kind))


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When somebody wants to be told, in minutes of their day: not from `quiet_from` until `quiet_until` (which may lie on the next
    day), and all of a day's events together at `digest_at`. Urgent events are told at once."""

    quiet_from: int | None = None
    quiet_until: int | None = None
    digest_at: int | None = None


AT_ONCE = Schedule()


def due_at(now: datetime, zone: tzinfo, schedule: Schedule, *, is_urgent: bool) -> datetime:
    """Return when an event of now is to be told."""
    if is_urgent:
        return now
    local = now.astimezone(zone)
    minute = local.hour * 60 + local.minute
    if schedule.digest_at is not None:
        return _next(local, schedule.digest_at).astimezone(now.tzinfo)
    if schedule.quiet_from is None or schedule.quiet_until is None:
        return now
    if (minute - schedule.quiet_from) % MINUTES_A_DAY < (schedule.quiet_until - schedule.quiet_from) % MINUTES_A_DAY:
        return _next(local, schedule.quiet_until).astimezone(now.tzinfo)
    return now


def _next(local: datetime, minute: int) -> datetime:
    """Return when a day's clock shows that minute next. A minute that a change of the clock leaves out comes an hour later."""
    at = local.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0, fold=0)
    return at if at > local else at + timedelta(days=1)  # aware of its zone: tomorrow by the clock, not in 24 hours


def longest_wait(attempts: int) -> timedelta:
    """Return the longest wait after that many failures in a row, at least one."""
    doublings = min(attempts - 1, 20)
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def wait_after(attempts: int, chance_millionths: int, *, asked: timedelta | None = None) -> timedelta | None:
    """Return how long to wait after that many failures in a row: any time up to the longest wait, by chance, so that many do not
    try again together. At least as long as the receiver `asked`, within the longest wait. None after the last attempt."""
    if attempts >= ATTEMPTS:
        return None
    wait = longest_wait(attempts) * chance_millionths // MILLION
    return wait if asked is None else max(wait, min(asked, LONGEST_WAIT))
