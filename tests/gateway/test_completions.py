"""What providers report as usage, and what is counted where they do not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.gateway.upstreams import completion
from tokenwell.core.usage import Usage
from tokenwell.gateway.completions import parse_completion, usage_in

NONSENSE: list[Any] = [
    None,
    7,
    "12",
    [],
    {},
    {"prompt_tokens": None},
    {"prompt_tokens": -1, "completion_tokens": 3},
    {"prompt_tokens": "12", "completion_tokens": 3},
    {"prompt_tokens": 12.5, "completion_tokens": 3},
    {"prompt_tokens": 10**18, "completion_tokens": 3},
    {"prompt_tokens": True, "completion_tokens": 3},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
]


def _read(usage: Any) -> Usage | None:
    reported = usage_in(msgspec.Raw(json.dumps(usage).encode()))
    assert reported is None or reported.raw == usage
    return None if reported is None else reported.usage


@pytest.mark.parametrize("usage", NONSENSE)
def test_a_usage_that_makes_no_sense_is_none(usage: Any) -> None:
    assert _read(usage) is None


def test_a_usage_of_bytes_that_are_no_text_is_none() -> None:
    assert usage_in(msgspec.Raw(b'{"prompt_tokens": 12, "note": "\xff"}')) is None


def test_cached_and_reasoning_tokens_are_taken_out_of_what_contains_them() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 30, "rejected_prediction_tokens": 5},
    }
    assert _read(usage) == Usage(
        input_tokens=30, cache_read_tokens=60, cache_write_tokens=10, output_tokens=20, reasoning_tokens=30
    )


def test_details_that_are_null_or_too_large_never_make_a_pool_negative() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": None, "completion_tokens_details": None}
    assert _read(usage) == Usage(input_tokens=10, output_tokens=5)
    usage |= {"prompt_tokens_details": {"cached_tokens": 999}, "completion_tokens_details": {"reasoning_tokens": 999}}
    assert _read(usage) == Usage(cache_read_tokens=10, reasoning_tokens=5)


def test_reasoning_that_comes_on_top_of_the_completion_is_charged_as_well() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    assert _read(usage) == Usage(input_tokens=10, output_tokens=5, reasoning_tokens=100)
    usage |= {"completion_tokens_details": {"reasoning_tokens": 100}}
    assert _read(usage) == Usage(input_tokens=10, output_tokens=5, reasoning_tokens=100)


def test_a_prompt_alone_is_a_usage() -> None:
    assert _read({"prompt_tokens": 8}) == Usage(input_tokens=8)


def test_words_reasoning_and_calls_of_every_choice_are_counted() -> None:
    call = {"function": {"name": "now", "arguments": '{"zone":"UTC"}'}}
    choices = [
        {"message": {"content": "Grüße", "reasoning_content": "hm", "reasoning": "hm"}},
        {"message": {"content": None, "refusal": "no", "tool_calls": [call]}},
        {"message": None},
    ]
    read = parse_completion(completion(choices=choices))
    assert read is not None
    assert read.text_bytes() == len("Grüße".encode()) + 2 + 2 + 3 + 14


@pytest.mark.parametrize("choices", [7, "x", [7], [{"message": {"content": [1]}}], None])
def test_choices_of_an_unknown_shape_count_nothing(choices: Any) -> None:
    read = parse_completion(completion(choices=choices))
    assert read is not None
    assert read.text_bytes() == 0


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b'{"error":{"message":"no"}}', True),
        (b'{"error":"no","choices":[]}', True),
        (b'{"error":null,"choices":[{"message":{"content":"x"}}]}', False),
        (b'{"error":{"message":"late"},"choices":[{"message":{"content":"x"}}]}', False),
    ],
)
def test_an_error_without_an_answer_is_a_failure(body: bytes, failed: bool) -> None:
    read = parse_completion(body)
    assert read is not None
    assert read.has_failed is failed


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"x"', b"{", b'{"choices":' + b"[" * 100_000])
def test_what_is_no_json_object_is_no_completion(body: bytes) -> None:
    assert parse_completion(body) is None
