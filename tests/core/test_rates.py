"""Rates: dated, per model, and rounded up once for a whole request."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.properties import steady
from tests.doubles import START
from tokenwell.core.rates import MILLION, Rate, RateCard, charge_of
from tokenwell.core.usage import Usage
from tokenwell.errors import AmountInvalid, RequestInvalid

POOLS = ("input", "cache_read", "cache_write", "output", "reasoning")
counts = st.tuples(*[st.integers(0, 10**9)] * 5)
prices = st.tuples(*[st.integers(0, 10_000 * MILLION)] * 5)


def usage_of(tokens: tuple[int, ...]) -> Usage:
    return Usage(**{f"{pool}_tokens": count for pool, count in zip(POOLS, tokens, strict=True)})


def rate_of(millionths: tuple[int, ...], **fields: Any) -> Rate:
    pools = {f"{pool}_millionths": price for pool, price in zip(POOLS, millionths, strict=True)}
    return Rate(**{"model": "m", "effective_at": START} | fields | pools)


@steady
@given(counts, prices)
def test_a_charge_is_the_exact_sum_rounded_up_once(tokens: tuple[int, ...], millionths: tuple[int, ...]) -> None:
    exact = sum(Fraction(count * price, MILLION) for count, price in zip(tokens, millionths, strict=True))
    assert charge_of(usage_of(tokens), rate_of(millionths)) == ceil(exact)


@steady
@given(counts)
def test_without_a_rate_every_token_costs_one(tokens: tuple[int, ...]) -> None:
    assert charge_of(usage_of(tokens), None) == charge_of(usage_of(tokens), rate_of((MILLION,) * 5)) == sum(tokens)


def test_it_is_the_sum_that_is_rounded_not_its_parts() -> None:
    third = rate_of((333_333,) * 5)
    assert charge_of(usage_of((1, 0, 0, 0, 0)), third) == 1
    assert charge_of(usage_of((1, 1, 1, 0, 0)), third) == 1
    assert charge_of(usage_of((1, 1, 1, 1, 0)), third) == 2
    assert charge_of(usage_of((0, 0, 0, 0, 0)), third) == 0


def test_the_latest_rate_that_is_effective_is_in_force() -> None:
    days = [START + timedelta(days=day) for day in range(4)]
    first, second, third = (rate_of((price,) * 5, effective_at=days[day]) for price, day in ((1, 1), (2, 2), (3, 3)))
    other = rate_of((9,) * 5, model="other", effective_at=days[0])
    card = RateCard((third, first, other, second))
    microsecond = timedelta(microseconds=1)
    assert [card.rate_for("m", now) for now in (days[0], days[1] - microsecond, days[1], days[2], days[3])] == [
        None, None, first, second, third,
    ]  # fmt: skip
    assert card.rate_for("other", days[3]) is other
    assert card.rate_for("unknown", days[3]) is None
    assert card.rate_for(None, days[3]) is None


@pytest.mark.parametrize("millionths", [-1, 10_000 * MILLION + 1, 1.5, True, "1", None])
def test_a_price_is_a_whole_number_of_millionths_within_bounds(millionths: Any) -> None:
    for pool in POOLS:
        with pytest.raises(AmountInvalid):
            Rate(model="m", effective_at=START, **{f"{pool}_millionths": millionths})


@pytest.mark.parametrize("model", ["\x00", "\ud800", "x" * 201, 5])
def test_a_model_is_printable(model: Any) -> None:
    with pytest.raises(RequestInvalid):
        Rate(model=model, effective_at=START)
