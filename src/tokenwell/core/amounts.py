"""Amounts of tokens: whole numbers, parsed and written for people."""

from __future__ import annotations

import re

from tokenwell.errors import AmountInvalid

MAX_TOKENS = 10**16
"""The largest pack, balance and overage."""

MAX_CHARGE_TOKENS = 10**12
"""The largest charge, hold and usage pool of one request: sums over a quarter of an hour stay far within 64 bits."""

_PATTERN = re.compile(r"(\d{1,3}(?:[,_ ]\d{3})+|\d+)(?:\.(\d+))?\s*([kKmMbBgGtT万亿]?)", re.ASCII)
_EXPONENTS = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12, "万": 4, "亿": 8}


def parse_amount(amount: int | str, *, field: str = "amount", least: int = 1, most: int = MAX_TOKENS) -> int:
    """Return `amount` in whole tokens; text may be grouped and may end in k, M, B, T, 万 or 亿 (`"1.5M"`, `"500万"`).

    Raises AmountInvalid outside `least` ≤ tokens ≤ `most`, or where the text does not give a whole number.
    """
    if isinstance(amount, str):
        tokens = _parse_text(amount.strip(), field)
    elif type(amount) is int:
        tokens = amount
    else:
        raise AmountInvalid(f"{field} must be a whole number of tokens", field=field)
    if not least <= tokens <= most:
        raise AmountInvalid(f"{field} must be between {least:,} and {most:,} tokens", field=field, least=least, most=most)
    return tokens


def _parse_text(text: str, field: str) -> int:
    match = _PATTERN.fullmatch(text) if len(text) <= 40 else None
    if match is None:
        raise AmountInvalid(f"{field} must be a number of tokens such as 250000, 250k or 5M", field=field)
    whole, fraction, suffix = match.groups(default="")
    exponent = _EXPONENTS[suffix.lower()]
    fraction = fraction.rstrip("0")
    if len(fraction) > exponent:
        raise AmountInvalid(f"{field} must be a whole number of tokens", field=field)
    return int(re.sub(r"[,_ ]", "", whole) + fraction.ljust(exponent, "0"))


def format_amount(tokens: int) -> str:
    """Return `tokens` with grouping: `5,000,000`."""
    return f"{tokens:,}"
