"""Forecast: the burn rate walked through the packs in burn-down order, expiries included, until AI stops.

Whole numbers only. Instants are rounded down and use is rounded up, so that time is never promised that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from tokenwell.core.burnrate import EXACTLY, HOUR_MICROS, MILLION, Basis, BurnHistory, BurnRate, rate_of
from tokenwell.core.health import Thresholds
from tokenwell.core.instants import expiry_micros, from_micros, to_micros
from tokenwell.core.packs import Pack, PackStatus

HORIZON = timedelta(days=366)
"""How far a forecast looks. What happens later is not told."""

TOP_UP_DAYS = 30
"""How many days of use a top-up is suggested for."""

_DAY_MICROS = 24 * HOUR_MICROS


class Forfeit(msgspec.Struct, frozen=True, kw_only=True):
    """What a pack will have left when it expires, unless more is used until then."""

    pack_id: str
    pack_number: int
    at: datetime
    tokens: int


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The balance as it is expected at an instant, for a picture: day by day, and before and after every step."""

    at: datetime
    balance_tokens: int


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What comes at one pace of use. An instant is None where it lies beyond HORIZON, and that of the forecast where it is past.

    `runway` is the time until AI stops. `forfeits` stand in the order in which the packs expire, those after AI stopped included.
    """

    running_low_at: datetime | None
    ai_stops_at: datetime | None
    runway: timedelta | None
    forfeits: tuple[Forfeit, ...]
    points: tuple[Point, ...]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What comes if use goes on as it was and no pack is granted: `early` at the fastest pace that recent weeks make likely, `late`
    at the slowest, `expected` between them.

    `suggested_tokens` covers TOP_UP_DAYS of use and the overage, rounded up to two digits; 0 where nothing is used.
    """

    organization_id: str
    as_of: datetime
    basis: Basis
    observed_hours: int
    tokens_per_day: int
    early: Outlook
    expected: Outlook
    late: Outlook
    suggested_tokens: int


def forecast(
    organization_id: str,
    packs: Sequence[Pack],
    *,
    thresholds: Thresholds,
    history: BurnHistory | None,
    now: datetime,
    overage_tokens: int = 0,
) -> Forecast | None:
    """Return what comes, or None with less than a day of use to learn from. Packs that are not active at `now` do not count."""
    micros = to_micros(now)
    rate = None if history is None else rate_of(history, micros // HOUR_MICROS)
    if rate is None:
        return None
    active = sorted((pack for pack in packs if pack.status(now) is PackStatus.ACTIVE), key=lambda pack: pack.burn_order())
    early, expected, late = (
        _Walk(active, thresholds, rate, scale, micros).outlook()
        for scale in (EXACTLY + rate.spread, EXACTLY, EXACTLY - rate.spread)
    )
    return Forecast(
        organization_id=organization_id,
        as_of=now,
        basis=rate.basis,
        observed_hours=rate.observed_hours,
        tokens_per_day=-(-rate.over_days(7) // 7),
        early=early,
        expected=expected,
        late=late,
        suggested_tokens=rounded_up(rate.over_days(TOP_UP_DAYS) + overage_tokens),
    )


def rounded_up(tokens: int) -> int:
    """Return an amount with all but its first two digits rounded up."""
    step = int("1" + "0" * (len(str(tokens)) - 2))
    return -(-tokens // step) * step


class _Walk:
    """One walk through the packs at one pace, all amounts in millionths of a token.

    AI stops where the balance would fall below the reserve; from then on nothing is used, and packs only expire.
    """

    def __init__(self, packs: Sequence[Pack], thresholds: Thresholds, rate: BurnRate, scale: int, now: int) -> None:
        self._packs = packs
        self._rate, self._scale = rate, scale
        self._warning, self._reserve = thresholds.warning_tokens * MILLION, thresholds.reserve_tokens * MILLION
        self._left = [pack.remaining_tokens * MILLION for pack in packs]
        self._balance = sum(self._left)
        self._expiries = sorted((expiry_micros(pack.expires_at), place) for place, pack in enumerate(packs) if pack.expires_at)
        self._began = self._at = self._next_point = now
        self._end = now + HORIZON // timedelta(microseconds=1)
        self._first = self._due = 0
        self._low_at: int | None = None
        self._stopped_at: int | None = None
        self._forfeits: list[Forfeit] = []
        self._points: list[Point] = []

    def outlook(self) -> Outlook:
        """Walk to the end and tell what was met."""
        self._mark()
        self._look()
        while self._at < self._end and self._balance:
            next_expiry = self._expiries[self._due][0] if self._due < len(self._expiries) else self._end
            until = min(next_expiry, self._end)
            if self._stopped_at is None:
                self._burn_until(until)
            self._at = until
            self._expire()
        self._mark()
        return Outlook(
            running_low_at=None if self._low_at is None else from_micros(self._low_at),
            ai_stops_at=None if self._stopped_at is None else from_micros(self._stopped_at),
            runway=None if self._stopped_at is None else timedelta(microseconds=self._stopped_at - self._began),
            forfeits=tuple(self._forfeits),
            points=tuple(self._points),
        )

    def _burn_until(self, until: int) -> None:
        """Use tokens hour by hour until an instant, or until AI stops."""
        while self._at < until and self._stopped_at is None:
            hour = self._at // HOUR_MICROS
            end = min((hour + 1) * HOUR_MICROS, until)
            pace = self._rate.in_hour(hour, self._scale)
            if pace:
                self._burn(pace, -(-pace * (end - self._at) // HOUR_MICROS))
            self._at = end
            if self._stopped_at is None and end >= self._next_point:
                self._mark()

    def _burn(self, pace: int, wanted: int) -> None:
        """Use what an hour, or a piece of one, wants, noting when a line is crossed."""
        if self._low_at is None and wanted > self._balance - self._warning:
            self._low_at = self._at + (self._balance - self._warning) * HOUR_MICROS // pace
        room = self._balance - self._reserve
        if wanted > room or (wanted == room and not self._reserve):
            wanted = room
            self._stopped_at = self._at + room * HOUR_MICROS // pace
            self._low_at = self._stopped_at if self._low_at is None else self._low_at
            self._points.append(Point(at=from_micros(self._stopped_at), balance_tokens=self._reserve // MILLION))
        self._balance -= wanted
        while wanted:
            taken = min(wanted, self._left[self._first])
            self._left[self._first] -= taken
            wanted -= taken
            if not self._left[self._first]:
                self._first += 1

    def _expire(self) -> None:
        """Close the packs that are due, noting what each forfeits."""
        while self._due < len(self._expiries) and self._expiries[self._due][0] <= self._at:
            at, place = self._expiries[self._due]
            self._due += 1
            left, pack = self._left[place], self._packs[place]
            tokens = left // MILLION
            self._left[place] = 0
            self._balance -= left
            if tokens:
                self._points.append(Point(at=from_micros(at), balance_tokens=(self._balance + left) // MILLION))
                self._forfeits.append(Forfeit(pack_id=pack.id, pack_number=pack.number, at=from_micros(at), tokens=tokens))
                self._mark()
        self._look()

    def _look(self) -> None:
        """Note a line that the balance has crossed by now: from the beginning, or by an expiry."""
        if self._low_at is None and self._balance < self._warning:
            self._low_at = self._at
        if self._stopped_at is None and (self._balance < self._reserve or not self._balance):
            self._stopped_at = self._at
            self._low_at = self._at if self._low_at is None else self._low_at

    def _mark(self) -> None:
        self._next_point = self._at + _DAY_MICROS
        self._points.append(Point(at=from_micros(self._at), balance_tokens=self._balance // MILLION))
