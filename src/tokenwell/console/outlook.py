"""The outlook: when AI stops, in words and as a picture. Solid what was, dotted what is expected, a step where tokens expire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

import msgspec

from tokenwell.core.forecast import Forecast, Point
from tokenwell.core.health import Thresholds
from tokenwell.core.receipts import Balance
from tokenwell.service.meter import Meter

WIDTH = 1_000
HEIGHT = 120
TOP = 6
PAST_DAYS = 8
SHORTEST = timedelta(days=6)
"""How far ahead a picture looks at least."""

LONGEST = timedelta(days=90)
"""How far ahead a picture looks at most: what comes later is told in words."""

EVENTS = 4
"""How many events are told."""


MANY_PACKS = 200
"""With more active packs than this a forecast is kept for a while: it takes long, and changes little."""

KEPT = timedelta(minutes=1)
KEPT_LIMIT = 1_000


class Forecasts:
    """Forecasts for pages. Those of organizations with very many packs are kept for KEPT, unless a pack or the state changes."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._kept: dict[str, tuple[tuple[int, str], datetime, Forecast | None]] = {}

    def of(self, balance: Balance) -> Forecast | None:
        """Return the forecast of an organization with this balance; None with less than a day of use to learn from."""
        if balance.active_packs <= MANY_PACKS:
            return self._meter.forecast(balance.organization_id)
        mark = (balance.active_packs, balance.state.value)
        kept = self._kept.get(balance.organization_id)
        if kept is not None and kept[0] == mark and kept[1] <= balance.as_of < kept[1] + KEPT:
            return kept[2]
        told = self._meter.forecast(balance.organization_id)
        if len(self._kept) >= KEPT_LIMIT:
            self._kept.clear()
        self._kept[balance.organization_id] = (mark, balance.as_of, told)
        return told


class What(StrEnum):
    """What comes."""

    EXPIRES = "expires"
    RUNNING_LOW = "running_low"
    STOPS = "stops"


class Coming(msgspec.Struct, frozen=True, kw_only=True):
    """One event: when, what, and of an expiry how many tokens go unused."""

    at: datetime
    what: What
    tokens: int = 0


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold in the picture."""

    kind: str
    y: str
    text_y: str
    tokens: int


class Burn(msgspec.Struct, frozen=True, kw_only=True):
    """The picture: paths in a box of WIDTH by HEIGHT, places as percentages of its width and pixels of its height."""

    past: str
    area: str
    coming: str
    lost: tuple[str, ...]
    levels: tuple[Level, ...]
    began_at: datetime
    now_x: str
    now_y: str
    stops_x: str | None
    stops_y: str
    stops_at: datetime | None


class OutlookView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page says of the time to come. `days` are rounded down; None where AI does not stop within the horizon."""

    tokens_per_day: int
    stops_at: datetime | None
    days: int | None
    events: tuple[Coming, ...]
    burn: Burn


def outlook_view(told: Forecast, past: Sequence[tuple[datetime, int]], balance_tokens: int, thresholds: Thresholds) -> OutlookView:
    """Return the outlook of a forecast; `past` are balances of the days before, in order."""
    expected = told.expected
    stops_at = expected.ai_stops_at
    return OutlookView(
        tokens_per_day=told.tokens_per_day,
        stops_at=stops_at,
        days=None if expected.runway is None else expected.runway // timedelta(days=1),
        events=_events(told),
        burn=_burn(told, [*past, (told.as_of, balance_tokens)], thresholds),
    )


def _events(told: Forecast) -> tuple[Coming, ...]:
    expected = told.expected
    found = [
        Coming(at=forfeit.at, what=What.EXPIRES, tokens=forfeit.tokens)
        for forfeit in expected.forfeits
        if forfeit.tokens and (expected.ai_stops_at is None or forfeit.at <= expected.ai_stops_at)
    ]
    if expected.running_low_at is not None and expected.running_low_at > told.as_of:
        found.append(Coming(at=expected.running_low_at, what=What.RUNNING_LOW))
    if expected.ai_stops_at is not None and expected.ai_stops_at > told.as_of:
        found.append(Coming(at=expected.ai_stops_at, what=What.STOPS))
    order = list(What)
    found.sort(key=lambda coming: (coming.at, order.index(coming.what)))
    return tuple(found) if len(found) <= EVENTS else (*found[: EVENTS - 1], found[-1])


class _Scale:
    """Places instants and amounts in the picture."""

    def __init__(self, since: datetime, until: datetime, most: int) -> None:
        self._since = since
        self._span = max((until - since) // timedelta(seconds=1), 1)
        self._most = max(most * 104 // 100, 1)

    def x(self, at: datetime) -> int:
        """Return the place of an instant, in tenths."""
        return (at - self._since) // timedelta(seconds=1) * WIDTH * 10 // self._span

    def y(self, tokens: int) -> int:
        """Return the place of an amount, in tenths."""
        return TOP * 10 + HEIGHT * 10 - tokens * HEIGHT * 10 // self._most

    def path(self, points: Sequence[tuple[datetime, int]]) -> str:
        """Return a line through points."""
        return "M" + "L".join(f"{_tenths(self.x(at))} {_tenths(self.y(tokens))}" for at, tokens in points)


def _tenths(number: int) -> str:
    sign = "-" if number < 0 else ""
    return f"{sign}{abs(number) // 10}.{abs(number) % 10}"


def _share(tenths: int) -> str:
    """Return a place in WIDTH as a percentage."""
    return f"{tenths // 100}.{tenths % 100:02}%"


def _burn(told: Forecast, past: Sequence[tuple[datetime, int]], thresholds: Thresholds) -> Burn:
    now, stops_at = told.as_of, told.expected.ai_stops_at
    points = [(point.at, point.balance_tokens) for point in told.expected.points]
    end = max(now + SHORTEST, (stops_at or now + LONGEST) + timedelta(days=2))
    end = min(end, now + LONGEST)
    ahead = _until(told.expected.points, min(end, stops_at or end)) or [past[-1]]
    most = max(*(tokens for _, tokens in past), *(tokens for _, tokens in ahead), thresholds.warning_tokens, 1)
    scale = _Scale(past[0][0], end, most)
    steps = [(one, other) for one, other in pairwise(points) if one[0] == other[0] and one[0] <= end]
    levels = (("low", thresholds.warning_tokens), ("stop", thresholds.reserve_tokens))
    stop_x = None if stops_at is None or stops_at > end or stops_at <= now else _share(scale.x(stops_at))
    bottom = (TOP + HEIGHT) * 10
    line = scale.path(past)
    return Burn(
        past=line,
        area=f"{line}L{_tenths(scale.x(now))} {_tenths(bottom)}L0 {_tenths(bottom)}Z",
        coming=scale.path(ahead),
        lost=tuple(scale.path(step) for step in steps),
        levels=tuple(
            Level(kind=kind, y=_tenths(scale.y(tokens)), text_y=_tenths(scale.y(tokens) - 50), tokens=tokens)
            for kind, tokens in levels
            if tokens
        ),
        began_at=past[0][0],
        now_x=_share(scale.x(now)),
        now_y=_tenths(scale.y(past[-1][1])),
        stops_x=stop_x,
        stops_y=_tenths(scale.y(thresholds.reserve_tokens)),
        stops_at=stops_at,
    )


def _until(points: Sequence[Point], end: datetime) -> list[tuple[datetime, int]]:
    return [(point.at, point.balance_tokens) for point in points if point.at <= end]
