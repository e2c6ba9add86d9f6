"""Top-ups: the commands on requests for tokens."""

from __future__ import annotations

import getpass
from typing import Any

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, paged, parse_expiry, root, when
from tokenwell.core.happenings import Actor, ActorKind
from tokenwell.errors import TopupNotFound
from tokenwell.service.ports import system_clock
from tokenwell.service.suite import Suite
from tokenwell.service.supply.topups import Topup, TopupStatus

_organization = click.argument("organization")
_request = click.option("--request", "topup_id", metavar="ID", help="Which request; else the one that is open.")


def me() -> Actor:
    """Return who runs this command line."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        name = ""
    return Actor(kind=ActorKind.COMMAND_LINE, name=name)


@root.group()
def topup() -> None:
    """Requests for tokens: asked for by an organization, approved or declined by the platform."""


@command(topup, "request")
@_organization
@click.argument("amount", required=False)
@click.option("--note", default="", help="What it is for.")
def request(call: Call, organization: str, amount: str | None, note: str) -> None:
    """Ask for AMOUNT tokens, or for what the forecast suggests. While a request is open, it gives that one.

    \b
    Examples:
      tokenwell topup request acme 5M --note "Black Friday"
      tokenwell topup request acme
    """
    with wiring.open_services(call.settings()) as suite:
        asked = suite.topups.ask(organization, amount, note=note, by=me())
    call.show(asked, f"Request {asked.id} for {asked.amount_tokens:,} tokens is {asked.status.value}.")


@command(topup, "list")
@click.argument("organization", required=False)
@click.option("--status", type=click.Choice([status.value for status in TopupStatus]), help="Only requests of this status.")
@paged
def list_topups(call: Call, organization: str | None, status: str | None, **page: Any) -> None:
    """List requests for tokens, the latest first: those of one organization, or of all.

    \b
    Examples:
      tokenwell topup list
      tokenwell topup list acme --status open --json
    """
    table = Table(
        {
            "Request": lambda each: each.id,
            "Organization": lambda each: each.organization_id,
            "Status": lambda each: each.status.value.capitalize(),
            "Amount": lambda each: f"{each.amount_tokens:,}",
            "Asked": lambda each: when(each.asked_at),
            "By": lambda each: each.asked_by.name,
            "Note": lambda each: each.reason or each.note,
        },
        right=("Amount",),
    )
    statuses = tuple(TopupStatus) if status is None else (TopupStatus(status),)
    with wiring.open_services(call.settings()) as suite:
        call.show_list(lambda **where: suite.topups.list(organization, statuses=statuses, **where), table, **page)


@command(topup, "approve")
@_organization
@_request
@click.option("--amount", metavar="AMOUNT", help="How many tokens to grant; else what was asked for.")
@click.option("--expires", default="never", show_default=True, metavar="WHEN", help="When the pack expires, as for grant.")
@click.option("--priority", type=int, default=0, show_default=True, help="A lower one is spent first.")
@click.option("--note", help="What people will read beside the pack; else the note of the request.")
def approve(
    call: Call, organization: str, topup_id: str | None, amount: str | None, expires: str, priority: int, note: str | None
) -> None:
    """Grant the pack that was asked for, which closes the request.

    \b
    Examples:
      tokenwell topup approve acme --amount 6M --expires 90d
    """
    expires_at = parse_expiry(expires, now=system_clock())
    with wiring.open_services(call.settings()) as suite:
        asked = _find(suite, organization, topup_id)
        terms: dict[str, Any] = {"amount": amount, "expires_at": expires_at, "priority": priority, "note": note}
        approved = suite.topups.approve(organization, asked.id, **terms, by=me())
    pack = approved.granted.pack
    text = f"Approved {asked.id}: PK-{pack.number}, {pack.total_tokens:,} tokens, expires {when(pack.expires_at)}."
    call.show(approved, f"{text} Balance {approved.granted.balance_tokens:,} tokens.")


@command(topup, "decline")
@_organization
@_request
@click.option("--reason", required=True, help="Why; the organization reads it.")
def decline(call: Call, organization: str, topup_id: str | None, reason: str) -> None:
    """Decline a request, saying why.

    \b
    Examples:
      tokenwell topup decline acme --reason "The budget of this quarter is used up"
    """
    with wiring.open_services(call.settings()) as suite:
        declined = suite.topups.decline(organization, _find(suite, organization, topup_id).id, reason=reason, by=me())
    call.show(declined, f"Declined {declined.id}: {declined.reason}")


@command(topup, "cancel")
@_organization
@_request
def cancel(call: Call, organization: str, topup_id: str | None) -> None:
    """Take a request back.

    \b
    Examples:
      tokenwell topup cancel acme
    """
    with wiring.open_services(call.settings()) as suite:
        cancelled = suite.topups.cancel(organization, _find(suite, organization, topup_id).id, by=me(), is_administrator=True)
    call.show(cancelled, f"Cancelled {cancelled.id}.")


def _find(suite: Suite, organization: str, topup_id: str | None) -> Topup:
    """Return the request that is named, else the open one. Raises TopupNotFound."""
    if topup_id is not None:
        return suite.topups.get(organization, topup_id)
    suite.meter.organization(organization)
    waiting = suite.topups.open_one(organization)
    if waiting is None:
        raise TopupNotFound("the organization has no open request", organization_id=organization)
    return waiting
