"""Money: prices as whole numbers of a currency's smallest unit, as payment providers count them. Pure."""

from __future__ import annotations

import re

from tokenwell.errors import RequestInvalid

MOST_MINOR = 99_999_999
"""The highest price, in the smallest unit: what Stripe takes."""

_NO_DECIMALS = frozenset(["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"])
_THREE_DECIMALS = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
_CURRENCY = re.compile(r"[a-z]{3}")
_PRICE = re.compile(r"(\d{1,8})(?:\.(\d{1,3}))?")


def check_currency(currency: str) -> str:
    """Return a currency's three letters, small. Raises RequestInvalid."""
    small = currency.lower() if isinstance(currency, str) else ""
    if not _CURRENCY.fullmatch(small):
        raise RequestInvalid("currency must be three letters, such as eur", field="currency")
    return small


def check_price(price_minor: int) -> int:
    """Return a price in the smallest unit. Raises RequestInvalid outside 1 ≤ price ≤ MOST_MINOR."""
    if type(price_minor) is not int or not 1 <= price_minor <= MOST_MINOR:
        raise RequestInvalid(f"price_minor must be between 1 and {MOST_MINOR}", field="price_minor")
    return price_minor


def decimals_of(currency: str) -> int:
    """Return how many decimals a currency's amounts are written with."""
    return 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2


def parse_price(text: str, currency: str) -> int:
    """Return a price that people write, such as 49 or 49.00, in the smallest unit of the currency. Raises RequestInvalid."""
    match, decimals = _PRICE.fullmatch(text.strip()), decimals_of(check_currency(currency))
    if match is None or len(match[2] or "") > decimals:
        written = f"49.{'0' * decimals}" if decimals else "49"
        raise RequestInvalid(f"a price in {currency.upper()} is written like {written}", field="price")
    return check_price(int(match[1]) * 10**decimals + int((match[2] or "").ljust(decimals, "0") or 0))


def written_price(minor: int, currency: str) -> str:
    """Return an amount of money as people read it: `1,249.00 EUR`."""
    decimals = decimals_of(currency)
    whole, part = divmod(minor, 10**decimals)
    return f"{whole:,}{f'.{part:0{decimals}}' if decimals else ''} {currency.upper()}"
