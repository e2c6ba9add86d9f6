"""Rehearsals: the command that tells what the last weeks would have been under another policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from operator import itemgetter
from typing import Any

import click
import msgspec

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, parse_since, root, when
from tokenwell.core.amounts import parse_amount
from tokenwell.core.health import Lane, State, Thresholds
from tokenwell.core.rehearsal import Rehearsed
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.services import Services
from tokenwell.service.records.rehearsing import Rehearsing

PROGRESS_LINES = 100_000


@command(root, "rehearse")
@click.argument("organization")
@click.option("--warning", metavar="AMOUNT", help="The warning threshold to rehearse; else the present one.")
@click.option("--reserve", metavar="AMOUNT", help="The minimum reserve to rehearse; else the present one.")
@click.option("--lane", "lanes", multiple=True, metavar="SERVICE=AMOUNT", help="A line below which an AI service stops first.")
@click.option("--since", default="30d", show_default=True, help="Where it begins: 30d, 2027-01-31 or an instant.")
def rehearse(call: Call, organization: str, warning: str | None, reserve: str | None, lanes: tuple[str, ...], since: str) -> None:
    """Tell what the past would have been under other thresholds and lanes, beside the present ones. Nothing is changed.

    The organization's journal is decided once more: same packs, same requests. What would have been refused is left in the packs.

    \b
    Examples:
      tokenwell rehearse acme --warning 2M --reserve 500k
      tokenwell rehearse acme --reserve 1M --since 7d --json
    """

    def progress(lines: int) -> None:
        if lines % PROGRESS_LINES == 0:
            click.echo(f"{organization}: {lines:,} lines decided", err=True)

    with wiring.open_meter(call.settings()) as meter:
        balance = meter.balance(organization)
        now = Thresholds(balance.warning_tokens, balance.reserve_tokens)
        asked = Thresholds(
            now.warning_tokens if warning is None else parse_amount(warning, field="--warning", least=0),
            now.reserve_tokens if reserve is None else parse_amount(reserve, field="--reserve", least=0),
        )
        rehearsing = Rehearsing(meter.engine, platform=meter.thresholds, clock=meter.clock)
        begun = parse_since(since, now=meter.clock())
        services = Services(meter)
        kept = _present_lanes(services, organization)
        given = dict(_lane(services, organization, word) for word in lanes)
        present = rehearsing.rehearse(organization, since=begun, thresholds=now, lanes=kept, progress=progress)
        other = rehearsing.rehearse(organization, since=begun, thresholds=asked, lanes=kept | given, progress=progress)
    answer = {"present": _view(now, present), "rehearsed": _view(asked, other)}
    call.show(answer, "\n".join([_table(now, present, asked, other), *_crossings(other)]))


def _present_lanes(services: Services, organization: str) -> dict[str, Lane]:
    found: dict[str, Lane] = {}
    cursor: str | None = None
    while True:
        page = services.list(organization, cursor=cursor)
        found |= {
            line.service.id: Lane(line.service.reserve_tokens, line.service.lane)
            for line in page.items
            if line.service.reserve_tokens is not None
        }
        cursor = page.next_cursor
        if cursor is None:
            return found


def _lane(services: Services, organization: str, word: str) -> tuple[str, Lane]:
    service, _, amount = word.partition("=")
    if not amount:
        raise RequestInvalid("--lane is a service and an amount, such as svc_1=2M", field="--lane")
    return services.get(organization, service).service.id, Lane(parse_amount(amount, field="--lane", least=0))


_ROWS: dict[str, Callable[[Rehearsed], str]] = {
    "Requests": lambda told: f"{told.requests:,}",
    "Refused": lambda told: f"{told.refused_requests:,}",
    "Tokens of these": lambda told: f"{told.refused_tokens:,}",
    "First refused": lambda told: "none" if told.first_refused_at is None else when(told.first_refused_at),
    "Normal": lambda told: _share(told, State.NORMAL),
    "Running low": lambda told: _share(told, State.RUNNING_LOW),
    "AI stopped": lambda told: _share(told, State.AI_STOPPED),
    "Forfeited": lambda told: f"{told.forfeited_tokens:,}",
    "Balance now": lambda told: f"{told.balance_tokens:,}",
}


def _table(now: Thresholds, present: Rehearsed, asked: Thresholds, other: Rehearsed) -> str:
    rows = [
        ("Warning threshold", f"{now.warning_tokens:,}", f"{asked.warning_tokens:,}"),
        ("Minimum reserve", f"{now.reserve_tokens:,}", f"{asked.reserve_tokens:,}"),
        *((name, told(present), told(other)) for name, told in _ROWS.items()),
    ]
    names = (f"Since {when(present.since)}", "Present", "Rehearsed")
    return Table({name: itemgetter(place) for place, name in enumerate(names)}, right=names[1:]).render(rows)


def _share(told: Rehearsed, state: State) -> str:
    spent = told.time_in_state[state]
    return f"{spent // timedelta(hours=1):,} h ({spent / (told.until - told.since):.1%})"


def _crossings(told: Rehearsed) -> Iterator[str]:
    for crossing in told.crossings[:20]:
        yield f"{when(crossing.at)}  {crossing.state.value.replace('_', ' ')} at {crossing.balance_tokens:,} tokens"
    if told.crossing_count > 20:
        yield f"and {told.crossing_count - 20:,} more changes"


def _view(thresholds: Thresholds, told: Rehearsed) -> dict[str, Any]:
    view = msgspec.structs.asdict(told) | msgspec.structs.asdict(thresholds)
    view["seconds_in_state"] = {state.value: spent // timedelta(seconds=1) for state, spent in view.pop("time_in_state").items()}
    return view
