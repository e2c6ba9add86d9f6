"""Health: the edges of state and admission are strict; equal is never the worse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.properties import steady
from tokenwell.core.amounts import MAX_TOKENS
from tokenwell.core.health import State, Thresholds, refusal_of, state_of
from tokenwell.errors import AiStopped, BalanceHeld, ThresholdsInvalid

small = st.integers(0, 12)


@steady
@given(small, small, small)
def test_the_state_by_the_words_of_the_rule(balance: int, reserve: int, above: int) -> None:
    thresholds = Thresholds(reserve + above, reserve)
    state = state_of(balance, thresholds)
    assert (state is State.AI_STOPPED) == (balance < reserve or balance == 0)
    assert (state is State.NORMAL) == (balance >= thresholds.warning_tokens and state is not State.AI_STOPPED)


@steady
@given(small, small, small, small, st.integers(1, 14))
def test_admission_by_the_words_of_the_rule(balance: int, held: int, reserve: int, above: int, estimate: int) -> None:
    thresholds = Thresholds(reserve + above, reserve)
    refusal = refusal_of(balance, held, thresholds, estimate)
    available = balance - held
    if state_of(balance, thresholds) is State.AI_STOPPED:
        assert type(refusal) is AiStopped
        assert refusal.details == {"balance_tokens": balance, "reserve_tokens": reserve}
    elif available < reserve or estimate > available:
        assert type(refusal) is BalanceHeld
        assert refusal.details["available_tokens"] == available
        assert (refusal.retryable, refusal.details["estimate_tokens"]) == (True, estimate)
    else:
        assert refusal is None


@pytest.mark.parametrize(
    ("balance", "state"),
    [(0, State.AI_STOPPED), (9, State.AI_STOPPED), (10, State.RUNNING_LOW), (19, State.RUNNING_LOW), (20, State.NORMAL)],
)
def test_states_by_example(balance: int, state: State) -> None:
    assert state_of(balance, Thresholds(20, 10)) is state


def test_without_thresholds_one_token_is_normal_and_none_is_stopped() -> None:
    assert (state_of(1, Thresholds(0, 0)), state_of(0, Thresholds(0, 0))) == (State.NORMAL, State.AI_STOPPED)


@pytest.mark.parametrize(("warning", "reserve"), [(9, 10), (0, 1), (5, -1), (-1, -1), (MAX_TOKENS + 1, 0)])
def test_warning_is_at_least_the_reserve_and_neither_below_zero(warning: int, reserve: int) -> None:
    with pytest.raises(ThresholdsInvalid) as caught:
        Thresholds(warning, reserve)
    assert caught.value.details == {"warning_tokens": warning, "reserve_tokens": reserve}


def test_thresholds_may_be_equal_or_as_large_as_any_balance() -> None:
    assert Thresholds(0, 0) == Thresholds(0, 0)
    assert Thresholds(MAX_TOKENS, MAX_TOKENS).reserve_tokens == MAX_TOKENS
