"""Codes: what a person types to redeem a pack. Letters and digits that nobody confuses, and two of them check the others.

A code is 18 random characters of an alphabet of 32 (90 bits) and two check characters: the number they spell, modulo the prime
1,021. One wrong character, and two neighbours that changed places, never pass.
"""

from __future__ import annotations

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""No 0 and O, no 1 and I."""

RANDOM_CHARACTERS = 18
CODE_CHARACTERS = 20
GROUP = 5

_PRIME = 1_021
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}
_TYPED_LIMIT = 60


def code_of(random_bits: int) -> str:
    """Return the code of 90 random bits, without hyphens."""
    text = "".join(ALPHABET[random_bits >> 5 * place & 31] for place in range(RANDOM_CHARACTERS))
    check = _number(text) % _PRIME
    return text + ALPHABET[check >> 5] + ALPHABET[check & 31]


def written(code: str) -> str:
    """Return a code as it is written for people: `ABCDE-FGHJK-LMNPQ-RSTUV`."""
    return "-".join(code[start : start + GROUP] for start in range(0, len(code), GROUP))


def read_code(typed: str) -> str | None:
    """Return the code that somebody typed, however they grouped it; None where it cannot be one."""
    if not isinstance(typed, str) or len(typed) > _TYPED_LIMIT:
        return None
    code = "".join(typed.upper().replace("-", " ").split())
    if len(code) != CODE_CHARACTERS or not _VALUES.keys() >= set(code):
        return None
    text, check = code[:RANDOM_CHARACTERS], code[RANDOM_CHARACTERS:]
    return code if _number(text) % _PRIME == _number(check) else None


def _number(text: str) -> int:
    number = 0
    for letter in text:
        number = number << 5 | _VALUES[letter]
    return number
