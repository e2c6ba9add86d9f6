"""Answers that providers keep: each is found by its own organization, and by no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.databases import tenant_role_on
from tests.doubles import FrozenClock
from tokenwell.errors import NotFound
from tokenwell.service.answers import KEPT, Answers
from tokenwell.service.meter import Meter


@pytest.fixture
def answers(database_url: str, clock: FrozenClock) -> Iterator[Answers]:
    """The answers in a database with two organizations."""
    with Meter(database_url, clock=clock, tenant_role=tenant_role_on(database_url)) as meter:
        meter.create_organization("acme")
        meter.create_organization("other")
        yield Answers(meter.engine, clock)


def test_an_answer_is_found_by_its_own_organization_alone(answers: Answers) -> None:
    answers.remember("acme", "resp_1", model="m", tokens=7)
    assert (answers.find("acme", "resp_1").model, answers.find("acme", "resp_1").tokens) == ("m", 7)
    with pytest.raises(NotFound):
        answers.find("other", "resp_1")


def test_remembering_again_replaces_and_forgetting_again_changes_nothing(answers: Answers) -> None:
    answers.remember("acme", "resp_1", model="m", tokens=7)
    answers.remember("acme", "resp_1", model="m", tokens=9)
    answers.remember("other", "resp_1", model="n", tokens=1)
    assert answers.find("acme", "resp_1").tokens == 9
    for _ in range(2):
        answers.forget("acme", "resp_1")
    with pytest.raises(NotFound):
        answers.find("acme", "resp_1")
    assert answers.find("other", "resp_1").tokens == 1


def test_what_no_provider_keeps_any_more_is_forgotten(answers: Answers, clock: FrozenClock) -> None:
    answers.remember("acme", "resp_1", model="m", tokens=7)
    clock.advance(KEPT)
    answers.remember("acme", "resp_2", model="m", tokens=7)
    answers.forget_old()
    assert answers.find("acme", "resp_1")
    clock.advance(timedelta(seconds=1))
    answers.forget_old()
    with pytest.raises(NotFound):
        answers.find("acme", "resp_1")
    assert answers.find("acme", "resp_2")
