"""Codes: the commands on redemption codes."""

from __future__ import annotations

from typing import Any

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, paged, parse_expiry, root, when
from tokenwell.cli.topups import me
from tokenwell.service.ports import system_clock


@root.group()
def code() -> None:
    """Redemption codes: made in batches, each turned into a pack once."""


@command(code, "create")
@click.argument("amount")
@click.argument("count", type=int)
@click.option("--valid-days", type=int, help="How long a pack is valid from when its code is redeemed; else for ever.")
@click.option("--expires", default="never", show_default=True, metavar="WHEN", help="Until when codes can be redeemed.")
@click.option("--priority", type=int, default=0, show_default=True, help="A lower one is spent first.")
@click.option("--note", default="", help="What people will read beside each pack.")
@click.option("--key", help="Idempotency key: repeated with the same key, no more codes are made, and none is shown.")
def create(call: Call, amount: str, count: int, expires: str, **words: Any) -> None:
    """Make COUNT codes worth AMOUNT tokens each. They are printed one a line, and never shown again.

    \b
    Examples:
      tokenwell code create 5M 3 --valid-days 365 --note "Spring fair"
      tokenwell code create 250k 2 --expires 180d --json
    """
    expires_at = parse_expiry(expires, now=system_clock())
    with wiring.open_services(call.settings()) as suite:
        made = suite.codes.create(amount, count, expires_at=expires_at, **words, by=me())
    call.show(made, "\n".join(made.codes) or f"Batch {made.batch.id} was made before with this key.")


@command(code, "list")
@paged
def list_batches(call: Call, **page: Any) -> None:
    """List batches of codes, the latest first.

    \b
    Examples:
      tokenwell code list
    """
    table = Table(
        {
            "Batch": lambda each: each.id,
            "Amount": lambda each: f"{each.amount_tokens:,}",
            "Codes": lambda each: str(each.codes),
            "Redeemed": lambda each: str(each.redeemed),
            "Until": lambda each: "revoked" if each.revoked_at else when(each.expires_at),
            "Note": lambda each: each.note,
        },
        right=("Amount", "Codes", "Redeemed"),
    )
    with wiring.open_services(call.settings()) as suite:
        call.show_list(suite.codes.list, table, **page)


@command(code, "revoke")
@click.argument("batch")
def revoke(call: Call, batch: str) -> None:
    """Let nobody redeem what is left of a batch. Packs that were granted stay.

    \b
    Examples:
      tokenwell code revoke bat_06f5p5p5p5p5p5p5p5p5p5p5p5
    """
    with wiring.open_services(call.settings()) as suite:
        call.show(suite.codes.revoke(batch, by=me()), f"Revoked {batch}.")


@command(code, "redeem")
@click.argument("organization")
@click.argument("typed", metavar="CODE")
def redeem(call: Call, organization: str, typed: str) -> None:
    """Grant an organization the pack of a code.

    \b
    Examples:
      tokenwell code redeem acme 22222-22222-22222-22222
    """
    with wiring.open_services(call.settings()) as suite:
        granted = suite.codes.redeem(organization, typed, by=me())
    pack = granted.pack
    call.show(granted, f"Redeemed: PK-{pack.number}, {pack.total_tokens:,} tokens, expires {when(pack.expires_at)}.")
