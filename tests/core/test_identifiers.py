"""Identifiers: ids sort as their bytes do, keys stay apart, and nothing unprintable gets in."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.properties import steady
from tokenwell.core.identifiers import (
    LABEL_LIMIT,
    check_key,
    check_label,
    check_organization_id,
    decode_id,
    encode_id,
    fingerprint_of,
    is_organization_id,
    key_bytes,
    request_keys,
    settle_key,
)
from tokenwell.errors import RequestInvalid

sixteen = st.binary(min_size=16, max_size=16)


@steady
@given(sixteen)
def test_an_id_gives_its_bytes_back(raw: bytes) -> None:
    identifier = encode_id("pack", raw)
    assert len(identifier) == len("pack_") + 26
    assert decode_id(identifier) == raw


@steady
@given(st.lists(sixteen, min_size=2, max_size=8))
def test_ids_sort_as_their_bytes_do(raws: list[bytes]) -> None:
    assert sorted(encode_id("pack", raw) for raw in raws) == [encode_id("pack", raw) for raw in sorted(raws)]


@pytest.mark.parametrize(
    "text",
    [
        "", "pack", "pack_", "pack_" + "0" * 25, "pack_" + "0" * 27, "pack_8" + "0" * 25, "pack_0" + "i" * 25, "pack_0" + "U" * 25,
        "PACK_" + "0" * 26, "p_" + "0" * 26, "toolong_" + "0" * 26, "pack-" + "0" * 26, "pack_" + "0" * 26 + "\n",
    ],
)  # fmt: skip
def test_what_is_no_id_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an id of ours"):
        decode_id(text)


@steady
@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_keys_that_differ_are_stored_apart(first: str, second: str) -> None:
    assert len(key_bytes(first)) == 16
    assert (key_bytes(first) == key_bytes(second)) == (first == second)


def test_ids_that_differ_in_their_prefix_are_keys_of_their_own() -> None:
    raw = uuid4().bytes
    assert len({key_bytes(encode_id(prefix, raw)) for prefix in ("req", "debit", "refund", "hold", "pack")}) == 5


@steady
@given(st.lists(sixteen, min_size=2, max_size=8))
def test_keys_ordered_in_time_stay_ordered(raws: list[bytes]) -> None:
    assert sorted(key_bytes(encode_id("req", raw)) for raw in raws) == sorted(raws)
    assert sorted(key_bytes(str(UUID(bytes=raw))) for raw in raws) == [raw + b"u" for raw in sorted(raws)]


@steady
@given(sixteen)
def test_no_key_of_a_callers_is_the_settling_of_a_hold(raw: bytes) -> None:
    hold_id = encode_id("hold", raw)
    assert len(settle_key(hold_id)) == 17
    assert request_keys(hold_id) == (settle_key(hold_id), key_bytes(hold_id))
    assert request_keys("any other text") == (key_bytes("any other text"),)


@steady
@given(
    st.lists(st.none() | st.integers(-(2**63), 2**63) | st.text(max_size=5), max_size=4), st.lists(st.none() | st.text(max_size=5))
)
def test_fingerprints_differ_where_a_field_does(first: list[Any], second: list[Any]) -> None:
    assert (fingerprint_of(*first) == fingerprint_of(*second)) == (first == second)


def test_fingerprints_do_not_run_fields_together() -> None:
    assert len({fingerprint_of("ab", "c"), fingerprint_of("a", "bc"), fingerprint_of("abc"), fingerprint_of("ab", "c", None)}) == 4
    assert len({fingerprint_of(1), fingerprint_of("1"), fingerprint_of(True), fingerprint_of([1])}) == 4


def test_a_label_is_printable_and_of_a_certain_length() -> None:
    assert check_label(None, field="model") is None
    for text in ("", "x" * LABEL_LIMIT, "naïve 🔑", "\u2028"):
        assert check_label(text, field="model") == text
    for wrong in ("x" * (LABEL_LIMIT + 1), "\x00", "a\nb", "\x7f", "\ud800", 5, b"x"):
        with pytest.raises(RequestInvalid) as caught:
            check_label(wrong, field="model")  # type: ignore[arg-type]
        assert caught.value.details == {"field": "model"}


@pytest.mark.parametrize("key", ["", None, 0, 5, b"x", "x" * (LABEL_LIMIT + 1), "\x00", "\ud800"])
def test_a_key_is_text_and_not_empty(key: Any) -> None:
    with pytest.raises(RequestInvalid) as caught:
        check_key(key)
    assert caught.value.details == {"field": "key"}


@pytest.mark.parametrize("name", ["a", "0", "acme", "a-b_c", "x" * 64, "a--b", "9_9"])
def test_names_that_an_organization_may_have(name: str) -> None:
    assert is_organization_id(name)
    assert check_organization_id(name) == name


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "_a", "a_", "x" * 65, "ä", "a\n", "a/b", "a.b", None, 5, b"a"])
def test_names_that_an_organization_may_not_have(name: Any) -> None:
    assert not is_organization_id(name)
    with pytest.raises(RequestInvalid):
        check_organization_id(name)
