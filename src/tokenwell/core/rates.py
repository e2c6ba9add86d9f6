"""Rates: how many tokens of a pack one token of each usage pool costs, dated and per model."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tokenwell.core.identifiers import check_label
from tokenwell.core.usage import Usage
from tokenwell.errors import AmountInvalid

MILLION = 1_000_000

ANY_MODEL = "*"
"""The name of the rate that stands for every model without one, where the platform says so."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What a token of each pool costs from `effective_at` on, in millionths of a pack's token; 1,000,000 is one to one."""

    model: str
    effective_at: datetime
    input_millionths: int = MILLION
    cache_read_millionths: int = MILLION
    cache_write_millionths: int = MILLION
    output_millionths: int = MILLION
    reasoning_millionths: int = MILLION

    def __post_init__(self) -> None:
        check_label(self.model, field="model")
        for millionths in self.pools():
            if type(millionths) is not int or not 0 <= millionths <= 10_000 * MILLION:
                raise AmountInvalid("a rate must be between 0 and 10,000,000,000 millionths", field="rate")

    def pools(self) -> tuple[int, int, int, int, int]:
        """Return the five rates in the order of Usage's pools."""
        return (
            self.input_millionths,
            self.cache_read_millionths,
            self.cache_write_millionths,
            self.output_millionths,
            self.reasoning_millionths,
        )


class RateCard(msgspec.Struct, frozen=True):
    """All rates ever set. The one in force for a model is the latest that is effective; a model without any costs one to one."""

    rates: tuple[Rate, ...] = ()

    def rate_for(self, model: str | None, now: datetime) -> Rate | None:
        """Return the rate in force at `now`, or None for one to one."""
        known = [rate for rate in self.rates if rate.model == model and rate.effective_at <= now]
        return max(known, key=lambda rate: rate.effective_at, default=None)


def charge_of(usage: Usage, rate: Rate | None) -> int:
    """Return the tokens to charge: the sum over the pools, rounded up once to whole tokens."""
    if rate is None:
        return usage.prompt_tokens + usage.completion_tokens
    counts = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens, usage.reasoning_tokens)
    return -(-sum(count * millionths for count, millionths in zip(counts, rate.pools(), strict=True)) // MILLION)
