"""Policies: the command on what an organization's gateway does."""

from __future__ import annotations

import click
import msgspec

from tokenwell import wiring
from tokenwell.cli.accounts import org
from tokenwell.cli.terminal import Call, command
from tokenwell.cli.topups import me
from tokenwell.service.policies import Policies, Policy, WhenAway, WhenShort

_SHORT = {
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
@click.option(
    "--when-away",
    type=click.Choice([each.value for each in WhenAway]),
    help="What to do while the database cannot be reached.",
)
@click.option("--away-seconds", metavar="SECONDS", help="For how long at most requests are served then.")
@click.option("--away-tokens", metavar="AMOUNT", help="How many tokens may wait to be charged then.")
def policy(
    call: Call,
    organization: str,
    *,
    when_short: str | None,
    when_away: str | None,
    away_seconds: str | None,
    away_tokens: str | None,
) -> None:
    """Show the policy of an organization's gateway, or set it. What is not given stays as it is.

    \b
    Examples:
      tokenwell org policy acme
      tokenwell org policy acme --when-short clamp
      tokenwell org policy acme --when-away serve --away-seconds 900 --away-tokens 200k
    """
    given = {"when_short": when_short, "when_away": when_away, "away_seconds": away_seconds, "away_tokens": away_tokens}
    with wiring.open_meter(call.settings()) as meter:
        policies = Policies(meter.engine, meter.clock)
        is_set = any(value is not None for value in given.values())
        found = policies.set(organization, **given, by=me()) if is_set else policies.of(organization)
    call.show(msgspec.structs.asdict(found), f"{_SHORT[found.when_short]}\n{_away(found)}")


def _away(policy: Policy) -> str:
    if policy.when_away is WhenAway.REFUSE:
        return "While the database cannot be reached, requests are refused."
    bounds = f"for {policy.away_seconds:,} seconds at most, until {policy.away_tokens:,} tokens wait to be charged"
    return f"While the database cannot be reached, requests are served {bounds}."
