"""Forecasting: reads what a forecast needs, and remembers the hours of use for a short while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta

import msgspec
import sqlalchemy

from tokenwell.core.burnrate import HOUR_MICROS, MOST_WEEKS, WEEK_HOURS, BurnHistory
from tokenwell.core.forecast import Forecast, forecast
from tokenwell.core.health import Thresholds
from tokenwell.core.instants import to_micros
from tokenwell.service.ports import Clock
from tokenwell.store import burning, reader
from tokenwell.store.reader import reading

HISTORY_AGE = timedelta(minutes=1)
"""How long the hours of use are remembered. Packs and balance are read each time, so that a grant shows at once."""

HISTORY_LIMIT = 1_000
"""How many organizations' hours are remembered."""


class _Known(msgspec.Struct, frozen=True):
    history: BurnHistory | None
    until: datetime


class Forecasting:
    """The forecasts of one database. Safe to use from several threads."""

    def __init__(self, engine: sqlalchemy.Engine, *, platform: Thresholds, clock: Clock) -> None:
        self._engine = engine
        self._platform = platform
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def forecast(self, organization_id: str) -> Forecast | None:
        """Return what comes if use goes on as it was: when the balance is Running low, when AI stops, what packs will forfeit.

        None with less than a day of use to learn from. Raises OrganizationNotFound.
        """
        with reading(self._engine, organization_id) as connection:
            account = reader.account(connection, organization_id)
            now = max(self._clock(), account.last_at)
            packs = burning.open_packs(connection, organization_id)
            history = self._history(connection, organization_id, now)
        return forecast(
            organization_id,
            packs,
            thresholds=account.own_thresholds or self._platform,
            history=history,
            now=now,
            overage_tokens=account.overage_tokens,
        )

    def _history(self, connection: sqlalchemy.Connection, organization_id: str, now: datetime) -> BurnHistory | None:
        with self._lock:
            known = self._known.get(organization_id)
        if known is not None and known.until - HISTORY_AGE <= now < known.until:
            return known.history
        hour = to_micros(now) // HOUR_MICROS
        since_hour = hour - MOST_WEEKS * WEEK_HOURS - 1
        history = burning.burn_history(connection, organization_id, since_hour=since_hour, end_hour=hour)
        next_hour = now + timedelta(microseconds=HOUR_MICROS - to_micros(now) % HOUR_MICROS)
        with self._lock:
            self._known[organization_id] = _Known(history, min(now + HISTORY_AGE, next_hour))
            self._known.move_to_end(organization_id)
            while len(self._known) > HISTORY_LIMIT:
                self._known.popitem(last=False)
        return history
