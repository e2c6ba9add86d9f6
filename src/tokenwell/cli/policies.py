"""Policies: the command on what an organization's gateway does."""

from __future__ import annotations

import click
import msgspec

from tokenwell import wiring
from tokenwell.cli.accounts import org
from tokenwell.cli.terminal import Call, command
from tokenwell.cli.topups import me
from tokenwell.service.policies import Policies, WhenShort

_TOLD = {
    WhenShort.REFUSE: "A request that the balance does not afford is refused.",
    WhenShort.CLAMP: "A request that the balance does not afford is limited to the output that it does.",
    WhenShort.HOLD_AVAILABLE: "For a request that the balance does not afford what is available is held.",
}


@command(org, "policy")
@click.argument("organization")
@click.option(
    "--when-short",
    type=click.Choice([each.value for each in WhenShort]),
    help="What to do where less is available than a request may come to.",
)
def policy(call: Call, organization: str, when_short: str | None) -> None:
    """Show the policy of an organization's gateway, or set it.

    \b
    Examples:
      tokenwell org policy acme
      tokenwell org policy acme --when-short clamp
    """
    with wiring.open_meter(call.settings()) as meter:
        policies = Policies(meter.engine, meter.clock)
        found = policies.of(organization) if when_short is None else policies.set(organization, when_short=when_short, by=me())
    call.show(msgspec.structs.asdict(found), _TOLD[found.when_short])
