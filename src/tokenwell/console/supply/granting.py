"""Granting: a pack for an organization, with what it will change shown before it is given."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tokenwell.console.acting import Done, Sent, acting, form_of
from tokenwell.console.frame import frame_of, organization_of, path_of
from tokenwell.console.visits import Visit
from tokenwell.core.health import State, Thresholds, state_of
from tokenwell.core.receipts import Balance
from tokenwell.service.access.scopes import Scope

SIZES = (1_000_000, 5_000_000, 10_000_000, 50_000_000)
"""The amounts offered."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What an act makes of a balance. `days` is how long it lasts at the rate of recent days, rounded down; None where nothing is
    used. `repaid_tokens` is overage that is repaid first."""

    before_tokens: int
    after_tokens: int
    state_before: State
    state_after: State
    repaid_tokens: int = 0
    tokens_per_day: int = 0
    days: int | None = None


def thresholds_of(balance: Balance) -> Thresholds:
    """Return the lines that a balance is judged by."""
    return Thresholds(balance.warning_tokens, balance.reserve_tokens)


def change_of(balance: Balance, difference_tokens: int, *, tokens_per_day: int = 0, repaid_tokens: int = 0) -> Change:
    """Return what a difference makes of a balance, its state and its run time."""
    thresholds = thresholds_of(balance)
    after = max(0, balance.balance_tokens + difference_tokens)
    return Change(
        before_tokens=balance.balance_tokens,
        after_tokens=after,
        state_before=balance.state,
        state_after=state_of(after, thresholds),
        repaid_tokens=repaid_tokens,
        tokens_per_day=tokens_per_day,
        days=max(0, after - balance.reserve_tokens) // tokens_per_day if tokens_per_day else None,
    )


def tokens_per_day(visit: Visit, balance: Balance) -> int:
    """Return what an organization used a day in recent days; 0 with less than a day of use to learn from."""
    told = visit.console.forecasts.of(balance)
    return told.tokens_per_day if told is not None else 0


def grant(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what a pack would change, or grant it."""
    organization = organization_of(visit, Scope.PACKS_WRITE)
    meter = visit.console.meter
    balance = meter.balance(organization.id)
    formats = visit.formats(balance.as_of)
    if "amount" not in sent.fields:
        sent = Sent(fields={"amount": "5,000,000", "expires": "90", **sent.fields}, is_final=False, problems={})
    amount, note, expires_at = sent.amount("amount"), sent.note(), sent.expiry(formats)
    if sent.is_final and not sent.problems and amount is not None:
        granted = meter.grant(organization.id, amount, expires_at=expires_at, note=note, key=sent.key, by=visit.principal.actor)
        # By the answer alone, so that a grant sent twice says the same.
        before = state_of(granted.balance_tokens - (amount - granted.repaid_tokens), thresholds_of(balance))
        said = "granted_resumed" if before is State.AI_STOPPED and granted.state is not State.AI_STOPPED else "granted"
        return Done(path=path_of(organization.id), said=said, about=formats.tokens(amount))
    return (
        frame_of(visit, organization)
        | form_of(sent, formats)
        | {
            "f": formats,
            "sizes": SIZES,
            "amount": amount,
            "expiry": _expiry_shown(sent, expires_at),
            "change": _change(visit, balance, amount),
        }
    )


def _expiry_shown(sent: Sent, expires_at: datetime | None) -> datetime | None:
    return None if "date" in sent.problems else expires_at


def _change(visit: Visit, balance: Balance, amount: int | None) -> Change | None:
    if amount is None:
        return None
    repaid = min(balance.overage_tokens, amount)
    per_day = tokens_per_day(visit, balance)
    return change_of(balance, amount - repaid, tokens_per_day=per_day, repaid_tokens=repaid)


ROUTES = acting("/o/{organization}/grant", "grant", grant)
