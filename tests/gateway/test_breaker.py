"""The breaker: closed, open, half open, by a clock that the test moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenwell.gateway.breaker import Breaker, BreakerState


def broken(limit: int = 3) -> Breaker:
    """Return a breaker that opened at 0 for 10 seconds."""
    breaker = Breaker(failure_limit=limit, open_seconds=10)
    assert [breaker.fail(0) for _ in range(limit)] == [False] * (limit - 1) + [True]
    return breaker


def test_it_opens_after_so_many_failures_without_a_success_between_them() -> None:
    breaker = Breaker(failure_limit=2, open_seconds=10)
    breaker.fail(0)
    breaker.succeed()
    breaker.fail(0)
    assert breaker.state(0) is BreakerState.CLOSED
    assert breaker.admit(0)
    assert breaker.fail(0)
    assert breaker.state(0) is BreakerState.OPEN
    assert not breaker.admit(9.99)


def test_half_open_it_admits_one_that_closes_it() -> None:
    breaker = broken()
    assert breaker.state(10) is BreakerState.HALF_OPEN
    assert [breaker.admit(10), breaker.admit(10), breaker.admit(19)] == [True, False, False]
    breaker.succeed()
    assert breaker.state(19) is BreakerState.CLOSED
    assert breaker.admit(19)


def test_half_open_one_failure_opens_it_again() -> None:
    breaker = broken()
    assert breaker.admit(10)
    assert not breaker.fail(11)
    assert not breaker.admit(20.9)
    assert breaker.admit(21)


def test_a_trial_that_never_tells_how_it_went_does_not_keep_it_shut_for_ever() -> None:
    breaker = broken()
    assert breaker.admit(10)
    assert not breaker.admit(19.9)
    assert breaker.admit(20)


def test_a_limit_of_none_never_opens() -> None:
    breaker = Breaker(failure_limit=0, open_seconds=10)
    assert not any(breaker.fail(0) for _ in range(100))
    assert breaker.admit(0)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["ask", "ask", "ask", "fail", "succeed"]), st.sampled_from([0, 3, 10])), max_size=60),
)
def test_an_open_breaker_admits_at_most_one_in_its_time(limit: int, steps: list[tuple[str, int]]) -> None:
    """Between two successes, whatever happens, at most one request goes in any `open_seconds` once it has opened."""
    breaker = Breaker(failure_limit=limit, open_seconds=10)
    now, failures, last_admitted = 0.0, 0, float("-inf")
    for what, seconds in steps:
        now += seconds
        if what == "succeed":
            breaker.succeed()
            failures, last_admitted = 0, float("-inf")
        elif what == "fail":
            breaker.fail(now)
            failures += 1
        elif breaker.admit(now) and failures >= limit:
            assert now - last_admitted >= 10
            last_admitted = now
