"""Codes: typed by people, and wrong ones are seen before anybody is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.properties import steady
from tokenwell.core.codes import ALPHABET, code_of, read_code, written

bits = st.integers(0, 2**90 - 1)


@steady
@given(bits=bits)
def test_a_code_is_read_as_it_is_written(bits: int) -> None:
    code = code_of(bits)
    assert len(code) == 20
    assert set(code) <= set(ALPHABET)
    for typed in (written(code), written(code).lower(), f"  {code} ", written(code).replace("-", " "), code[:7] + " - " + code[7:]):
        assert read_code(typed) == code


@steady
@given(bits=bits, place=st.integers(0, 19), other=st.sampled_from(ALPHABET))
def test_one_wrong_character_is_seen(bits: int, place: int, other: str) -> None:
    code = code_of(bits)
    wrong = code[:place] + other + code[place + 1 :]
    assert (read_code(wrong) is None) is (wrong != code)


@steady
@given(bits=bits, place=st.integers(0, 16))
def test_two_neighbours_that_changed_places_are_seen(bits: int, place: int) -> None:
    code = code_of(bits)
    wrong = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assert (read_code(wrong) is None) is (wrong != code)


@steady
@given(one=bits, other=bits)
def test_different_bits_are_different_codes(one: int, other: int) -> None:
    assert (code_of(one) == code_of(other)) is (one == other)


@pytest.mark.parametrize("typed", ["", "ABC", "0" * 20, "O" * 20, "A" * 21, "A" * 5_000, "\ud800" * 20, "é" * 20])
def test_what_cannot_be_a_code_is_none(typed: str) -> None:
    assert read_code(typed) is None


def test_it_is_written_in_groups_of_five() -> None:
    assert written("ABCDEFGHJKLMNPQRSTUV") == "ABCDE-FGHJK-LMNPQ-RSTUV"
