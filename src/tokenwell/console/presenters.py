"""Presenters: what the AI Resource Packs page shows, computed from the meter's answers. Pure; the templates only write it down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

import msgspec

from tokenwell.console.formats import Distance, distance
from tokenwell.console.gauge import Gauge, gauge_of, percent
from tokenwell.console.listing import Listing
from tokenwell.core.health import State, Thresholds
from tokenwell.core.packs import Pack, PackStatus
from tokenwell.core.receipts import Balance
from tokenwell.service.packs import Outstanding
from tokenwell.service.shapes import PackLine, UsageTotals


class Banner(StrEnum):
    """What the top of the page has to say; nothing when all is normal."""

    NONE = "none"
    RUNNING_LOW = "running_low"
    STOPPED = "stopped"
    USED_UP = "used_up"
    NOT_STARTED = "not_started"


class BalanceView(msgspec.Struct, frozen=True, kw_only=True):
    """The balance with its state. `size` says how much room the number needs: normal, long or huge."""

    balance_tokens: int
    total_tokens: int
    held_tokens: int
    available_tokens: int
    overage_tokens: int
    warning_tokens: int
    reserve_tokens: int
    active_packs: int
    state: State
    banner: Banner
    size: str
    gauge: Gauge | None


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was used over some days of the viewer's, today included."""

    days: int
    used_tokens: int
    refunded_tokens: int
    overage_tokens: int
    requests: int


class NextExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """When the next active packs expire, and what they hold now."""

    at: datetime
    tokens: int
    distance: Distance


class PackView(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the packs table. `share` is what remains, in percent of the total, rounded down; None where it is under 1."""

    label: str
    status: PackStatus
    remaining_tokens: int
    total_tokens: int
    share: int | None
    width: str
    expires_at: datetime | None
    distance: Distance | None
    granted_at: datetime
    note: str
    is_in_use: bool


class StatusTab(msgspec.Struct, frozen=True, kw_only=True):
    """One filter of the packs table; `status` None shows all."""

    status: PackStatus | None
    count: int
    is_current: bool


class PacksView(msgspec.Struct, frozen=True, kw_only=True):
    """The packs table. `is_in_burn_order` where its active packs stand in the order in which they are used; else newest first."""

    tabs: tuple[StatusTab, ...]
    rows: tuple[PackView, ...]
    is_in_burn_order: bool


def pack_label(number: int) -> str:
    """Return how a pack is called on screen: `PK-7`."""
    return f"PK-{number}"


def balance_view(balance: Balance, largest: Sequence[Pack], pack_count: int) -> BalanceView:
    """Return the balance as it is shown; `largest` are the largest packs it sums, in burn-down order, of the `pack_count` ever
    granted."""
    thresholds = Thresholds(balance.warning_tokens, balance.reserve_tokens)
    digits = len(f"{balance.balance_tokens:,}")
    return BalanceView(
        balance_tokens=balance.balance_tokens,
        total_tokens=balance.active_total_tokens,
        held_tokens=balance.held_tokens,
        available_tokens=balance.available_tokens,
        overage_tokens=balance.overage_tokens,
        warning_tokens=balance.warning_tokens,
        reserve_tokens=balance.reserve_tokens,
        active_packs=balance.active_packs,
        state=balance.state,
        banner=_banner_of(balance, pack_count),
        size="normal" if digits <= 11 else "long" if digits <= 15 else "huge",
        gauge=gauge_of(largest, balance.balance_tokens, balance.active_total_tokens, thresholds) if balance.active_packs else None,
    )


def _banner_of(balance: Balance, pack_count: int) -> Banner:
    if balance.state is State.NORMAL:
        return Banner.NONE
    if balance.state is State.RUNNING_LOW:
        return Banner.RUNNING_LOW
    if pack_count == 0:
        return Banner.NOT_STARTED
    return Banner.STOPPED if balance.balance_tokens < balance.reserve_tokens else Banner.USED_UP


def usage_row(days: int, totals: Sequence[UsageTotals]) -> UsageRow:
    """Return what was used over `days`, whose totals are given one by one: every debit, whether or not it was refunded later."""
    return UsageRow(
        days=days,
        used_tokens=sum(day.debited_tokens for day in totals),
        refunded_tokens=sum(day.refunded_tokens for day in totals),
        overage_tokens=sum(day.overage_tokens for day in totals),
        requests=sum(day.requests for day in totals),
    )


def next_expiry(outstanding: Outstanding, now: datetime) -> NextExpiry | None:
    """Return the soonest expiry among the active packs; None if none of them expires."""
    if outstanding.expires_at is None:
        return None
    return NextExpiry(at=outstanding.expires_at, tokens=outstanding.expiring_tokens, distance=distance(outstanding.expires_at, now))


def packs_view(listing: Listing, now: datetime) -> PacksView:
    """Return the table of a listing."""
    counts, selected = listing.counts, listing.status
    everything = StatusTab(status=None, count=listing.total, is_current=selected is None)
    tabs = (StatusTab(status=status, count=counts.get(status, 0), is_current=status is selected) for status in PackStatus)
    return PacksView(
        tabs=(everything, *tabs),
        rows=tuple(pack_view(line, listing.outstanding.in_use, now) for line in listing.lines),
        is_in_burn_order=listing.is_in_burn_order,
    )


def pack_view(line: PackLine, in_use: Pack | None, now: datetime) -> PackView:
    """Return a pack as it is shown; `in_use` is the one that is drawn from now."""
    pack = line.pack
    share = Fraction(pack.remaining_tokens, pack.total_tokens)
    says_distance = pack.expires_at is not None and line.status in (PackStatus.ACTIVE, PackStatus.EXPIRED)
    least_drawn = Fraction(1, 100) if pack.remaining_tokens else Fraction(0)  # what is left is never drawn as nothing
    return PackView(
        label=pack_label(pack.number),
        status=line.status,
        remaining_tokens=pack.remaining_tokens,
        total_tokens=pack.total_tokens,
        share=None if 0 < share < Fraction(1, 100) else int(share * 100),
        width=percent(max(share, least_drawn)),
        expires_at=pack.expires_at,
        distance=distance(pack.expires_at, now) if pack.expires_at is not None and says_distance else None,
        granted_at=pack.granted_at,
        note=pack.note,
        is_in_use=in_use is not None and pack.id == in_use.id,
    )
