"""Amounts: whole numbers in, whole numbers out, and nothing that only looks like one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.properties import steady
from tokenwell.core.amounts import MAX_CHARGE_TOKENS, MAX_TOKENS, format_amount, parse_amount
from tokenwell.errors import AmountInvalid


@steady
@given(st.integers(1, MAX_TOKENS))
def test_what_is_written_is_read_back(tokens: int) -> None:
    assert parse_amount(tokens) == parse_amount(str(tokens)) == parse_amount(format_amount(tokens)) == tokens
    assert parse_amount(f"{tokens:_}") == parse_amount(f"{tokens:,}".replace(",", " ")) == tokens


@steady
@given(st.integers(1, 10**7), st.sampled_from([("", 0), ("k", 3), ("M", 6), ("B", 9), ("g", 9)]))
def test_a_suffix_multiplies(number: int, suffix: tuple[str, int]) -> None:
    letter, exponent = suffix
    assert parse_amount(f"{number}{letter}") == parse_amount(f" {number} {letter} ") == number * 10**exponent


@steady
@given(st.integers(0, 999), st.integers(1, 999_999))
def test_a_fraction_is_exact_or_refused(whole: int, millionths: int) -> None:
    fraction = f"{millionths:06}"
    assert parse_amount(f"{whole}.{fraction}M") == whole * 10**6 + millionths
    digits = fraction.rstrip("0")
    if len(digits) > 3:
        with pytest.raises(AmountInvalid, match="whole number"):
            parse_amount(f"{whole}.{digits}k")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("5M", 5_000_000), ("1.5M", 1_500_000), ("250,000", 250_000), ("250k", 250_000), ("1.50k", 1_500), ("2.0", 2), ("007", 7),
        ("1_000", 1_000), ("10 000", 10_000), ("10000T", MAX_TOKENS), ("0.001k", 1), ("1,000.5k", 1_000_500),
    ],
)  # fmt: skip
def test_people_write_amounts_in_many_ways(text: str, tokens: int) -> None:
    assert parse_amount(text) == tokens


@pytest.mark.parametrize(
    "amount",
    [
        "", " ", "M", ".5M", "5.", "1.5", "-5", "+5", "5e3", "1,00", "1,0000", ",100", "1,000,00", "1__000", "1, 000", "5 M M",
        "٥", "５", "five", "0x5", "1.0001k", "5\x00", "\ud800", "1" * 41, True, False, 5.0, 1.5, None, b"5", [5], float("inf"),
    ],
)  # fmt: skip
def test_what_is_no_whole_number_is_refused(amount: Any) -> None:
    with pytest.raises(AmountInvalid) as caught:
        parse_amount(amount, field="total")
    assert caught.value.details["field"] == "total"


@steady
@given(st.integers(-5, 5), st.integers(0, 10))
def test_bounds_are_included(least: int, width: int) -> None:
    most = least + width
    for tokens in range(least - 2, most + 3):
        if least <= tokens <= most:
            assert parse_amount(tokens, least=least, most=most) == tokens
        else:
            with pytest.raises(AmountInvalid) as caught:
                parse_amount(tokens, least=least, most=most)
            assert (caught.value.details["least"], caught.value.details["most"]) == (least, most)


@pytest.mark.parametrize("most", [MAX_CHARGE_TOKENS, MAX_TOKENS])
def test_the_largest_amounts_are_bounds_for_text_too(most: int) -> None:
    assert parse_amount(str(most), most=most) == most
    for amount in (most + 1, str(most + 1), 2**63, 10**40):
        with pytest.raises(AmountInvalid):
            parse_amount(amount, most=most)
