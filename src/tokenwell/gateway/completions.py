"""Completions: what a provider of the OpenAI dialect answered, as far as it matters for the charge."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tokenwell.core.amounts import MAX_CHARGE_TOKENS
from tokenwell.core.usage import Usage
from tokenwell.gateway.dialects import UNREADABLE, Reported

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_CHARGE_TOKENS)]
_NONE = msgspec.Raw()


class _Aside(msgspec.Struct):
    usage: msgspec.Raw = _NONE


class Completion(msgspec.Struct):
    """A completion, or a chunk of one."""

    usage: msgspec.Raw = _NONE
    choices: msgspec.Raw = _NONE
    error: msgspec.Raw = _NONE
    x_groq: _Aside | None = None

    @property
    def answer_id(self) -> str:
        """Nothing: it cannot be asked for again."""
        return ""

    @property
    def has_choices(self) -> bool:
        """Whether the model said anything in it, be it only that it ends."""
        return bool(bytes(self.choices).strip(b"[] \t\r\n")) and self.choices != b"null"

    @property
    def has_failed(self) -> bool:
        """Whether it is an error told in place of an answer."""
        return self.error is not _NONE and bytes(self.error) != b"null" and not self.has_choices

    def reported(self) -> Reported | None:
        """Return the usage it reports, None where there is none that makes sense. Groq and Moonshot tell it aside."""
        reported = None if self.usage is _NONE else usage_in(self.usage)
        if reported is None and self.x_groq is not None:
            reported = usage_in(self.x_groq.usage)
        if reported is None and b'"usage"' in bytes(self.choices):
            reported = next(filter(None, (usage_in(choice.usage) for choice in self.parsed_choices())), None)
        return reported

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it: words, reasoning and the arguments of its calls."""
        return sum(choice.text_bytes() for choice in self.parsed_choices())

    def parsed_choices(self) -> list[Choice]:
        """Return its choices, none where they are of an unknown shape."""
        if self.choices is _NONE:
            return []
        try:
            return _decode_choices(self.choices) or []
        except UNREADABLE:
            return []


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class Choice(msgspec.Struct):
    """One of the answers to a request, or what a chunk adds to it."""

    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None
    usage: msgspec.Raw = _NONE
    index: int = 0
    finish_reason: str | None = None

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it."""
        said = self.message or self.delta
        return _bytes_of(said) if said else len((self.text or "").encode())


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    """A usage, with what some providers put beside the details instead of into them."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    cached_tokens: _Count | None = None
    prompt_cache_hit_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


_decode_completion = msgspec.json.Decoder(Completion).decode
_decode_choices = msgspec.json.Decoder(list[Choice] | None).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


def parse_completion(body: bytes) -> Completion | None:
    """Return a completion or a chunk of one, None if it is no JSON object."""
    try:
        return _decode_completion(body)
    except UNREADABLE:
        return None


def usage_in(raw: msgspec.Raw) -> Reported | None:
    """Return a provider's usage object in pools that do not overlap; None where it makes no sense or counts nothing.

    Cached tokens are part of the prompt's. Reasoning tokens are part of the completion's, except where the total shows that
    they come on top of it, as some providers have it. A total alone is the prompt's.
    """
    try:
        told = _decode_usage(raw)
        raw_usage = msgspec.json.decode(raw)
    except UNREADABLE:
        return None
    completion = told.completion_tokens or 0
    prompt = max(0, (told.total_tokens or 0) - completion) if told.prompt_tokens is None else told.prompt_tokens
    within = told.prompt_tokens_details or _PromptDetails()
    cache_read = min(within.cached_tokens or told.cached_tokens or told.prompt_cache_hit_tokens or 0, prompt)
    cache_write = min(within.cache_write_tokens or 0, prompt - cache_read)
    beyond = max(0, (told.total_tokens or 0) - prompt - completion)
    details = told.completion_tokens_details or _CompletionDetails()
    reasoning = min(details.reasoning_tokens or told.reasoning_tokens or beyond, completion + beyond)
    if prompt + completion + beyond == 0:
        return None
    usage = Usage(
        input_tokens=prompt - cache_read - cache_write,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        output_tokens=completion + beyond - reasoning,
        reasoning_tokens=reasoning,
    )
    return Reported(usage, raw_usage)


def _bytes_of(said: _Said) -> int:
    # Asked of every chunk of a stream: most have a content and nothing else.
    size = len(said.content.encode()) if said.content else 0
    if reasoning := said.reasoning_content or said.reasoning:
        size += len(reasoning.encode())
    if said.refusal:
        size += len(said.refusal.encode())
    for call in said.tool_calls or ():
        if call.function is not None:
            size += len((call.function.name or "").encode()) + len((call.function.arguments or "").encode())
    return size
