"""Announcements: which events a change is worth. Each crossing is told once, and again only after a recovery."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenwell.core.happenings import EventKind
from tokenwell.core.health import State, Thresholds
from tokenwell.core.packs import Pack

RECOVERED_PERCENT = 105
"""A balance that fell below a line has recovered when it reaches so much of it: one that dithers around the line tells once."""

_WORSE = {State.NORMAL: 0, State.RUNNING_LOW: 1, State.AI_STOPPED: 2}
_encoder = msgspec.json.Encoder()


def state_to_tell(told: State, state: State, balance_tokens: int, thresholds: Thresholds) -> State:
    """Return the state that people are to believe in, who were told `told` last: a worse one at once, a better one only when the
    balance has recovered from the line. AI stopped has its line at the reserve, at least 1, since a balance of 0 stops it."""
    if _WORSE[state] >= _WORSE[told]:
        return state
    if told is State.AI_STOPPED and not _has_recovered(balance_tokens, max(1, thresholds.reserve_tokens)):
        return told
    return State.NORMAL if _has_recovered(balance_tokens, thresholds.warning_tokens) else State.RUNNING_LOW


def _has_recovered(balance_tokens: int, line_tokens: int) -> bool:
    return balance_tokens * 100 >= line_tokens * RECOVERED_PERCENT


def kinds_of(before: State, state: State) -> list[EventKind]:
    """Return the events that tell one state after another: the crossing, and what it means for the AI services."""
    if state is State.AI_STOPPED:
        return [EventKind.STATE_AI_STOPPED, EventKind.SERVICE_RESTRICTED]
    if before is State.AI_STOPPED:
        return [EventKind.STATE_RECOVERED, EventKind.SERVICE_RESTORED]
    return [EventKind.STATE_RUNNING_LOW if state is State.RUNNING_LOW else EventKind.STATE_RECOVERED]


def pack_detail(pack: Pack) -> dict[str, Any]:
    """Return what every event about a pack says of it."""
    return {
        "pack_id": pack.id,
        "pack_number": pack.number,
        "total_tokens": pack.total_tokens,
        "remaining_tokens": pack.remaining_tokens,
        "expires_at": pack.expires_at,
    }


def event_detail(detail: dict[str, Any]) -> str:
    """Return the detail of an event as JSON text."""
    return _encoder.encode(detail).decode()
