"""The meter: the library's public face. Grants, holds, charges and reads, for plain and for asynchronous code.

What can be written is defined once, in `Intake`; what can be read, in `Reading`. `Meter` and `AsyncMeter` give both.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from tokenwell.core.commands import Command
from tokenwell.core.forecast import Forecast
from tokenwell.core.happenings import Actor
from tokenwell.core.health import Thresholds
from tokenwell.core.identifiers import check_label, check_organization_id
from tokenwell.core.receipts import Answer, Extended, Granted, Held, Receipt, Released, Revoked, ThresholdsSet
from tokenwell.errors import StoreError, TokenwellError
from tokenwell.service.batching import Batcher
from tokenwell.service.forecasting import Forecasting
from tokenwell.service.intake import HOLD_TTL, Intake
from tokenwell.service.items import Items
from tokenwell.service.ports import Clock, Organization, in_utc, new_id, system_clock
from tokenwell.service.ratebook import RateBook
from tokenwell.service.reading import Reading
from tokenwell.store import registry
from tokenwell.store.dialects import open_engine, parse_database
from tokenwell.store.isolation import bound
from tokenwell.store.migration import migrate as migrate_schema
from tokenwell.store.writer import Writer

DEFAULT_THRESHOLDS = Thresholds(1_000_000, 100_000)
"""Warning threshold and minimum reserve of an organization that has none of its own, where the platform sets no others."""

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A", bound=Answer)


def _writes(build: Callable[Concatenate[Intake, P], Command], answer: type[A]) -> Callable[Concatenate[Meter, P], A]:
    @functools.wraps(build)
    def call(self: Meter, /, *args: P.args, **kwargs: P.kwargs) -> A:
        return cast(A, self.batcher.submit(build(self.intake, *args, **kwargs)))

    return call


def _awrites(
    build: Callable[Concatenate[Intake, P], Command], answer: type[A]
) -> Callable[Concatenate[AsyncMeter, P], Awaitable[A]]:
    @functools.wraps(build)
    async def call(self: AsyncMeter, /, *args: P.args, **kwargs: P.kwargs) -> A:
        return cast(A, await self.meter.batcher.asubmit(build(self.meter.intake, *args, **kwargs)))

    return call


def _reads(read: Callable[Concatenate[Reading, P], R]) -> Callable[Concatenate[Meter, P], R]:
    @functools.wraps(read)
    def call(self: Meter, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return read(self.reading, *args, **kwargs)

    return call


def _rates(call_of: Callable[Concatenate[RateBook, P], R]) -> Callable[Concatenate[Meter, P], R]:
    @functools.wraps(call_of)
    def call(self: Meter, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return call_of(self.ratebook, *args, **kwargs)

    return call


def _arates(call_of: Callable[Concatenate[RateBook, P], R]) -> Callable[Concatenate[AsyncMeter, P], Awaitable[R]]:
    @functools.wraps(call_of)
    async def call(self: AsyncMeter, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(call_of, self.meter.ratebook, *args, **kwargs)

    return call


def _areads(read: Callable[Concatenate[Reading, P], R]) -> Callable[Concatenate[AsyncMeter, P], Awaitable[R]]:
    @functools.wraps(read)
    async def call(self: AsyncMeter, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(read, self.meter.reading, *args, **kwargs)

    return call


class Meter:
    """Meters the tokens of many organizations on one database.

    `url` is `sqlite:///file.db` or `postgresql://user@host/name`. `thresholds` are the platform's. `queue_limit` commands may
    wait (then StoreBusy), at most `batch_limit` are committed in one transaction. `migrate` brings the schema up to date first.
    `tenant_role` names a role of PostgreSQL that what is about one organization runs as, behind row-level security.
    Safe to share between threads; from coroutines use `aio`, which has the same methods.

    Every write takes an idempotency `key`: repeated with the same input it gives the first answer, `replayed`; with other input
    IdempotencyConflict. Every method may raise OrganizationNotFound, RequestInvalid and StoreError.
    """

    def __init__(
        self,
        url: str = "sqlite:///tokenwell.db",
        *,
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
        clock: Clock = system_clock,
        queue_limit: int = 10_000,
        batch_limit: int = 256,
        migrate: bool = True,
        tenant_role: str = "",
    ) -> None:
        database = parse_database(url)
        self.clock = clock = in_utc(clock)
        self.engine = bound(open_engine(database), tenant_role)
        if migrate:
            migrate_schema(self.engine, tenant_role=tenant_role)
        self.thresholds = thresholds
        self.reading = Reading(self.engine, platform=thresholds, clock=clock)
        self.forecasting = Forecasting(self.engine, platform=thresholds, clock=clock)
        self.ratebook = RateBook(self.engine, clock)
        self.intake = Intake(self.reading, self.ratebook, platform=thresholds)
        self._writer = Writer(database, thresholds=thresholds, clock=clock, new_id=new_id)
        self.batcher = Batcher(self._writer.commit, queue_limit=queue_limit, batch_limit=batch_limit)
        self.aio = AsyncMeter(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Commit what waits and close every connection."""
        self.batcher.close()
        self._writer.close()
        self.engine.dispose()

    def create_organization(self, organization_id: str, *, name: str | None = None, by: Actor | None = None) -> Organization:
        """Create an organization; again with the same name changes nothing. Raises OrganizationExists for another name."""
        organization_id = check_organization_id(organization_id)
        label = check_label(name, field="name") or organization_id
        registry.create_organization(self.engine, organization_id, name=label, now=self.clock(), by=by, act_id=new_id("act"))
        return self.organization(organization_id)

    def forecast(self, organization_id: str) -> Forecast | None:
        """Return what comes if use goes on as it was, as `Forecasting.forecast` does; None with less than a day of use."""
        return self.forecasting.forecast(organization_id)

    def debit_many(self, organization_id: str, items: Sequence[Mapping[str, Any]]) -> list[Receipt | TokenwellError]:
        """Charge up to 1,000 requests, each given by what `debit` takes; returns an answer or an error for each, in order.

        They join the batches of all other writes, as many to a transaction as go into it. Each should have a `key`: where a
        connection is lost, some may be charged and others not. Raises RequestInvalid, and StoreBusy where too many wait.
        """
        asked = Items(self.intake, organization_id, items)
        return asked.merge(self.batcher.submit_many(asked.commands))

    def sweep(self, *, limit: int = 100) -> int:
        """Close what is due in up to `limit` organizations, the longest overdue first, without any traffic of theirs.

        Returns in how many it was done: `limit` means that there may be more. Any number of processes may sweep at once.
        """
        due = self.reading.organizations_due(limit=limit)
        outcomes = self.batcher.submit_many([self.intake.close_due(organization_id) for organization_id in due])
        for outcome in outcomes:
            if isinstance(outcome, StoreError):
                raise outcome
        # A defect was logged where it was met: one broken organization must not keep the others from being swept.
        return sum(not isinstance(outcome, Exception) for outcome in outcomes)

    @contextmanager
    def hold(
        self, organization_id: str, amount: int | str, *, ttl: timedelta = HOLD_TTL, key: str | None = None, **terms: Any
    ) -> Iterator[HeldRequest]:
        """Hold tokens for the block: settle inside it what was used. Left unsettled, the hold is released.

        `terms` are those of `open_hold` and count for its growths, too: `limits` with their `key_id`, `reserve_tokens` and `lane`.
        Where the database failed while settling, the hold is kept: the tokens were used, and settling it again charges them.
        """
        request = HeldRequest(self, organization_id, self.open_hold(organization_id, amount, ttl=ttl, key=key, **terms), terms)
        try:
            yield request
        finally:
            if not request.is_kept:
                self.release(organization_id, request.id)

    grant = _writes(Intake.grant, Granted)
    advance = _writes(Intake.advance, Granted)
    revoke = _writes(Intake.revoke, Revoked)
    extend = _writes(Intake.extend, Extended)
    open_hold = _writes(Intake.open_hold, Held)
    extend_hold = _writes(Intake.extend_hold, Held)
    settle = _writes(Intake.settle, Receipt)
    release = _writes(Intake.release, Released)
    debit = _writes(Intake.debit, Receipt)
    refund = _writes(Intake.refund, Receipt)
    set_thresholds = _writes(Intake.set_thresholds, ThresholdsSet)
    clear_thresholds = _writes(Intake.clear_thresholds, ThresholdsSet)
    close_due = _writes(Intake.close_due, Answer)

    organization = _reads(Reading.organization)
    organizations = _reads(Reading.organizations)
    organizations_due = _reads(Reading.organizations_due)
    balance = _reads(Reading.balance)
    packs = _reads(Reading.packs)
    pack_counts = _reads(Reading.pack_counts)
    ledger = _reads(Reading.ledger)
    request = _reads(Reading.request)
    journal = _reads(Reading.journal)
    usage_totals = _reads(Reading.usage_totals)
    verify = _reads(Reading.verify)
    set_rate = _rates(RateBook.set_rate)
    import_rates = _rates(RateBook.import_rates)
    rates = _rates(RateBook.rates)
    ping = _reads(Reading.ping)


class AsyncMeter:
    """The meter for coroutines: writes join the same batches, reads run in a thread."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    async def create_organization(self, organization_id: str, *, name: str | None = None, by: Actor | None = None) -> Organization:
        """Create an organization, as `Meter.create_organization` does."""
        return await asyncio.to_thread(self.meter.create_organization, organization_id, name=name, by=by)

    async def debit_many(self, organization_id: str, items: Sequence[Mapping[str, Any]]) -> list[Receipt | TokenwellError]:
        """Charge many requests, as `Meter.debit_many` does."""
        asked = Items(self.meter.intake, organization_id, items)
        return asked.merge(await self.meter.batcher.asubmit_many(asked.commands))

    async def sweep(self, *, limit: int = 100) -> int:
        """Close what is due, as `Meter.sweep` does."""
        return await asyncio.to_thread(self.meter.sweep, limit=limit)

    async def forecast(self, organization_id: str) -> Forecast | None:
        """Return what comes if use goes on as it was, as `Meter.forecast` does."""
        return await asyncio.to_thread(self.meter.forecast, organization_id)

    @asynccontextmanager
    async def hold(
        self, organization_id: str, amount: int | str, *, ttl: timedelta = HOLD_TTL, key: str | None = None, **terms: Any
    ) -> AsyncIterator[AsyncHeldRequest]:
        """Hold tokens for the block: settle inside it what was used. Left unsettled, the hold is released.

        `terms` are those of `open_hold` and count for its growths, too: `limits` with their `key_id`, `reserve_tokens` and `lane`.
        Where the database failed while settling, the hold is kept: the tokens were used, and settling it again charges them.
        """
        request = AsyncHeldRequest(
            self, organization_id, await self.open_hold(organization_id, amount, ttl=ttl, key=key, **terms), terms
        )
        try:
            yield request
        finally:
            if not request.is_kept:
                await asyncio.shield(self.release(organization_id, request.id))

    grant = _awrites(Intake.grant, Granted)
    advance = _awrites(Intake.advance, Granted)
    revoke = _awrites(Intake.revoke, Revoked)
    extend = _awrites(Intake.extend, Extended)
    open_hold = _awrites(Intake.open_hold, Held)
    extend_hold = _awrites(Intake.extend_hold, Held)
    settle = _awrites(Intake.settle, Receipt)
    release = _awrites(Intake.release, Released)
    debit = _awrites(Intake.debit, Receipt)
    refund = _awrites(Intake.refund, Receipt)
    set_thresholds = _awrites(Intake.set_thresholds, ThresholdsSet)
    clear_thresholds = _awrites(Intake.clear_thresholds, ThresholdsSet)
    close_due = _awrites(Intake.close_due, Answer)

    organization = _areads(Reading.organization)
    organizations = _areads(Reading.organizations)
    organizations_due = _areads(Reading.organizations_due)
    balance = _areads(Reading.balance)
    packs = _areads(Reading.packs)
    pack_counts = _areads(Reading.pack_counts)
    ledger = _areads(Reading.ledger)
    request = _areads(Reading.request)
    journal = _areads(Reading.journal)
    usage_totals = _areads(Reading.usage_totals)
    set_rate = _arates(RateBook.set_rate)
    import_rates = _arates(RateBook.import_rates)
    rates = _arates(RateBook.rates)
    ping = _areads(Reading.ping)


class HeldRequest:
    """A hold inside its block. `receipt` is set once it is settled; `is_kept` says that leaving the block must not
    release it."""

    def __init__(self, meter: Meter, organization_id: str, held: Held, terms: Mapping[str, Any]) -> None:
        self._meter = meter
        self._organization_id = organization_id
        # The key's id is known by the hold.
        self._terms = {name: term for name, term in terms.items() if name != "key_id"}
        self.hold = held.hold
        self.id = held.hold.id
        self.receipt: Receipt | None = None
        self.is_kept = False

    def extend(self, more_tokens: int | str, *, ttl: timedelta | None = None, key: str | None = None) -> Held:
        """Let the hold reserve more, as `Meter.extend_hold` does."""
        held = self._meter.extend_hold(self._organization_id, self.id, more_tokens, ttl=ttl, key=key, **self._terms)
        self.hold = held.hold
        return held

    def settle(self, amount: int | str | None = None, **usage: Any) -> Receipt:
        """Charge what was used, as `Meter.settle` does."""
        try:
            self.receipt = self._meter.settle(self._organization_id, self.id, amount, **usage)
        except StoreError:
            self.is_kept = True
            raise
        self.is_kept = True
        return self.receipt


class AsyncHeldRequest:
    """A hold inside its asynchronous block. `receipt` is set once it is settled; `is_kept` says that leaving the block must not
    release it."""

    def __init__(self, meter: AsyncMeter, organization_id: str, held: Held, terms: Mapping[str, Any]) -> None:
        self._meter = meter
        self._organization_id = organization_id
        # The key's id is known by the hold.
        self._terms = {name: term for name, term in terms.items() if name != "key_id"}
        self.hold = held.hold
        self.id = held.hold.id
        self.receipt: Receipt | None = None
        self.is_kept = False

    async def extend(self, more_tokens: int | str, *, ttl: timedelta | None = None, key: str | None = None) -> Held:
        """Let the hold reserve more, as `Meter.extend_hold` does."""
        held = await self._meter.extend_hold(self._organization_id, self.id, more_tokens, ttl=ttl, key=key, **self._terms)
        self.hold = held.hold
        return held

    async def settle(self, amount: int | str | None = None, **usage: Any) -> Receipt:
        """Charge what was used, as `Meter.settle` does."""
        try:
            self.receipt = await self._meter.settle(self._organization_id, self.id, amount, **usage)
        except (StoreError, asyncio.CancelledError):
            # Cancelled while it waited, it may be charged yet.
            self.is_kept = True
            raise
        self.is_kept = True
        return self.receipt
