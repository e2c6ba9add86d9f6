"""The rate book: what models cost, kept in memory and read anew in the background."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta

import msgspec
import sqlalchemy
import structlog

from tokenwell.core.happenings import Actor
from tokenwell.core.instants import EPOCH, to_utc
from tokenwell.core.rates import Rate, RateCard
from tokenwell.errors import RequestInvalid
from tokenwell.service.ports import Clock, new_id
from tokenwell.store import registry

RATES_AGE = timedelta(seconds=10)
"""How long the rates are used before they are read again."""

log = structlog.get_logger()


class RateBook:
    """Knows the rate in force without asking the database each time.

    Only the very first reader waits for the database. After that one thread at a time reads the rates again when they have grown
    old, and whoever needs one meanwhile, or while the database is away, uses those known. `rated_names` says by which other name a
    model is rated that has no rate of its own.
    """

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock) -> None:
        self.rated_names: Mapping[str, str] = {}
        self._engine = engine
        self._clock = clock
        self._card: RateCard | None = None
        self._read_at = EPOCH
        self._reading = threading.Lock()

    def set_rate(self, rate: Rate, *, by: Actor | None = None) -> None:
        """Set what a model costs from a date on; the same model and date again replaces it. `by` is who did it, for the audit."""
        if not isinstance(rate, Rate):
            raise RequestInvalid("rate must be a Rate", field="rate")
        dated = msgspec.structs.replace(rate, effective_at=to_utc(rate.effective_at, field="effective_at"))
        registry.set_rate(self._engine, dated, now=self._clock(), by=by, act_id=new_id("act"))
        with self._reading:
            self._read()

    def rates(self) -> RateCard:
        """Return every rate ever set, as the database has them now."""
        return RateCard(registry.rates(self._engine))

    def rate_for(self, model: str | None) -> Rate | None:
        """Return the rate in force for a model, None for one to one. What another process sets is seen soon after RATES_AGE."""
        now = self._clock()
        card = self._card
        if card is None:
            with self._reading:
                card = self._card or self._read()
        elif now - self._read_at > RATES_AGE and self._reading.acquire(blocking=False):
            threading.Thread(target=self._read_again, name="tokenwell-rates", daemon=True).start()
        if not card.rates:
            return None
        rate = card.rate_for(model, now)
        return rate if rate is not None or model is None else card.rate_for(self.rated_names.get(model), now)

    def _read(self) -> RateCard:
        read_at = self._clock()
        self._card = card = self.rates()
        self._read_at = read_at
        return card

    def _read_again(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._read_at = self._clock()
            log.warning("rates_not_read", reason=str(error))
        finally:
            self._reading.release()
