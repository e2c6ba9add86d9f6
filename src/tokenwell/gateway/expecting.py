"""Expecting: how much is held for a request, and what was learned once it is charged.

Of a kind of requests that the organization has made before, history says what they come to. Where there is none a tokenizer counts
the prompt, or a sample of it, and the output is what the request allows.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.usage import Usage
from tokenwell.gateway.asking import AiRequest
from tokenwell.gateway.metrics import ESTIMATE_RATIO
from tokenwell.gateway.tokenizers import tokenizer
from tokenwell.service.estimates import Estimates, Kind, expected_fact

SAMPLE_BYTES = 2_048
"""How much of a body is tokenized at most, half from its head and half from its tail: a tenth of a millisecond."""

FAMILIES = (
    (("gpt-3.5", "gpt-4-", "text-embedding"), "cl100k_base", 100),
    (("gpt-", "chatgpt", "o1", "o3", "o4"), "o200k_base", 100),
    (("claude",), "o200k_base", 125),
    (("gemini", "gemma"), "o200k_base", 110),
    (("llama", "meta-llama"), "o200k_base", 110),
    (("mistral", "mixtral", "ministral", "codestral", "devstral", "magistral"), "o200k_base", 120),
    (("deepseek", "qwen"), "o200k_base", 110),
)
"""How the names of a family's models begin, the tokenizer that is asked, and how many tokens the family's own makes of what is 100
to that one. Only OpenAI's tokenizers are at hand; for the others the share is a start, and the history of each kind corrects it."""

OTHERS = ("o200k_base", 130)

_TEMPLATE_TOKENS = 8
"""What a provider's template adds around a prompt."""

_SPARE_TOKENS = 16

_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})")


class Expected(NamedTuple):
    """What a request is expected to come to. `text_bytes` is 0 where its prompt is not only text."""

    prompt_tokens: int
    completion_tokens: int
    text_bytes: int

    def fact(self) -> dict[str, Any]:
        """Return what is kept of it with the line."""
        return expected_fact(prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens, text_bytes=self.text_bytes)


class Expectations:
    """Expects, and learns. `default_output_tokens` is expected of a request that names no limit and has no history."""

    def __init__(self, estimates: Estimates, *, default_output_tokens: int) -> None:
        self._estimates = estimates
        self._default_output_tokens = default_output_tokens

    def expect(self, kind: Kind, request: AiRequest) -> Expected:
        """Return what to hold for a request: history's quantile, capped by the request's own limit, for each of its choices."""
        limit = request.output_limit_tokens
        usual = self._estimates.completion_tokens(kind)
        if usual is None:
            output = self._default_output_tokens if limit is None else limit
        else:
            # A stream asks for more when it has used three quarters: what is usual is not to be asked for.
            output = usual * 4 // 3 + _SPARE_TOKENS
            output = output if limit is None else min(output, limit)
        prompt = request.prompt
        text_bytes = 0 if prompt.attachments or request.follows else prompt.text_bytes
        tokens = self._estimates.prompt_tokens(kind, text_bytes) if text_bytes else prompt.held_tokens
        if tokens is None:
            tokens = min(prompt.held_tokens, counted_tokens(request.model, request.body, text_bytes))
        return Expected(tokens, min(request.choices * output, MAX_CHARGE_TOKENS), text_bytes)

    def learn(self, kind: Kind, expected: Expected, used: Usage) -> None:
        """Take what a request came to, as its provider reported it."""
        self._estimates.learn(
            kind, prompt_tokens=used.prompt_tokens, completion_tokens=used.completion_tokens, text_bytes=expected.text_bytes
        )
        _PROMPT_RATIO.observe(used.prompt_tokens / max(1, expected.prompt_tokens))
        _COMPLETION_RATIO.observe(used.completion_tokens / max(1, expected.completion_tokens))


_PROMPT_RATIO = ESTIMATE_RATIO.labels("prompt")
_COMPLETION_RATIO = ESTIMATE_RATIO.labels("completion")


def counted_tokens(model: str, body: bytes, text_bytes: int) -> int:
    """Return how many tokens `text_bytes` of a prompt are that is in `body`, by the family of the model."""
    encoding, percent = family_of(model)
    sample = body if len(body) <= SAMPLE_BYTES else body[: SAMPLE_BYTES // 2] + body[-SAMPLE_BYTES // 2 :]
    if b"\\u" in sample:
        sample = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)).encode("utf-8", "replace"), sample)
    counted = tokenizer(encoding).count(sample.decode("utf-8", "replace"))
    return -(-text_bytes * counted * percent // (100 * max(1, len(sample)))) + _TEMPLATE_TOKENS


def family_of(model: str) -> tuple[str, int]:
    """Return the tokenizer of a model's family, and how many tokens its own makes of 100 of that."""
    name = model.rpartition("/")[2].lower()
    return next(((encoding, percent) for begins, encoding, percent in FAMILIES if name.startswith(begins)), OTHERS)
