"""Bodies and shapes of what keeps an organization in tokens: forecasts, top-up requests, schedules."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from tokenwell.client.bodies import Amount, Body
from tokenwell.client.shapes import Pack, Shape, State

TopupStatus = Literal["open", "approving", "approved", "declined", "cancelled"]


class Forfeit(Shape, frozen=True, kw_only=True):
    """What a pack will have left when it expires."""

    pack_id: str
    pack_number: int
    at: datetime
    tokens: int


class ForecastPoint(Shape, frozen=True, kw_only=True):
    """The balance as it is expected at an instant."""

    at: datetime
    balance_tokens: int


class Outlook(Shape, frozen=True, kw_only=True):
    """What comes at one pace of use. An instant is null where it lies more than a year away, and that of the
    forecast where it is past."""

    running_low_at: datetime | None
    ai_stops_at: datetime | None
    runway_seconds: int | None
    forfeits: tuple[Forfeit, ...]


class Forecast(Shape, frozen=True, kw_only=True):
    """What comes if use goes on as it was: `early` at the fastest likely pace, `late` at the slowest. `is_known` is false, and all
    else null or empty, with less than a day of use. `points` are the expected balance, for a picture."""

    organization_id: str
    is_known: bool
    as_of: datetime | None = None
    basis: Literal["weekly_pattern", "mean"] | None = None
    observed_hours: int | None = None
    tokens_per_day: int | None = None
    suggested_tokens: int | None = None
    early: Outlook | None = None
    expected: Outlook | None = None
    late: Outlook | None = None
    points: tuple[ForecastPoint, ...] = ()


class NewTopup(Body, frozen=True, kw_only=True):
    """Tokens to ask for; without an amount, those the forecast suggests."""

    amount: Amount | None = None
    note: str = ""


class Emergency(Body, frozen=True, kw_only=True):
    """Emergency tokens to take."""

    amount: Amount
    note: str = ""


class EmergencyTaken(Shape, frozen=True, kw_only=True):
    """The pack of emergency tokens; the next grant repays `advanced_tokens`."""

    pack: Pack
    advanced_tokens: int
    balance_tokens: int
    state: State
    at: datetime


class TopupApproval(Body, frozen=True, kw_only=True):
    """The pack to grant; null keeps what was asked for."""

    amount: Amount | None = None
    expires_at: datetime | None = None
    priority: int = 0
    note: str | None = None


class TopupDecline(Body, frozen=True, kw_only=True):
    """Why a request is declined; the organization reads it."""

    reason: str


class Topup(Shape, frozen=True, kw_only=True):
    """A request for tokens. `pack_id` is what it was approved with, `reason` why it was declined."""

    id: str
    organization_id: str
    status: TopupStatus
    amount_tokens: int
    note: str
    asked_at: datetime
    asked_by: str
    decided_at: datetime | None
    decided_by: str | None
    reason: str
    pack_id: str | None


class TopupApproved(Shape, frozen=True, kw_only=True):
    """A request that was approved, its pack, and the balance after it was granted."""

    topup: Topup
    pack: Pack
    balance_tokens: int


class NewSchedule(Body, frozen=True, kw_only=True):
    """A pack to grant again and again: every so many days, weeks or months from a day on, at a time of day in a zone."""

    amount: Amount
    unit: Literal["day", "week", "month"]
    first_day: date
    every: Annotated[int, msgspec.Meta(ge=1, le=366)] = 1
    last_day: date | None = None
    at: Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["09:00"])] = "00:00"
    zone: str = "UTC"
    valid_days: Annotated[int, msgspec.Meta(ge=1, le=36_600)] | None = None
    priority: int = 0
    note: str = ""


class ScheduleChanges(Body, frozen=True, kw_only=True):
    """What the occurrences to come grant, and until when. What is left out stays."""

    amount: Amount | UnsetType = UNSET
    last_day: date | UnsetType | None = UNSET
    valid_days: Annotated[int, msgspec.Meta(ge=1, le=36_600)] | UnsetType | None = UNSET
    priority: int | UnsetType = UNSET
    note: str | UnsetType = UNSET


class Schedule(Shape, frozen=True, kw_only=True):
    """A pack that is granted again and again; `next_at` null says that it is over."""

    id: str
    organization_id: str
    amount_tokens: int
    unit: Literal["day", "week", "month"]
    every: int
    first_day: date
    last_day: date | None
    at: str
    zone: str
    valid_days: int | None
    priority: int
    note: str
    created_at: datetime
    next_at: datetime | None
    granted: int
    skipped: int
    paused_at: datetime | None
    ended_at: datetime | None


class NewCodes(Body, frozen=True, kw_only=True):
    """Redemption codes to make: each is worth a pack, valid for `valid_days` from when it is redeemed, null for ever."""

    amount: Amount
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    valid_days: Annotated[int, msgspec.Meta(ge=1, le=36_600)] | None = None
    expires_at: datetime | None = None
    priority: int = 0
    note: str = ""


class Redemption(Body, frozen=True, kw_only=True):
    """A code as it was typed."""

    code: str


class CodeBatch(Shape, frozen=True, kw_only=True):
    """A batch of redemption codes, and how many of them are redeemed."""

    id: str
    amount_tokens: int
    codes: int
    redeemed: int
    valid_days: int | None
    priority: int
    note: str
    expires_at: datetime | None
    created_at: datetime
    revoked_at: datetime | None


class CodesMade(Shape, frozen=True, kw_only=True):
    """A new batch and its codes, which are told only here."""

    batch: CodeBatch
    codes: tuple[str, ...]

    def told_again(self) -> CodesMade:
        """Return it without the codes."""
        return CodesMade(batch=self.batch, codes=())
