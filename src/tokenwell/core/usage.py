"""Usage: what an AI request consumed, in pools that do not overlap, and how it is cut over the packs that paid."""

from __future__ import annotations

import msgspec

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.errors import AmountInvalid


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one AI request by pool. The pools never overlap: cached tokens are not in `input_tokens`,
    reasoning tokens not in `output_tokens`."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for tokens in (
            self.input_tokens, self.cache_read_tokens, self.cache_write_tokens, self.output_tokens, self.reasoning_tokens,
        ):  # fmt: skip
            if type(tokens) is not int or not 0 <= tokens <= MAX_CHARGE_TOKENS:
                raise AmountInvalid(f"each usage pool must be a whole number between 0 and {MAX_CHARGE_TOKENS:,}", field="usage")

    @property
    def prompt_tokens(self) -> int:
        """What people see as Prompt."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def completion_tokens(self) -> int:
        """What people see as Completion."""
        return self.output_tokens + self.reasoning_tokens


def apportion(amounts: list[int], prompt_tokens: int, completion_tokens: int) -> list[tuple[int, int]]:
    """Cut a request's prompt and completion tokens over the parts that paid for it, so that each column sums exactly.

    At a rate of 1:1 (the parts sum to prompt + completion) the prompt is paid first; otherwise both are cut proportionally,
    each boundary rounded down.
    """
    total = sum(amounts)
    one_to_one = total == prompt_tokens + completion_tokens
    cuts: list[tuple[int, int]] = []
    paid = prompt_before = completion_before = 0
    for amount in amounts:
        paid += amount
        if one_to_one:
            prompt_upto = min(paid, prompt_tokens)
            completion_upto = paid - prompt_upto
        else:
            prompt_upto = prompt_tokens * paid // total
            completion_upto = completion_tokens * paid // total
        cuts.append((prompt_upto - prompt_before, completion_upto - completion_before))
        prompt_before, completion_before = prompt_upto, completion_upto
    return cuts
