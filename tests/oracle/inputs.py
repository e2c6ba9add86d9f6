"""What is said to a command, and what is wrong with it."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.oracle.shapes import NEVER
from tokenwell.errors import AmountInvalid, RequestInvalid, ThresholdsInvalid, TimestampNaive

MOST = 10**16
"""The largest amount and the largest balance."""

Split = tuple[int, int] | None
"""Prompt and completion tokens, or that they were not told."""

RATES = {None: (1_000_000, 1_000_000), "dear": (1_500_000, 2_250_000), "cheap": (300_000, 700_000)}
"""What a prompt token and a completion token of each model cost, in millionths."""


def whole(amount: object, *, least: int) -> int:
    """Return an amount that is a whole number within bounds."""
    if type(amount) is not int or not least <= amount <= MOST:
        raise AmountInvalid
    return amount


def split_of(prompt_tokens: object, completion_tokens: object) -> Split:
    """Return the two columns, None if neither was told."""
    if prompt_tokens is None and completion_tokens is None:
        return None
    return whole(prompt_tokens, least=0), whole(completion_tokens, least=0)


def price(split: Split, model: str | None) -> int:
    """Return what a request costs: computed once, rounded up once."""
    if split is None:
        raise RequestInvalid
    millionths = sum(tokens * rate for tokens, rate in zip(split, RATES[model], strict=True))
    tokens = 0
    while tokens * 1_000_000 < millionths:
        tokens += 1
    return tokens


def check_instant(at: datetime | None) -> datetime:
    """Return an instant that has a time zone; None is never."""
    if at is None:
        return NEVER
    if at.tzinfo is None:
        raise TimestampNaive
    return at


def check_ttl(ttl: timedelta) -> None:
    """Refuse a time limit that is not positive or longer than a day."""
    if not timedelta(0) < ttl <= timedelta(days=1):
        raise RequestInvalid


def check_thresholds(warning: int, reserve: int) -> tuple[int, int]:
    """Return thresholds that stand in their order."""
    if whole(reserve, least=0) > whole(warning, least=0):
        raise ThresholdsInvalid
    return warning, reserve
