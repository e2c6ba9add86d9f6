"""Rates: the commands on what models cost."""

from __future__ import annotations

import re

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, root, when
from tokenwell.cli.topups import me
from tokenwell.core.instants import parse_instant
from tokenwell.core.rates import ANY_MODEL, MILLION, Rate
from tokenwell.errors import AmountInvalid
from tokenwell.service.ports import system_clock
from tokenwell.service.ratecard import load_card, shipped_card

_RATE = re.compile(r"(\d{1,5})(?:\.(\d{1,6}))?")


@root.group()
def rates() -> None:
    """Rates: how many tokens of a pack a token of each model costs, from which day on."""


def _decimal(millionths: int) -> str:
    whole, part = divmod(millionths, MILLION)
    return f"{whole:,}.{part:06}".rstrip("0").rstrip(".")


def _parse_rate(text: str | None, *, otherwise: int, option: str) -> int:
    """Return a rate in millionths from `2.5`, exactly. Raises AmountInvalid."""
    if text is None:
        return otherwise
    found = _RATE.fullmatch(text)
    if found is None:
        raise AmountInvalid(f"{option} must be a number such as 2.5, with at most six digits after the point", field=option)
    return int(found[1]) * MILLION + int((found[2] or "").ljust(6, "0"))


_TABLE = Table(
    {
        "Model": lambda rate: rate.model,
        "From": lambda rate: when(rate.effective_at),
        "Input": lambda rate: _decimal(rate.input_millionths),
        "Cache read": lambda rate: _decimal(rate.cache_read_millionths),
        "Cache write": lambda rate: _decimal(rate.cache_write_millionths),
        "Output": lambda rate: _decimal(rate.output_millionths),
        "Reasoning": lambda rate: _decimal(rate.reasoning_millionths),
    },
    right=("Input", "Cache read", "Cache write", "Output", "Reasoning"),
)


@command(rates, "list")
@click.option("--model", help="Only the rates of this model.")
@click.option("--in-force", is_flag=True, help="Only the rates that count now.")
def list_rates(call: Call, model: str | None, in_force: bool) -> None:
    """List every rate ever set, by model and date.

    A model that is not listed costs one to one, unless TOKENWELL_UNRATED_MODELS says otherwise.

    \b
    Examples:
      tokenwell rates list
      tokenwell rates list --in-force --json
    """
    with wiring.open_meter(call.settings()) as meter:
        card = meter.rates()
    found = [rate for rate in card.rates if model is None or rate.model == model]
    if in_force:
        now = system_clock()
        found = [rate for rate in found if rate is card.rate_for(rate.model, now)]
    call.show({"items": found}, _TABLE.render(found) if found else "No rates are set: every model costs one to one.")


@command(rates, "set")
@click.argument("model")
@click.option("--input", "input_rate", required=True, metavar="RATE", help="Tokens of a pack for each input token, such as 2.5.")
@click.option("--output", "output_rate", required=True, metavar="RATE", help="For each output token.")
@click.option("--cache-read", metavar="RATE", help="For each input token read from the provider's cache; else as --input.")
@click.option("--cache-write", metavar="RATE", help="For each input token written to it; else as --input.")
@click.option("--reasoning", metavar="RATE", help="For each token of reasoning; else as --output.")
@click.option("--from", "start", metavar="WHEN", help="A date or an instant from which it counts; else now.")
def set_rate(
    call: Call,
    model: str,
    *,
    input_rate: str,
    output_rate: str,
    cache_read: str | None,
    cache_write: str | None,
    reasoning: str | None,
    start: str | None,
) -> None:
    """Set what a model costs from a day on. `*` stands for every model without a rate, where TOKENWELL_UNRATED_MODELS is `default`.

    \b
    Examples:
      tokenwell rates set gpt-5-mini --input 0.25 --cache-read 0.025 --output 2
      tokenwell rates set "*" --input 3 --output 15 --from 2027-01-01
    """
    given = _parse_rate(input_rate, otherwise=0, option="--input")
    produced = _parse_rate(output_rate, otherwise=0, option="--output")
    rate = Rate(
        model=model,
        effective_at=system_clock() if start is None else parse_instant(start, field="--from"),
        input_millionths=given,
        cache_read_millionths=_parse_rate(cache_read, otherwise=given, option="--cache-read"),
        cache_write_millionths=_parse_rate(cache_write, otherwise=given, option="--cache-write"),
        output_millionths=produced,
        reasoning_millionths=_parse_rate(reasoning, otherwise=produced, option="--reasoning"),
    )
    with wiring.open_meter(call.settings()) as meter:
        meter.set_rate(rate, by=me())
    what = "Every model without a rate" if model == ANY_MODEL else model
    costs = f"{_decimal(given)} for input and {_decimal(produced)} for output"
    call.show(rate, f"{what} costs {costs} from {when(rate.effective_at)} on.")


@command(rates, "import")
@click.argument("file", required=False)
@click.option("--dry-run", is_flag=True, help="Show what would be added, and add nothing.")
def import_rates(call: Call, file: str | None, dry_run: bool) -> None:
    """Add the rates of a file, or without FILE those of the default rate card that ships with Tokenwell.

    Review the card first: prices change. A rate that is there already, for the same model and day, stays as it is.

    \b
    Examples:
      tokenwell rates import --dry-run
      tokenwell rates import
    """
    card = shipped_card() if file is None else load_card(file)
    given = card.all_rates()
    with wiring.open_meter(call.settings()) as meter:
        if dry_run:
            known = {(rate.model, rate.effective_at) for rate in meter.rates().rates}
            added = [rate for rate in given if (rate.model, rate.effective_at) not in known]
        else:
            added = meter.import_rates(given, by=me())
    kept = len(given) - len(added)
    end = f"{len(added)} rates {'would be' if dry_run else 'were'} added, {kept} stay as they are. Relative to {card.base_model}."
    answer = {"base_model": card.base_model, "added": added, "kept": kept, "dry_run": dry_run}
    call.show(answer, f"{_TABLE.render(added)}\n\n{end}" if added else end)
