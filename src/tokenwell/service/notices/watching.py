"""Watching: what nobody commands and yet is worth telling. Packs that will expire unused, unusual use, books that do not add up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from tokenwell.core.alerts import STAGES, stage_of
from tokenwell.core.happenings import Event, EventKind
from tokenwell.core.instants import to_micros
from tokenwell.core.packs import Pack
from tokenwell.core.unusual import LEAST_TOKENS, Day, unusual
from tokenwell.errors import InvariantBroken, TokenwellError
from tokenwell.service.jobs import Turn
from tokenwell.service.meter import Meter
from tokenwell.service.ports import new_id
from tokenwell.store.happenings import append_event
from tokenwell.store.notices import watching as store
from tokenwell.store.notices.outbox import tell_once, was_told
from tokenwell.store.reader import reading
from tokenwell.store.writer import transaction

PAST_DAYS = 28
VERIFIED_EVERY = timedelta(days=1)
VERIFYING = timedelta(seconds=30)
"""For how long books are verified in one go."""

_PAGE = 500

log = structlog.get_logger("tokenwell.watching")


class Watching:
    """Looks over all organizations of a meter. Any number of processes may do so at once: each thing is told once."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._engine = meter.engine

    def expiring(self, turn: Turn) -> int:
        """Tell of packs that will expire unused: 14, 3 and 1 days before, with what the forecast says will be left. What will be
        used up by then is not told. Returns how many were told."""
        now, beyond, count = turn.now, ("", ""), 0
        forfeits = _Forfeits(self._meter)
        while not turn.is_over:
            with reading(self._engine) as connection:
                until = now + timedelta(days=max(STAGES))
                packs = store.packs_expiring(connection, after=now, until=until, beyond=beyond, limit=_PAGE)
            for pack in packs:
                beyond = (pack.organization_id, pack.id)
                count += not turn.is_over and self._tell_expiring(pack, forfeits, now)
            if len(packs) < _PAGE:
                break
        return count

    def _tell_expiring(self, pack: Pack, forfeits: _Forfeits, now: datetime) -> bool:
        assert pack.expires_at is not None
        days = stage_of(pack.granted_at, pack.expires_at, now)
        if days is None:
            return False
        subject = f"expiring/{pack.id}/{to_micros(pack.expires_at)}/{days}"
        with reading(self._engine) as connection:
            if was_told(connection, pack.organization_id, subject):
                return False
        forfeit = forfeits.of(pack)
        if not forfeit:
            return False
        detail = {
            "pack_id": pack.id,
            "pack_number": pack.number,
            "total_tokens": pack.total_tokens,
            "remaining_tokens": pack.remaining_tokens,
            "expires_at": pack.expires_at,
            "days": days,
            "forfeit_tokens": forfeit,
        }
        return self._tell(pack.organization_id, subject, EventKind.PACK_EXPIRING, now, detail)

    def unusual(self, turn: Turn) -> int:
        """Tell of organizations that have used far more today (in UTC) than is usual by this time of the day, once a day. Returns
        how many were told."""
        now, count = turn.now, 0
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        with reading(self._engine) as connection:
            using = store.organizations_using(connection, midnight, LEAST_TOKENS)
        for organization_id in using:
            if turn.is_over:
                break
            with reading(self._engine) as connection:
                buckets = store.used_by_bucket(connection, organization_id, midnight - timedelta(days=PAST_DAYS))
            today, past = _days(buckets, midnight, now)
            usual = unusual(today, past)
            if usual is not None:
                detail = {"used_tokens": today.tokens, "usual_tokens": usual, "date": midnight.date().isoformat()}
                subject = f"unusual/{midnight.date().isoformat()}"
                count += self._tell(organization_id, subject, EventKind.USAGE_UNUSUAL, now, detail)
        return count

    def verify(self, turn: Turn) -> int:
        """Recompute the books of organizations from their journals for a while, those first that were verified longest ago, each
        once a day. Returns how many were verified. Raises InvariantBroken where books do not add up."""
        began, count = turn.now, 0
        broken: list[str] = []
        while not turn.is_over and turn.now - began < VERIFYING:
            with reading(self._engine) as connection:
                organization_id = store.least_verified(connection, began - VERIFIED_EVERY)
            if organization_id is None:
                break
            try:
                found = next(iter(self._meter.verify(organization_id, progress=_unless_over(turn))))
            except _Over:
                break
            if found.problem_count:
                broken.append(organization_id)
                log.error("books_do_not_add_up", organization_id=organization_id, problems=found.problems[:5])
            with transaction(self._engine) as connection:
                store.note_verified(connection, organization_id, turn.now)
            count += 1
        if broken:
            raise InvariantBroken(f"the books of {', '.join(broken)} do not add up: tokenwell verify says where")
        return count

    def _tell(self, organization_id: str, subject: str, kind: EventKind, at: datetime, detail: dict[str, Any]) -> bool:
        with transaction(self._engine) as connection:
            is_news = tell_once(connection, organization_id, subject, at)
            if is_news:
                text = msgspec.json.encode(detail).decode()
                append_event(connection, new_id("evt"), Event(organization_id=organization_id, at=at, kind=kind, detail=text))
        return is_news


class _Forfeits:
    """What packs are expected to have left when they expire, organization by organization."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._organization_id = ""
        self._known: dict[str, int] | None = None

    def of(self, pack: Pack) -> int:
        """Return what is expected to be left; all that remains where nothing can be foreseen."""
        if pack.organization_id != self._organization_id:
            self._organization_id = pack.organization_id
            try:
                forecast = self._meter.forecast(pack.organization_id)
            except TokenwellError:
                forecast = None
            found = None if forecast is None else forecast.expected.forfeits
            self._known = None if found is None else {each.pack_id: each.tokens for each in found}
        return pack.remaining_tokens if self._known is None else self._known.get(pack.id, 0)


class _Over(Exception):
    """The turn is over in the middle of a journal."""


def _unless_over(turn: Turn) -> Callable[[str, int], None]:
    def progress(organization_id: str, lines: int) -> None:
        if turn.is_over:
            raise _Over

    return progress


def _days(buckets: list[tuple[datetime, int]], midnight: datetime, now: datetime) -> tuple[Day, list[Day]]:
    """Return today, and the days before since the first use, each until the time of day that it is now."""
    sums: dict[int, int] = {}
    for at, tokens in buckets:
        ago = -((at - midnight) // timedelta(days=1))
        if at - (midnight - timedelta(days=ago)) < now - midnight:
            sums[ago] = sums.get(ago, 0) + tokens
    first = max((-((at - midnight) // timedelta(days=1)) for at, _ in buckets), default=0)
    days = [Day((midnight - timedelta(days=ago)).weekday(), sums.get(ago, 0)) for ago in range(first)]
    return (days or [Day(midnight.weekday(), 0)])[0], days[1:]
