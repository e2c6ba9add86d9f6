"""Every error is drawn in the tree, and every edge knows what to make of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.house.sources import ROOT
from tokenwell import errors
from tokenwell.api.problems import status_of
from tokenwell.cli.terminal import EXIT_CODES, FAILED
from tokenwell.gateway.telling import how_to_tell

TREE = re.findall(r"^    ([ │├└]*)(\w+)(?: .*?)?( \*)?$", (errors.__doc__ or "").partition("* retryable")[0], re.MULTILINE)


def tree(
    error: type[errors.TokenwellError] = errors.TokenwellError, depth: int = 0
) -> Iterator[tuple[int, type[errors.TokenwellError]]]:
    """Give every error and its depth, from the root down."""
    yield depth, error
    for each in error.__subclasses__():
        yield from tree(each, depth + 1)


CLASSES = [error for _, error in tree()]


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = [(len(branch) // 2, name) for branch, name, _ in TREE if name != "InvariantBroken"]
    assert drawn == [(depth, error.__name__) for depth, error in tree()]


def test_the_tree_marks_what_is_retryable() -> None:
    assert {name for _, name, mark in TREE if mark} == {error.__name__ for error in CLASSES if error.retryable}


def test_codes_differ() -> None:
    assert len({error.code for error in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_has_a_message_a_status_and_an_exit_code(error: type[errors.TokenwellError]) -> None:
    assert error().message.endswith(".")
    assert 400 <= how_to_tell(error()).status < 600
    assert 400 <= status_of(error()) < 600
    assert EXIT_CODES.get(error.category, FAILED) in {1, 2, 3, 4, 5, 6}
    assert f"| {error.__name__} | `{error.code}` |" in (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("category", EXIT_CODES)
def test_every_category_with_an_exit_code_exists(category: str) -> None:
    assert category in {error.category for error in CLASSES}


def test_the_exit_code_of_a_program_is_never_that_of_a_shell() -> None:
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert max(EXIT_CODES.values()) < 126
