"""Money is whole numbers of a currency's smallest unit, read and written as people do."""

from __future__ import annotations

import pytest

from tokenwell.core.money import MOST_MINOR, check_currency, parse_price, written_price
from tokenwell.errors import RequestInvalid


@pytest.mark.parametrize(
    ("text", "currency", "minor", "written"),
    [
        ("49", "eur", 4_900, "49.00 EUR"), ("49.5", "USD", 4_950, "49.50 USD"), ("1249.99", "eur", 124_999, "1,249.99 EUR"),
        ("4900", "jpy", 4_900, "4,900 JPY"), ("1.005", "kwd", 1_005, "1.005 KWD"), ("0.01", "eur", 1, "0.01 EUR"),
    ],
)  # fmt: skip
def test_a_price_is_read_and_written(text: str, currency: str, minor: int, written: str) -> None:
    assert parse_price(text, currency) == minor
    assert written_price(minor, check_currency(currency)) == written


@pytest.mark.parametrize(
    ("text", "currency"),
    [("", "eur"), ("0", "eur"), ("-1", "eur"), ("1.234", "eur"), ("1.5", "jpy"), ("1e3", "eur"), ("1,5", "eur"), ("9" * 8, "eur"),
     ("1", "euro"), ("1", ""), ("1", "€")],
)  # fmt: skip
def test_what_is_no_price_is_refused(text: str, currency: str) -> None:
    with pytest.raises(RequestInvalid):
        parse_price(text, currency)


def test_the_highest_price_is_stripes() -> None:
    assert parse_price("999999.99", "eur") == MOST_MINOR
    with pytest.raises(RequestInvalid):
        parse_price("1000000", "eur")
