"""Embedding: the commands that make an address of a packs page for another product, and say who may frame it."""

from __future__ import annotations

from datetime import timedelta

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, command, root
from tokenwell.cli.topups import me

_organization = click.argument("organization")


@root.group()
def embed() -> None:
    """The packs page in another product: signed addresses, and the origins that may frame them."""


@command(embed, "link")
@_organization
@click.option("--minutes", type=click.IntRange(1, 1_440), default=15, show_default=True, help="How long the address opens.")
@click.option("--theme", type=click.Choice(["light", "dark"]), help="Else the reader's own.")
@click.option("--language", type=click.Choice(["en", "zh"]), help="Else the reader's own.")
@click.option("--zone", default="", help="The time zone, such as Asia/Shanghai; else UTC.")
def link(call: Call, organization: str, minutes: int, theme: str | None, language: str | None, zone: str) -> None:
    """Make an address of the packs page that opens without signing in, read-only, for some minutes.

    \b
    Examples:
      tokenwell embed link acme
      tokenwell embed link acme --minutes 5 --theme dark --language zh --zone Asia/Shanghai
    """
    settings = call.settings()
    with wiring.open_services(settings) as suite:
        path = suite.embedding.link(
            organization, ttl=timedelta(minutes=minutes), theme=theme or "", language=language or "", zone=zone
        )
    address = (settings.public_url.rstrip("/") or f"http://{settings.host}:{settings.port}") + path
    call.show({"address": address, "minutes": minutes}, address)


@command(embed, "allow")
@_organization
@click.argument("origins", nargs=-1)
def allow(call: Call, organization: str, origins: tuple[str, ...]) -> None:
    """Set the ORIGINS whose pages may frame the packs page; none lets nobody.

    \b
    Examples:
      tokenwell embed allow acme https://app.example.com
      tokenwell embed allow acme
    """
    with wiring.open_services(call.settings()) as suite:
        allowed = suite.embedding.set_origins(organization, origins, by=me())
    call.show({"origins": allowed}, "May frame it: " + (", ".join(allowed) or "nobody"))
