"""The rate book: what models cost, kept in memory and read anew in the background."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
import sqlalchemy
import structlog

from tokenwell.core.happenings import Actor
from tokenwell.core.instants import EPOCH, to_utc
from tokenwell.core.rates import ANY_MODEL, Rate, RateCard
from tokenwell.errors import ModelUnrated, RequestInvalid
from tokenwell.service.ports import Clock, new_id
from tokenwell.store import rates as table

RATES_AGE = timedelta(seconds=10)
"""How long the rates are used before they are read again."""

log = structlog.get_logger()


class Unrated(StrEnum):
    """What is done with a model that has no rate."""

    ONE_TO_ONE = "one_to_one"
    REFUSE = "refuse"
    DEFAULT = "default"


class RateBook:
    """Knows the rate in force without asking the database each time.

    Only the very first reader waits for the database. After that one thread at a time reads the rates again when they have grown
    old, and whoever needs one meanwhile, or while the database is away, uses those known. `rated_names` says by which other name a
    model is rated that has no rate of its own, `unrated` what is done where that has none either.
    """

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock) -> None:
        self.rated_names: Mapping[str, str] = {}
        self.unrated = Unrated.ONE_TO_ONE
        self._engine = engine
        self._clock = clock
        self._by_model: dict[str, list[Rate]] | None = None
        self._read_at = EPOCH
        self._reading = threading.Lock()

    def set_rate(self, rate: Rate, *, by: Actor | None = None) -> None:
        """Set what a model costs from a date on; the same model and date again replaces it."""
        table.set_rate(self._engine, _checked(rate), now=self._clock(), by=by, act_id=new_id("act"))
        with self._reading:
            self._read()

    def import_rates(self, rates: Sequence[Rate], *, by: Actor | None = None) -> list[Rate]:
        """Add the rates whose model has none of the same date yet, and return them. What is there is never changed."""
        checked = [_checked(rate) for rate in rates]
        added = table.add_rates(self._engine, checked, now=self._clock(), by=by, act_id=new_id("act"))
        with self._reading:
            self._read()
        return added

    def rates(self) -> RateCard:
        """Return every rate ever set, as the database has them now."""
        return RateCard(table.rates(self._engine))

    def rate_for(self, model: str | None) -> Rate | None:
        """Return the rate in force for a model, None for one to one. What another process sets is seen soon after RATES_AGE."""
        now = self._clock()
        by_model = self._by_model
        if by_model is None:
            with self._reading:
                by_model = self._by_model or self._read()
        elif now - self._read_at > RATES_AGE and self._reading.acquire(blocking=False):
            threading.Thread(target=self._read_again, name="tokenwell-rates", daemon=True).start()
        if not by_model or model is None:
            return None
        rate = _in_force(by_model, model, now)
        if rate is None and model in self.rated_names:
            rate = _in_force(by_model, self.rated_names[model], now)
        if rate is None and self.unrated is Unrated.DEFAULT:
            rate = _in_force(by_model, ANY_MODEL, now)
        return rate

    def require_rated(self, model: str | None) -> None:
        """Return if a model may be asked. Raises ModelUnrated where it has no rate and such models are refused."""
        if self.unrated is Unrated.REFUSE and model is not None and self.rate_for(model) is None:
            raise ModelUnrated(f"no rate is set for the model {model}", model=model)

    def _read(self) -> dict[str, list[Rate]]:
        read_at = self._clock()
        by_model: dict[str, list[Rate]] = {}
        for rate in self.rates().rates:
            by_model.setdefault(rate.model, []).append(rate)
        self._by_model = by_model
        self._read_at = read_at
        return by_model

    def _read_again(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._read_at = self._clock()
            log.warning("rates_not_read", reason=str(error))
        finally:
            self._reading.release()


def _checked(rate: Rate) -> Rate:
    if not isinstance(rate, Rate):
        raise RequestInvalid("rate must be a Rate", field="rate")
    return msgspec.structs.replace(rate, effective_at=to_utc(rate.effective_at, field="effective_at"))


def _in_force(by_model: dict[str, list[Rate]], model: str, now: datetime) -> Rate | None:
    """Return the latest rate of a model that is effective: they are kept by date."""
    for rate in reversed(by_model.get(model, ())):
        if rate.effective_at <= now:
            return rate
    return None
