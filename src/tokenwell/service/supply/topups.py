"""Top-ups: an organization asks for tokens, and a platform administrator grants them or says why not.

One request of an organization is open at a time. Approving writes down the terms first, then grants the pack under a key that
belongs to the request, then closes it: interrupted anywhere, it is completed by the next who approves or by `finish_approvals`,
and no request ever grants twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy
from sqlalchemy import Connection

from tokenwell.core.amounts import MAX_TOKENS, parse_amount
from tokenwell.core.happenings import Actor, Event, EventKind
from tokenwell.core.identifiers import check_label
from tokenwell.core.instants import to_utc
from tokenwell.core.packs import NOTE_LIMIT
from tokenwell.core.receipts import Granted
from tokenwell.errors import RequestInvalid, ScopeMissing, StoreError, TokenwellError, TopupClosed, TopupNotFound
from tokenwell.service.acts import record
from tokenwell.service.meter import Meter
from tokenwell.service.pages import PAGE_LIMIT, check_limit, page_of
from tokenwell.service.ports import Page, new_id
from tokenwell.store.access.creations import claim, claimed
from tokenwell.store.happenings import append_event
from tokenwell.store.reader import reading
from tokenwell.store.supply import topups as store
from tokenwell.store.supply.topups import WAITING, Terms, Topup, TopupStatus
from tokenwell.store.writer import transaction

__all__ = ["WAITING", "Approved", "Terms", "Topup", "TopupStatus", "Topups"]

_KEY = "topup:{}"
_TAKES_BACK = "topups:decide"
"""The scope with which requests of others are taken back."""


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was approved, and the pack it was granted."""

    topup: Topup
    granted: Granted


class Topups:
    """The requests for tokens in the meter's database."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._engine = meter.engine

    def ask(
        self, organization_id: str, amount: int | str | None = None, *, note: str = "", key: str | None = None, by: Actor
    ) -> Topup:
        """Ask for tokens; None asks for what the forecast suggests. While a request is open, asking again returns that one; the
        same key gives its request again whatever became of it.

        Raises RequestInvalid where no amount is given and there is none to suggest, IdempotencyConflict, OrganizationNotFound.
        """
        self._meter.organization(organization_id)
        note = _text(note, field="note")
        given = {"amount": amount, "note": note}
        known = self._known(organization_id, key, given) or self.open_one(organization_id)
        if known is not None:
            return known
        tokens = self._suggested(organization_id) if amount is None else parse_amount(amount, field="amount")
        topup = Topup(
            id=new_id("top"),
            organization_id=organization_id,
            status=TopupStatus.OPEN,
            amount_tokens=tokens,
            note=note,
            asked_at=self._meter.clock(),
            asked_by=by,
        )
        try:
            with transaction(self._engine, organization_id) as connection:
                store.add_topup(connection, topup)
                if key is not None:
                    claim(connection, organization_id, key, topup.id, given, topup.asked_at)
                self._tell(connection, topup, EventKind.TOPUP_REQUESTED, at=topup.asked_at, note=note, by=by.name)
                self._note(connection, topup, "topup.ask", by=by, at=topup.asked_at, after={"amount_tokens": tokens, "note": note})
        except sqlalchemy.exc.IntegrityError:
            waiting = self.open_one(organization_id)
            if waiting is None:
                raise
            return waiting
        return topup

    def _known(self, organization_id: str, key: str | None, given: dict[str, Any]) -> Topup | None:
        """Return the request that was made with a key, or None. Raises IdempotencyConflict."""
        if key is None:
            return None
        with reading(self._engine, organization_id) as connection:
            topup_id = claimed(connection, organization_id, key, given)
        return None if topup_id is None else self.get(organization_id, topup_id)

    def suggestion(self, organization_id: str) -> int | None:
        """Return how many tokens a request is prefilled with: those for 30 days; None where that cannot be told."""
        forecast = self._meter.forecast(organization_id)
        suggested = 0 if forecast is None else forecast.suggested_tokens
        return min(suggested, MAX_TOKENS) or None

    def get(self, organization_id: str, topup_id: str) -> Topup:
        """Return a request. Raises TopupNotFound, OrganizationNotFound."""
        self._meter.organization(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.find_topup(connection, organization_id, topup_id)
        if found is None:
            raise TopupNotFound(topup_id=topup_id)
        return found

    def open_one(self, organization_id: str) -> Topup | None:
        """Return the organization's open request, or None."""
        return next(iter(self.list(organization_id, statuses=WAITING, limit=1).items), None)

    def latest(self, organization_id: str) -> Topup | None:
        """Return the organization's latest request, or None."""
        return next(iter(self.list(organization_id, limit=1).items), None)

    def list(
        self,
        organization_id: str | None = None,
        *,
        statuses: tuple[TopupStatus, ...] = tuple(TopupStatus),
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Topup]:
        """Return requests of one organization, or of all, the latest first."""
        check_limit(limit)
        if cursor is not None:
            check_label(cursor, field="cursor")
        if organization_id is not None:
            self._meter.organization(organization_id)
        with reading(self._engine, organization_id) as connection:
            found = store.topups(connection, organization_id, statuses=statuses, before=cursor, limit=limit + 1)
        return page_of(found, limit)

    def approve(
        self,
        organization_id: str,
        topup_id: str,
        *,
        amount: int | str | None = None,
        expires_at: datetime | None = None,
        priority: int = 0,
        note: str | None = None,
        by: Actor,
    ) -> Approved:
        """Grant a pack for a request, which closes it; None grants the amount and keeps the note that were asked.

        Again with the same terms it gives the first answer, replayed. Raises TopupClosed for other terms and for a request that was
        declined or cancelled, and what granting raises: then the request is open as before.
        """
        topup = self.get(organization_id, topup_id)
        terms = Terms(
            total_tokens=topup.amount_tokens if amount is None else parse_amount(amount, field="amount"),
            expires_at=None if expires_at is None else to_utc(expires_at, field="expires_at"),
            priority=priority,
            note=topup.note if note is None else _text(note, field="note"),
        )
        if topup.status is TopupStatus.OPEN:
            with transaction(self._engine, organization_id) as connection:
                store.begin_approval(connection, organization_id, topup_id, terms=terms, by=by, at=self._meter.clock())
            topup = self.get(organization_id, topup_id)
        if topup.terms != terms or topup.status not in (TopupStatus.APPROVING, TopupStatus.APPROVED):
            raise TopupClosed(f"the request is {topup.status.value} already", topup_id=topup_id, status=topup.status.value)
        return self._finish(topup)

    def decline(self, organization_id: str, topup_id: str, *, reason: str, by: Actor) -> Topup:
        """Decline a request, saying why; again with the same reason changes nothing. Raises RequestInvalid, TopupClosed."""
        reason = _text(reason, field="reason").strip()
        if not reason:
            raise RequestInvalid("reason must not be empty", field="reason")
        return self._close(organization_id, topup_id, TopupStatus.DECLINED, reason=reason, by=by)

    def cancel(self, organization_id: str, topup_id: str, *, by: Actor, is_administrator: bool) -> Topup:
        """Take a request back; again changes nothing. It is for who asked, or an administrator of the organization or the platform.

        Raises TopupClosed, ScopeMissing for anybody else.
        """
        asked_by = self.get(organization_id, topup_id).asked_by
        if not is_administrator and (by.kind, by.id) != (asked_by.kind, asked_by.id):
            raise ScopeMissing("somebody else asked for this; only they or an administrator take it back", scope=_TAKES_BACK)
        return self._close(organization_id, topup_id, TopupStatus.CANCELLED, reason="", by=by)

    def finish_approvals(self) -> int:
        """Complete the approvals that something interrupted; returns how many there were."""
        with reading(self._engine) as connection:
            found = store.topups(connection, None, statuses=(TopupStatus.APPROVING,), before=None, limit=PAGE_LIMIT)
        for topup in found:
            self._finish(topup)
        return len(found)

    def _suggested(self, organization_id: str) -> int:
        suggested = self.suggestion(organization_id)
        if suggested is None:
            raise RequestInvalid("amount is needed: there is too little use to suggest one", field="amount")
        return suggested

    def _finish(self, topup: Topup) -> Approved:
        """Grant the pack of a request with terms, or replay that, and close the request."""
        terms, by = topup.terms, topup.decided_by
        assert terms is not None
        assert by is not None
        with self._undone_if_refused(topup):
            granted = self._meter.grant(
                topup.organization_id,
                terms.total_tokens,
                expires_at=terms.expires_at,
                priority=terms.priority,
                note=terms.note,
                key=_KEY.format(topup.id),
                by=by,
            )
        with transaction(self._engine, topup.organization_id) as connection:
            if store.finish_approval(connection, topup, granted.pack.id):
                now, amount = self._meter.clock(), granted.pack.total_tokens
                facts = {"pack_id": granted.pack.id, "pack_number": granted.pack.number}
                self._tell(connection, topup, EventKind.TOPUP_APPROVED, at=now, granted_tokens=amount, by=by.name, **facts)
                self._note(connection, topup, "topup.approve", by=by, at=now, after={"granted_tokens": amount, **facts})
        return Approved(topup=self.get(topup.organization_id, topup.id), granted=granted)

    @contextmanager
    def _undone_if_refused(self, topup: Topup) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise  # perhaps it was granted: the approval stays, to be completed
        except TokenwellError:
            with transaction(self._engine, topup.organization_id) as connection:
                store.undo_approval(connection, topup.organization_id, topup.id)
            raise

    def _close(self, organization_id: str, topup_id: str, status: TopupStatus, *, reason: str, by: Actor) -> Topup:
        is_declined, now = status is TopupStatus.DECLINED, self._meter.clock()
        topup = self.get(organization_id, topup_id)
        with transaction(self._engine, organization_id) as connection:
            is_news = store.close(connection, organization_id, topup_id, status=status, reason=reason, by=by, at=now)
            if is_news and is_declined:
                self._tell(connection, topup, EventKind.TOPUP_DECLINED, at=now, reason=reason, by=by.name)
            if is_news:
                after = {"reason": reason} if is_declined else {}
                self._note(connection, topup, "topup.decline" if is_declined else "topup.cancel", by=by, at=now, after=after)
        closed = self.get(organization_id, topup_id)
        if not is_news and (closed.status, closed.reason) != (status, reason):
            raise TopupClosed(f"the request is {closed.status.value} already", topup_id=topup_id, status=closed.status.value)
        return closed

    @staticmethod
    def _tell(connection: Connection, topup: Topup, kind: EventKind, *, at: datetime, **facts: Any) -> None:
        detail = {"topup_id": topup.id, "amount_tokens": topup.amount_tokens, **facts}
        event = Event(organization_id=topup.organization_id, at=at, kind=kind, detail=_json(detail))
        append_event(connection, new_id("evt"), event)

    @staticmethod
    def _note(connection: Connection, topup: Topup, action: str, *, by: Actor, at: datetime, after: dict[str, Any]) -> None:
        owner = topup.organization_id
        record(connection, by=by, at=at, organization_id=owner, action=action, subject=topup.id, after=after)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(text: str, *, field: str) -> str:
    return check_label(text, field=field, limit=NOTE_LIMIT) or ""
