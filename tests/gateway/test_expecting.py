"""What is held for a request: history where there is some, a tokenizer's count and the request's own limit where there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.conftest import House, asked, until
from tests.gateway.upstreams import plain, speaking
from tokenwell.config import Settings
from tokenwell.gateway.asking import UNLABELLED
from tokenwell.gateway.chat import CHAT
from tokenwell.gateway.expecting import SAMPLE_BYTES, counted_tokens, family_of
from tokenwell.gateway.metrics import GROWN
from tokenwell.gateway.tokenizers import tokenizer
from tokenwell.service.estimates import LEAST_REQUESTS

PROSE = "The quick brown fox jumps over the lazy dog, and then it sleeps in the warm sun until noon. "


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini", "o200k_base"), ("gpt-5", "o200k_base"), ("o3", "o200k_base"), ("gpt-4.1", "o200k_base"),
        ("gpt-4-0613", "cl100k_base"), ("gpt-3.5-turbo", "cl100k_base"), ("text-embedding-3-small", "cl100k_base"),
        ("openai/gpt-4o", "o200k_base"),
    ],
)  # fmt: skip
def test_openais_models_are_counted_by_their_owntokenizer(model: str, encoding: str) -> None:
    assert family_of(model) == (encoding, 100)


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gemini-2.5-pro", "meta-llama/Llama-3", "mistral-large", "unheard-of"])
def test_other_families_are_expected_to_make_more_of_it(model: str) -> None:
    encoding, percent = family_of(model)
    assert encoding == "o200k_base"
    assert percent > 100


@pytest.mark.parametrize("text", [PROSE * 3, PROSE * 100, "狐狸跳过懒狗。" * 40, "for (i = 0; i < n; i++) {\n" * 30])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_count_is_near_the_tokenizers_own_however_long_the_prompt(text: str, ascii_only: bool) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=ascii_only).encode()
    prompt = CHAT.parse(body[:-1] + b',"model":"gpt-4o"}', UNLABELLED).prompt
    truth = tokenizer("o200k_base").count(text)
    assert truth * 0.9 < counted_tokens("gpt-4o", body, prompt.text_bytes) < truth * 1.35 + 40
    assert len(body) < SAMPLE_BYTES or prompt.text_bytes > SAMPLE_BYTES / 3


async def held_of(house: House, **fields: Any) -> int:
    """Return what is held while a request is answered."""
    held = []

    async def answer(request: Any, reply: Any) -> None:
        held.append(house.balance().held_tokens)
        await plain(usage={"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42})(request, reply)

    house.upstream.answer = answer
    async with house.ask(asked(**fields)) as response:
        assert response.status == 200
        await response.read()
    return held[0]


async def test_history_makes_holds_tight_and_the_requests_own_limit_caps_them(house: House) -> None:
    first = await held_of(house)
    assert first > Settings().output_limit_tokens
    for _ in range(LEAST_REQUESTS):
        await held_of(house)
    output = 30 * 4 // 3 + 16
    for expected, fields in ((output, {}), (20, {"max_tokens": 20}), (2 * output, {"n": 2})):
        assert await held_of(house, **fields) - expected in (12, 13)


async def test_what_was_expected_is_kept_beside_what_was_used(house: House) -> None:
    house.upstream.answer = speaking("Hel", "lo")
    async with house.ask(asked(stream=True, max_tokens=50)) as response:
        await response.read()
    await house.settled()
    (line,) = house.lines()
    expected = json.loads(line.entry.detail or "")["facts"]["expected"]
    assert expected["completion"] == 50
    assert 0 < expected["prompt"] < 40
    assert expected["bytes"] > 0


async def test_streams_that_are_as_long_as_ever_ask_for_nothing_more(house: House) -> None:
    words = ["word "] * 40
    house.upstream.answer = speaking(*words, usage={"prompt_tokens": 12, "completion_tokens": 40, "total_tokens": 52})
    for _ in range(LEAST_REQUESTS):
        async with house.ask(asked(stream=True)) as response:
            await response.read()
    await until(lambda: house.balance().held_tokens == 0)
    before = GROWN.labels("granted")._value.get()
    async with house.ask(asked(stream=True)) as response:
        await response.read()
    assert GROWN.labels("granted")._value.get() == before
