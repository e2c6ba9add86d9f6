"""Purchases: the commands on what the platform sells, and on what was bought."""

from __future__ import annotations

from typing import Any

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, paged, root, when
from tokenwell.cli.topups import me
from tokenwell.core.money import parse_price, written_price
from tokenwell.service.supply.purchases import PurchaseStatus


@root.group()
def offer() -> None:
    """Offers: the packs that organizations can buy, paid through Stripe."""


@command(offer, "create")
@click.argument("name")
@click.argument("amount")
@click.option("--price", required=True, help="What it costs: 49 or 49.00.")
@click.option("--currency", required=True, help="Three letters, such as EUR.")
@click.option("--valid-days", type=int, help="How long a pack is valid from when it is paid; else for ever.")
@click.option("--key", help="Idempotency key: repeated with the same key, no other offer is made.")
def create(call: Call, name: str, amount: str, price: str, currency: str, valid_days: int | None, key: str | None) -> None:
    """Sell packs of AMOUNT tokens under a NAME. An offer does not change: withdraw it and make another.

    \b
    Examples:
      tokenwell offer create "Five million tokens" 5M --price 49 --currency EUR --valid-days 365
      tokenwell offer create "A million tokens" 1M --price 12.50 --currency USD --key spring --json
    """
    minor = parse_price(price, currency)
    with wiring.open_services(call.settings()) as suite:
        made = suite.offers.create(name, amount, price_minor=minor, currency=currency, valid_days=valid_days, key=key, by=me())
    call.show(made, f"{made.id}: {made.amount_tokens:,} tokens for {written_price(made.price_minor, made.currency)}.")


@command(offer, "list")
@click.option("--withdrawn", is_flag=True, help="Those that are sold no more, too.")
@paged
def list_offers(call: Call, withdrawn: bool, **page: Any) -> None:
    """List offers, the latest first.

    \b
    Examples:
      tokenwell offer list
      tokenwell offer list --withdrawn --json
    """
    table = Table(
        {
            "Offer": lambda each: each.id,
            "Name": lambda each: each.name,
            "Tokens": lambda each: f"{each.amount_tokens:,}",
            "Price": lambda each: written_price(each.price_minor, each.currency),
            "Valid": lambda each: "for ever" if each.valid_days is None else f"{each.valid_days} days",
            "Sold": lambda each: "no more" if each.withdrawn_at else "yes",
        },
        right=("Tokens", "Price"),
    )
    with wiring.open_services(call.settings()) as suite:
        call.show_list(lambda **asked: suite.offers.list(with_withdrawn=withdrawn, **asked), table, **page)


@command(offer, "withdraw")
@click.argument("offer_id", metavar="OFFER")
def withdraw(call: Call, offer_id: str) -> None:
    """Sell an offer no more. What is being bought already stays so.

    \b
    Examples:
      tokenwell offer withdraw off_06f5p5p5p5p5p5p5p5p5p5p5p5
    """
    with wiring.open_services(call.settings()) as suite:
        call.show(suite.offers.withdraw(offer_id, by=me()), f"Withdrawn {offer_id}.")


@root.group()
def purchase() -> None:
    """Purchases: what organizations bought."""


@command(purchase, "list")
@click.argument("organization", required=False)
@click.option("--status", type=click.Choice([status.value for status in PurchaseStatus]), help="Only purchases of this status.")
@paged
def list_purchases(call: Call, organization: str | None, status: str | None, **page: Any) -> None:
    """List purchases, the latest first: those of one organization, or of all.

    \b
    Examples:
      tokenwell purchase list
      tokenwell purchase list acme --status unresolved --json
    """
    statuses = tuple(PurchaseStatus) if status is None else (PurchaseStatus(status),)
    table = Table(
        {
            "Purchase": lambda each: each.id,
            "Organization": lambda each: each.organization_id,
            "Tokens": lambda each: f"{each.amount_tokens:,}",
            "Price": lambda each: written_price(each.price_minor, each.currency),
            "Status": lambda each: each.status.value.capitalize(),
            "Started": lambda each: when(each.started_at),
            "By": lambda each: each.started_by.name,
        },
        right=("Tokens", "Price"),
    )
    with wiring.open_services(call.settings()) as suite:
        call.show_list(lambda **asked: suite.purchases.list(organization, statuses=statuses, **asked), table, **page)
