"""Emergencies: the command on emergency tokens."""

from __future__ import annotations

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, command, root
from tokenwell.cli.topups import me


@root.group()
def emergency() -> None:
    """Emergency tokens: a small advance that the next grant repays."""


@command(emergency, "take")
@click.argument("organization")
@click.argument("amount")
@click.option("--note", default="", help="What people will read beside the pack.")
@click.option("--key", help="Idempotency key: repeated with the same key, no more is taken.")
def take(call: Call, organization: str, amount: str, note: str, key: str | None) -> None:
    """Advance AMOUNT tokens to an organization that is Running low or stopped, once until grants repay them.

    \b
    Examples:
      tokenwell emergency take acme 50k --note "Until Monday" --key monday
      tokenwell emergency take acme 50k --note "Until Monday" --key monday --json
    """
    with wiring.open_services(call.settings()) as suite:
        taken = suite.emergencies.take(organization, amount, note=note, key=key, by=me())
    text = f"PK-{taken.pack.number}: {taken.advanced_tokens:,} tokens, which the next grant repays."
    call.show(taken, f"{text} Balance {taken.balance_tokens:,} tokens.")
