"""Jobs: everything that Tokenwell does by itself, in one list, and the runner that does it.

A new job is a function and a line in `JOBS`; `make reference` writes it into the operating pages.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import msgspec
import structlog

from tokenwell.alerts.deliverer import CLAIM, Deliverer
from tokenwell.alerts.outbox import Outbox
from tokenwell.config import Settings
from tokenwell.observability import configure_logging
from tokenwell.service.jobs import LEASE, Job, Runner, Turn
from tokenwell.service.notices.watching import Watching
from tokenwell.service.ports import Clock, system_clock
from tokenwell.service.retention import delete_old
from tokenwell.service.suite import Suite
from tokenwell.wiring.alerts import open_deliverer, open_outbox
from tokenwell.wiring.opening import open_patiently, open_suite

SWEEP_LIMIT = 100
"""In how many organizations things are closed at a time."""

_log = structlog.get_logger("tokenwell.worker")


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What jobs work on."""

    suite: Suite
    settings: Settings
    outbox: Outbox
    deliverer: Deliverer
    watching: Watching


def _sweep(parts: Parts, turn: Turn) -> int:
    closed = swept = 0
    while not turn.is_over and (swept := parts.suite.meter.sweep(limit=SWEEP_LIMIT)):
        closed += swept
        if swept < SWEEP_LIMIT:
            break
    return closed


def _dispatch(parts: Parts, turn: Turn) -> int:
    return parts.outbox.dispatch(lambda: turn.is_over)


async def _deliver(parts: Parts, turn: Turn) -> int:
    return await parts.deliverer.work(turn)


def _index(parts: Parts, turn: Turn) -> int:
    return parts.suite.browsing.catch_up()


def _delete_old(parts: Parts, turn: Turn) -> int:
    days = parts.settings.events_kept_days
    return delete_old(parts.suite.meter.engine, turn, events_kept=timedelta(days=days) if days else None)


def _finish_topups(parts: Parts, turn: Turn) -> int:
    return parts.suite.topups.finish_approvals()


def _finish_redemptions(parts: Parts, turn: Turn) -> int:
    return parts.suite.codes.finish_redemptions()


def _finish_purchases(parts: Parts, turn: Turn) -> int:
    return parts.suite.purchases.finish_paid() + parts.suite.payments.ask(turn)


def _refresh_outlooks(parts: Parts, turn: Turn) -> int:
    return parts.suite.outlooks.refresh(turn)


def _run_schedules(parts: Parts, turn: Turn) -> int:
    return parts.suite.schedules.run_due()


JOBS: tuple[Job[Parts], ...] = (
    Job(
        name="sweep",
        every=timedelta(seconds=1),
        does="Closes what is due without any traffic: packs that expired, holds that lapsed. What that crosses is told at once.",
        work=_sweep,
    ),
    Job(
        name="events",
        every=timedelta(seconds=1),
        does="Turns each event into one delivery for every channel that wants it.",
        work=_dispatch,
    ),
    Job(
        name="deliveries",
        every=timedelta(seconds=1),
        does="Sends deliveries that are due, each channel by itself, and tries again those that failed.",
        work=_deliver,
        stays=True,
    ),
    Job(
        name="expiring packs",
        every=timedelta(minutes=10),
        does="Tells of packs that will expire unused, 14, 3 and 1 days before, with what the forecast says will be left.",
        work=lambda parts, turn: parts.watching.expiring(turn),
    ),
    Job(
        name="unusual use",
        every=timedelta(minutes=15),
        does="Tells, once a day, where far more was used today than is usual by this time of the day.",
        work=lambda parts, turn: parts.watching.unusual(turn),
    ),
    Job(
        name="verification",
        every=timedelta(minutes=15),
        does="Recomputes the books of organizations, rollups included, from their journals, each once a day.",
        work=lambda parts, turn: parts.watching.verify(turn),
    ),
    Job(
        name="session summaries",
        every=timedelta(seconds=20),
        does="Sums up sessions and the ledger's blocks, so that lists of them are quick.",
        work=_index,
    ),
    Job(
        name="outlooks",
        every=timedelta(minutes=1),
        does="Keeps the forecast of every organization, by which the platform's list is ordered: after a grant at once, where "
        "tokens are used every 15 minutes, else every 6 hours.",
        work=_refresh_outlooks,
    ),
    Job(
        name="schedules",
        every=timedelta(minutes=1),
        does="Grants the packs of recurring grants that are due. What was missed for up to 31 days is caught up.",
        work=_run_schedules,
    ),
    Job(
        name="top-ups",
        every=timedelta(minutes=1),
        does="Completes approvals of top-up requests that something interrupted before their pack was granted.",
        work=_finish_topups,
    ),
    Job(
        name="codes",
        every=timedelta(minutes=1),
        does="Completes redemptions of codes that something interrupted before their pack was granted.",
        work=_finish_redemptions,
    ),
    Job(
        name="purchases",
        every=timedelta(minutes=1),
        does="Grants the packs of purchases that were paid and that something interrupted, and asks Stripe about those it told "
        "nothing of for 5 minutes.",
        work=_finish_purchases,
    ),
    Job(
        name="retention",
        every=timedelta(hours=1),
        does="Deletes expired sessions, failed sign-ins of yesterday, and deliveries that were finished 90 days ago. "
        "Events too, where `TOKENWELL_EVENTS_KEPT_DAYS` says so. The journal, its idempotency keys and the audit log are kept.",
        work=_delete_old,
    ),
)
"""Every job, in the order in which they are shown."""


def open_runner(suite: Suite, settings: Settings, *, lease: timedelta = LEASE, claim: timedelta = CLAIM) -> Runner[Parts]:
    """Return what runs every job on the suite's database. `lease` and `claim` say for how long a turn and a delivery stay with a
    process that was killed."""
    parts = Parts(
        suite=suite,
        settings=settings,
        outbox=open_outbox(suite, settings),
        deliverer=open_deliverer(suite, settings, claim=claim),
        watching=Watching(suite.meter),
    )
    return Runner(suite.meter.engine, suite.meter.clock, parts, JOBS, lease=lease)


def work(settings: Settings, *, ready: Callable[[], None] = lambda: None, clock: Clock = system_clock) -> None:
    """Run jobs in this process until SIGINT or SIGTERM. Raises StoreError if the database cannot be opened."""
    with _opened(settings, clock) as suite:
        asyncio.run(_work(suite, settings, ready))


def work_once(settings: Settings, *, clock: Clock = system_clock) -> list[str]:
    """Run every job that is due and nobody's once; returns their names."""
    with _opened(settings, clock) as suite:
        return asyncio.run(open_runner(suite, settings).run_once())


@contextmanager
def _opened(settings: Settings, clock: Clock) -> Iterator[Suite]:
    configure_logging(level=settings.log_level, form=settings.log_format)
    with open_patiently(settings, clock) as meter:
        suite = open_suite(meter, settings)
        try:
            yield suite
        finally:
            suite.close()


async def _work(suite: Suite, settings: Settings, ready: Callable[[], None]) -> None:
    runner = open_runner(suite, settings)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        _log.info("worker_stopping")
        runner.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    _log.info("worker_started", settings=repr(settings))
    ready()
    await runner.run()
    _log.info("worker_stopped")
