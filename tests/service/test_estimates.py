"""Estimates: learned from what requests came to, and from the ledger by the next process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.databases import tenant_role_on
from tests.service.test_batching import until as wait_for
from tokenwell import Meter
from tokenwell.service.estimates import LEAST_REQUESTS, WINDOW_REQUESTS, Estimates, _Window, expected_fact

KIND = ("acme", "m", "r")


@pytest.fixture
def meter(database_url: str) -> Iterator[Meter]:
    """A meter with an organization that has tokens."""
    with Meter(database_url, tenant_role=tenant_role_on(database_url)) as meter:
        meter.create_organization("acme")
        meter.grant("acme", 10**9)
        yield meter


@pytest.fixture
def estimates(meter: Meter) -> Iterator[Estimates]:
    """Estimates of a new process."""
    estimates = Estimates(meter.reading)
    yield estimates
    estimates.close()


def learn(estimates: Estimates, tokens: int, times: int = 1) -> None:
    """Learn from requests with prompts of 100 bytes and 25 tokens."""
    for _ in range(times):
        estimates.learn(KIND, prompt_tokens=25, completion_tokens=tokens, text_bytes=100)


def test_a_few_requests_are_no_history(estimates: Estimates) -> None:
    learn(estimates, 10, LEAST_REQUESTS - 1)
    assert (estimates.completion_tokens(KIND), estimates.prompt_tokens(KIND, 100)) == (None, None)
    learn(estimates, 10)
    assert (estimates.completion_tokens(KIND), estimates.prompt_tokens(KIND, 200)) == (10, 50)


def test_kinds_are_kept_apart(estimates: Estimates) -> None:
    learn(estimates, 10, LEAST_REQUESTS)
    for other in (("other", "m", "r"), ("acme", "n", "r"), ("acme", "m", None)):
        assert estimates.completion_tokens(other) is None


def test_what_is_long_ago_is_forgotten(estimates: Estimates) -> None:
    learn(estimates, 1_000, WINDOW_REQUESTS)
    learn(estimates, 10, WINDOW_REQUESTS + 16)
    assert estimates.completion_tokens(KIND) == 10


def test_a_prompt_that_is_not_only_text_says_nothing_of_its_bytes(estimates: Estimates) -> None:
    for _ in range(LEAST_REQUESTS):
        estimates.learn(KIND, prompt_tokens=1_500, completion_tokens=5, text_bytes=0)
    assert (estimates.completion_tokens(KIND), estimates.prompt_tokens(KIND, 100)) == (5, None)


@given(st.lists(st.integers(0, 10**6), min_size=LEAST_REQUESTS, max_size=WINDOW_REQUESTS))
def test_nineteen_of_twenty_stay_within_what_is_expected_and_not_all_need_it(values: list[int]) -> None:
    window = _Window()
    for value in values[-LEAST_REQUESTS:]:
        window.add(value)
    assert window.quantile is not None
    within = sum(value <= window.quantile for value in values[-LEAST_REQUESTS:])
    below = sum(value < window.quantile for value in values[-LEAST_REQUESTS:])
    assert within >= LEAST_REQUESTS * 95 / 100
    assert below < LEAST_REQUESTS * 95 / 100


def test_a_new_process_learns_from_the_ledger(meter: Meter, estimates: Estimates) -> None:
    facts = {"expected": expected_fact(prompt_tokens=9, completion_tokens=9, text_bytes=100)}
    for _ in range(LEAST_REQUESTS):
        meter.debit("acme", prompt_tokens=50, completion_tokens=7, model="m", reason="r", facts=facts)
    meter.debit("acme", prompt_tokens=50, completion_tokens=10**6, model="m", reason="r", estimated=True)
    wait_for(lambda: estimates.completion_tokens(KIND) == 7)  # asked first, it begins to read the ledger
    assert estimates.prompt_tokens(KIND, 100) == 50


def test_an_organization_that_cannot_be_read_is_tried_again(meter: Meter, estimates: Estimates) -> None:
    kind = ("later", "m", None)
    assert estimates.completion_tokens(kind) is None
    wait_for(lambda: "later" not in estimates._seeded)
    meter.create_organization("later")
    meter.grant("later", 10**9)
    for _ in range(LEAST_REQUESTS):
        meter.debit("later", prompt_tokens=1, completion_tokens=3, model="m")
    wait_for(lambda: estimates.completion_tokens(kind) == 3)
