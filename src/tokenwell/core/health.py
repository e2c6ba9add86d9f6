"""Health of a balance: its state, and whether a request may be admitted. The edges are strict: equal is never the worse state."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.errors import AiStopped, BalanceHeld, BalanceRefused, ThresholdsInvalid


class State(StrEnum):
    """What an organization sees above its balance."""

    NORMAL = "normal"
    RUNNING_LOW = "running_low"
    AI_STOPPED = "ai_stopped"


class Thresholds(msgspec.Struct, frozen=True):
    """The two lines between Normal, Running low and AI stopped, in tokens: warning ≥ reserve ≥ 0."""

    warning_tokens: int
    reserve_tokens: int

    def __post_init__(self) -> None:
        if not 0 <= self.reserve_tokens <= self.warning_tokens <= MAX_TOKENS:
            raise ThresholdsInvalid(warning_tokens=self.warning_tokens, reserve_tokens=self.reserve_tokens)


def state_of(balance_tokens: int, thresholds: Thresholds) -> State:
    """Return the state of a balance: stopped below the reserve or at zero, low below the warning threshold."""
    if balance_tokens < thresholds.reserve_tokens or balance_tokens == 0:
        return State.AI_STOPPED
    if balance_tokens < thresholds.warning_tokens:
        return State.RUNNING_LOW
    return State.NORMAL


class Lane(msgspec.Struct, frozen=True):
    """A line of its own, at or above the minimum reserve, below which the requests of a lane leave nothing available. A lane with a
    higher line stops first. The name is told with a refusal."""

    reserve_tokens: int
    name: str | None = None


def refusal_of(
    balance_tokens: int, held_tokens: int, thresholds: Thresholds, estimate_tokens: int, lane: Lane | None = None
) -> BalanceRefused | None:
    """Return why a request of `estimate_tokens` is not admitted, or None if it is."""
    available = balance_tokens - held_tokens
    if state_of(balance_tokens, thresholds) is State.AI_STOPPED:
        return AiStopped(balance_tokens=balance_tokens, reserve_tokens=thresholds.reserve_tokens)
    if available < thresholds.reserve_tokens or estimate_tokens > available:
        return BalanceHeld(
            balance_tokens=balance_tokens, available_tokens=available, held_tokens=held_tokens, estimate_tokens=estimate_tokens
        )
    if lane is not None and available - estimate_tokens < lane.reserve_tokens:
        return BalanceHeld(
            f"what is available is kept for others than the lane {lane.name or 'of this request'}",
            balance_tokens=balance_tokens,
            available_tokens=available,
            held_tokens=held_tokens,
            estimate_tokens=estimate_tokens,
            lane=lane.name,
            reserve_tokens=lane.reserve_tokens,
        )
    return None
