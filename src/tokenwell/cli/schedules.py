"""Schedules: the commands on packs that are granted again and again."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, paged, root, when
from tokenwell.cli.topups import me
from tokenwell.errors import RequestInvalid
from tokenwell.service.ports import system_clock
from tokenwell.service.supply.schedules import Schedule, Unit

_organization = click.argument("organization")
_schedule = click.argument("schedule_id", metavar="SCHEDULE")


@root.group()
def schedule() -> None:
    """Recurring grants: packs that are granted every so many days, weeks or months."""


@command(schedule, "create")
@_organization
@click.argument("amount")
@click.option("--every", type=int, default=1, show_default=True, help="Every how many days, weeks or months.")
@click.option("--unit", type=click.Choice([unit.value for unit in Unit]), default="month", show_default=True)
@click.option("--from", "first_day", metavar="DAY", help="The first day, 2027-01-31; else today.")
@click.option("--until", "last_day", metavar="DAY", help="The last day; else it goes on until it is ended.")
@click.option("--at", "at_text", default="00:00", show_default=True, metavar="HH:MM", help="The time of day.")
@click.option("--zone", default="UTC", show_default=True, help="The time zone of days and times.")
@click.option("--valid-days", type=int, help="How long a pack is valid; else for ever. More than the period rolls over.")
@click.option("--priority", type=int, default=0, show_default=True, help="A lower one is spent first.")
@click.option("--note", default="", help="What people will read beside each pack.")
@click.option("--key", help="Idempotency key: repeated with the same key, the command is carried out once.")
def create(
    call: Call, organization: str, amount: str, first_day: str | None, last_day: str | None, at_text: str, **words: Any
) -> None:
    """Grant a pack again and again. A month that has no 31st takes its last day.

    \b
    Examples:
      tokenwell schedule create acme 5M --valid-days 31 --note "Monthly plan"
      tokenwell schedule create acme 250k --unit week --every 2 --from 2099-01-05 --at 09:00 --zone Europe/Berlin
    """
    days: dict[str, Any] = {
        "first_day": system_clock().date() if first_day is None else _day(first_day, "--from"),
        "last_day": None if last_day is None else _day(last_day, "--until"),
    }
    with wiring.open_services(call.settings()) as suite:
        made = suite.schedules.create(organization, amount, **days, at=_time(at_text), **words, by=me())
    call.show(made, f"Schedule {made.id}: {_words(made)}, next on {when(made.next_at)}.")


@command(schedule, "list")
@click.argument("organization", required=False)
@paged
def list_schedules(call: Call, organization: str | None, **page: Any) -> None:
    """List recurring grants, the latest first: those of one organization, or of all.

    \b
    Examples:
      tokenwell schedule list
      tokenwell schedule list acme --json
    """
    table = Table(
        {
            "Schedule": lambda each: each.id,
            "Organization": lambda each: each.organization_id,
            "Grants": _words,
            "Next": lambda each: "paused" if each.paused_at else when(each.next_at) if each.next_at else "ended",
            "Granted": lambda each: str(each.granted),
            "Note": lambda each: each.note,
        },
        right=("Granted",),
    )
    with wiring.open_services(call.settings()) as suite:
        call.show_list(lambda **where: suite.schedules.list(organization, **where), table, **page)


@command(schedule, "change")
@_organization
@_schedule
@click.option("--amount", help="How many tokens the packs to come have.")
@click.option("--until", "last_day", metavar="DAY", help="Another last day.")
@click.option("--valid-days", type=int, help="How long the packs to come are valid.")
@click.option("--note", help="What people will read beside each pack.")
def change(
    call: Call,
    organization: str,
    schedule_id: str,
    amount: str | None,
    last_day: str | None,
    valid_days: int | None,
    note: str | None,
) -> None:
    """Change what the occurrences to come grant, and until when. What is left out stays; the rhythm always does.

    \b
    Examples:
      tokenwell schedule change acme sch_06f5p5p5p5p5p5p5p5p5p5p5p5 --amount 6M --note "Larger plan"
    """
    with wiring.open_services(call.settings()) as suite:
        known = suite.schedules.get(organization, schedule_id)
        changed = suite.schedules.change(
            organization,
            schedule_id,
            amount=known.amount_tokens if amount is None else amount,
            last_day=known.recurrence.last_day if last_day is None else _day(last_day, "--until"),
            valid_days=known.valid_days if valid_days is None else valid_days,
            priority=known.priority,
            note=known.note if note is None else note,
            by=me(),
        )
    call.show(changed, f"Changed {schedule_id}: {_words(changed)}.")


@command(schedule, "pause")
@_organization
@_schedule
def pause(call: Call, organization: str, schedule_id: str) -> None:
    """Grant nothing until it is resumed.

    \b
    Examples:
      tokenwell schedule pause acme sch_06f5p5p5p5p5p5p5p5p5p5p5p5
    """
    with wiring.open_services(call.settings()) as suite:
        call.show(suite.schedules.pause(organization, schedule_id, by=me()), f"Paused {schedule_id}.")


@command(schedule, "resume")
@_organization
@_schedule
def resume(call: Call, organization: str, schedule_id: str) -> None:
    """Go on with a paused schedule. What was due meanwhile is left out.

    \b
    Examples:
      tokenwell schedule resume acme sch_06f5p5p5p5p5p5p5p5p5p5p5p5
    """
    with wiring.open_services(call.settings()) as suite:
        resumed = suite.schedules.resume(organization, schedule_id, by=me())
    call.show(resumed, f"Resumed {schedule_id}: next on {when(resumed.next_at)}.")


@command(schedule, "end")
@_organization
@_schedule
def end(call: Call, organization: str, schedule_id: str) -> None:
    """End a schedule for good. Packs that were granted stay.

    \b
    Examples:
      tokenwell schedule end acme sch_06f5p5p5p5p5p5p5p5p5p5p5p5
    """
    with wiring.open_services(call.settings()) as suite:
        call.show(suite.schedules.end(organization, schedule_id, by=me()), f"Ended {schedule_id}.")


def _words(made: Schedule) -> str:
    often = made.recurrence
    period = often.unit.value if often.every == 1 else f"{often.every} {often.unit.value}s"
    valid = "" if made.valid_days is None else f", valid {made.valid_days} days"
    return f"{made.amount_tokens:,} every {period} at {often.at:%H:%M} {made.zone}{valid}"


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RequestInvalid(f"{option} must be a day such as 2027-01-31", field=option) from None


def _time(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise RequestInvalid("--at must be a time of day such as 09:00", field="--at") from None
