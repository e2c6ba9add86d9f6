"""Forecasts: the command that tells when AI will stop, and what packs will forfeit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import click
import msgspec

from tokenwell import wiring
from tokenwell.cli.terminal import Call, command, root, when
from tokenwell.core.burnrate import Basis
from tokenwell.core.forecast import TOP_UP_DAYS, Forecast, Outlook

_BASES = {Basis.WEEKLY_PATTERN: "the pattern of the weeks before", Basis.MEAN: "the mean of the days before"}


@command(root, "forecast")
@click.argument("organization")
def forecast(call: Call, organization: str) -> None:
    """Tell when the balance will be Running low, when AI stops, and what packs will forfeit at their expiry.

    \b
    Examples:
      tokenwell forecast acme
      tokenwell forecast acme --json
    """
    with wiring.open_meter(call.settings()) as meter:
        meter.organization(organization)
        told = meter.forecast(organization)
    if told is None:
        call.show({"forecast": None}, "There is less than a day of use: too little to tell.")
    else:
        call.show({"forecast": _view(told)}, "\n".join(f"{name:<13} {value}" for name, value in _rows(told)))


def _rows(told: Forecast) -> Iterator[tuple[str, str]]:
    yield "Use", f"{told.tokens_per_day:,} tokens a day, by {_BASES[told.basis]}"
    yield "Running low", _range(told, "running_low_at", told.as_of)
    yield "AI stops", _range(told, "ai_stops_at", told.as_of)
    for forfeit in told.expected.forfeits:
        yield "Forfeit", f"{forfeit.tokens:,} tokens of PK-{forfeit.pack_number} on {when(forfeit.at)}"
    yield "Top-up", f"{told.suggested_tokens:,} tokens for {TOP_UP_DAYS} days"


def _range(told: Forecast, name: str, now: datetime) -> str:
    early, expected, late = (getattr(each, name) for each in (told.early, told.expected, told.late))
    if expected is None:
        return f"not within a year; at the earliest {when(early)}" if early else "not within a year"
    if expected == now:
        return "now"
    latest = when(late) if late else "more than a year from now"
    return f"{when(expected)}, in {_length(expected - now)} (between {when(early)} and {latest})"


def _length(span: timedelta) -> str:
    """Return a length of time rounded down to whole days, or to hours under two days."""
    return f"{span.days} days" if span >= timedelta(days=2) else f"{span // timedelta(hours=1)} hours"


def _view(told: Forecast) -> dict[str, Any]:
    return msgspec.structs.asdict(told) | {name: _outlook_view(getattr(told, name)) for name in ("early", "expected", "late")}


def _outlook_view(outlook: Outlook) -> dict[str, Any]:
    view = msgspec.structs.asdict(outlook)
    runway = view.pop("runway")
    del view["points"]
    return view | {"runway_seconds": None if runway is None else runway // timedelta(seconds=1)}
