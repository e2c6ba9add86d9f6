"""The rate card: a file of dated rates. One ships with Tokenwell; an operator's own has the same form."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, time
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec

from tokenwell.core.rates import MILLION, Rate
from tokenwell.errors import RequestInvalid

_Millionths = Annotated[int, msgspec.Meta(ge=0, le=10_000 * MILLION)]


class CardEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What some models cost from a day on, in millionths of a pack's token, and where that was read."""

    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    input: _Millionths
    output: _Millionths
    cache_read: _Millionths | None = None
    cache_write: _Millionths | None = None
    reasoning: _Millionths | None = None
    effective_at: date
    source: Annotated[str, msgspec.Meta(min_length=1)]
    seen: date

    def rates(self) -> list[Rate]:
        """Return the rate of each of its models."""
        return [
            Rate(
                model=model,
                effective_at=datetime.combine(self.effective_at, time(), tzinfo=UTC),
                input_millionths=self.input,
                cache_read_millionths=self.input if self.cache_read is None else self.cache_read,
                cache_write_millionths=self.input if self.cache_write is None else self.cache_write,
                output_millionths=self.output,
                reasoning_millionths=self.output if self.reasoning is None else self.reasoning,
            )
            for model in self.models
        ]


class CardFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of rates: one token of a pack is one input token of the base model."""

    base_model: str
    rates: tuple[CardEntry, ...]

    def all_rates(self) -> list[Rate]:
        """Return every rate in it."""
        return [rate for entry in self.rates for rate in entry.rates()]


def shipped_card() -> CardFile:
    """Return the default rate card that ships with Tokenwell."""
    file = files("tokenwell.service") / "data" / "rates.toml"
    return parse_card(file.read_text(encoding="utf-8"), name="the default rate card")


def load_card(path: str) -> CardFile:
    """Return a rate card from a file. Raises RequestInvalid that says what is wrong with it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestInvalid(f"{path} cannot be read ({type(error).__name__})", field="file") from None
    return parse_card(text, name=path)


def parse_card(text: str, *, name: str) -> CardFile:
    """Return a rate card from its text. Raises RequestInvalid that says what is wrong with it."""
    try:
        card = msgspec.convert(tomllib.loads(text), CardFile)
        rates = card.all_rates()
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise RequestInvalid(f"{name}: {error}", field="file") from None
    seen = set()
    for rate in rates:
        if (rate.model, rate.effective_at) in seen:
            raise RequestInvalid(f"{name}: {rate.model} has two rates from {rate.effective_at:%Y-%m-%d} on", field="file")
        seen.add((rate.model, rate.effective_at))
    return card
