"""Usage: a request's tokens are cut over the packs that paid, to the token."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.properties import steady
from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.usage import Usage, apportion
from tokenwell.errors import AmountInvalid

amounts = st.lists(st.integers(1, 10**15), min_size=1, max_size=12)
counts = st.integers(0, 3 * MAX_CHARGE_TOKENS)


@steady
@given(amounts, counts, counts)
def test_every_column_sums_exactly_and_no_cut_is_negative(parts: list[int], prompt: int, completion: int) -> None:
    cuts = apportion(parts, prompt, completion)
    assert len(cuts) == len(parts)
    assert (sum(cut[0] for cut in cuts), sum(cut[1] for cut in cuts)) == (prompt, completion)
    assert all(cut >= (0, 0) and cut[1] >= 0 for cut in cuts)


@steady
@given(amounts, st.data())
def test_at_one_to_one_the_prompt_is_paid_first_and_each_part_pays_its_amount(parts: list[int], data: st.DataObject) -> None:
    total = sum(parts)
    prompt = data.draw(st.integers(0, total))
    cuts = apportion(parts, prompt, total - prompt)
    assert [a + b for a, b in cuts] == parts
    for (_, completion), (later_prompt, _) in pairwise(cuts):
        assert completion == 0 or later_prompt == 0


@steady
@given(amounts, counts, counts)
def test_at_another_rate_each_part_bears_its_share_within_one_token(parts: list[int], prompt: int, completion: int) -> None:
    total = sum(parts)
    if total == prompt + completion:
        return
    for column, whole in enumerate((prompt, completion)):
        paid = list(accumulate(cut[column] for cut in apportion(parts, prompt, completion)))
        for upto, cut in zip(accumulate(parts), paid, strict=True):
            assert cut == whole * upto // total


@pytest.mark.parametrize(
    ("parts", "prompt", "completion", "cuts"),
    [
        ([30], 20, 10, [(20, 10)]),
        ([10, 10, 5], 14, 11, [(10, 0), (4, 6), (0, 5)]),
        ([10, 10], 0, 20, [(0, 10), (0, 10)]),
        ([10, 10], 3, 3, [(1, 1), (2, 2)]),
        ([1, 1, 1], 0, 0, [(0, 0), (0, 0), (0, 0)]),
        ([1, 1, 1], 1, 1, [(0, 0), (0, 0), (1, 1)]),
    ],
)
def test_cuts_by_example(parts: list[int], prompt: int, completion: int, cuts: list[tuple[int, int]]) -> None:
    assert apportion(parts, prompt, completion) == cuts


def test_pools_add_up_to_what_people_see() -> None:
    usage = Usage(input_tokens=1, cache_read_tokens=20, cache_write_tokens=300, output_tokens=4000, reasoning_tokens=50000)
    assert (usage.prompt_tokens, usage.completion_tokens) == (321, 54000)


@pytest.mark.parametrize("tokens", [-1, MAX_CHARGE_TOKENS + 1, True, 1.0, "1", None])
@pytest.mark.parametrize("pool", Usage.__struct_fields__)
def test_a_pool_is_a_whole_number_within_bounds(pool: str, tokens: Any) -> None:
    with pytest.raises(AmountInvalid):
        Usage(**{pool: tokens})
    assert getattr(Usage(**{pool: MAX_CHARGE_TOKENS}), pool) == MAX_CHARGE_TOKENS
