"""Disputes and reconciliation: the commands on what somebody doubts, and on what a provider says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tokenwell import wiring
from tokenwell.cli.terminal import Call, Table, command, paged, root, when
from tokenwell.cli.topups import me
from tokenwell.errors import RequestInvalid
from tokenwell.service.records.disputes import Dispute, DisputeStatus

_organization = click.argument("organization")
_dispute = click.argument("dispute_id", metavar="DISPUTE")


@root.group()
def dispute() -> None:
    """Disputes: lines of the ledger that an organization doubts."""


@command(dispute, "open")
@_organization
@click.argument("request_id", metavar="REQUEST")
@click.option("--part", type=int, default=1, show_default=True, help="Which line of a request that drew on several packs.")
@click.option("--note", required=True, help="What is doubted.")
def open_dispute(call: Call, organization: str, request_id: str, part: int, note: str) -> None:
    """Dispute a line of the ledger. A line that is disputed already gives that dispute.

    \b
    Examples:
      tokenwell dispute open acme demo-9 --note "The reply was empty"
    """
    with wiring.open_services(call.settings()) as suite:
        _show(call, suite.disputes.open(organization, request_id, part=part, note=note, by=me()))


@command(dispute, "list")
@click.argument("organization", required=False)
@click.option("--status", type=click.Choice([status.value for status in DisputeStatus]), help="Only disputes of this status.")
@paged
def list_disputes(call: Call, organization: str | None, status: str | None, **page: Any) -> None:
    """List disputes, the latest first: those of one organization, or of all.

    \b
    Examples:
      tokenwell dispute list --status open
      tokenwell dispute list acme --json
    """
    table = Table(
        {
            "Dispute": lambda each: each.id,
            "Organization": lambda each: each.organization_id,
            "Request": lambda each: each.request_id,
            "Amount": lambda each: f"{each.amount_tokens:,}",
            "Status": lambda each: each.status.value.capitalize(),
            "Opened": lambda each: when(each.opened_at),
            "Note": lambda each: each.answer or each.note,
        },
        right=("Amount",),
    )
    statuses = tuple(DisputeStatus) if status is None else (DisputeStatus(status),)
    with wiring.open_services(call.settings()) as suite:
        call.show_list(lambda **where: suite.disputes.list(organization, statuses=statuses, **where), table, **page)


@command(dispute, "answer")
@_organization
@_dispute
@click.argument("answer")
def answer_dispute(call: Call, organization: str, dispute_id: str, answer: str) -> None:
    """Close a dispute with an answer.

    \b
    Examples:
      tokenwell dispute answer acme dsp_06f5p5p5p5p5p5p5p5p5p5p5p5 "The reply has 2,000 words"
    """
    with wiring.open_services(call.settings()) as suite:
        _show(call, suite.disputes.answer(organization, dispute_id, answer=answer, by=me()))


@command(dispute, "refund")
@_organization
@_dispute
@click.argument("amount", required=False)
@click.option("--answer", default="", help="What the organization reads.")
def refund_dispute(call: Call, organization: str, dispute_id: str, amount: str | None, answer: str) -> None:
    """Close a dispute by giving the line's tokens back, or AMOUNT of them.

    \b
    Examples:
      tokenwell dispute refund acme dsp_06f5p5p5p5p5p5p5p5p5p5p5p5 --answer "Sorry"
    """
    with wiring.open_services(call.settings()) as suite:
        _show(call, suite.disputes.refund(organization, dispute_id, amount, answer=answer, by=me()))


def _show(call: Call, told: Dispute) -> None:
    back = f", {told.refund_tokens:,} tokens given back" if told.refund_tokens else ""
    call.show(told, f"Dispute {told.id} of {told.amount_tokens:,} tokens is {told.status.value}{back}.")


@command(root, "reconcile")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def reconcile(call: Call, file: Path) -> None:
    """Compare a provider's usage export with the ledger, by request id and by day and model.

    Known are the exports of OpenAI and Anthropic, as CSV and as JSON of their usage APIs, and lists of requests with an id. The
    same file again gives the first result.

    \b
    Examples:
      tokenwell reconcile usage.csv
      tokenwell reconcile usage.csv --json
    """
    try:
        opened = file.open("rb")
    except OSError as error:
        raise RequestInvalid(f"{file} cannot be read ({type(error).__name__})", field="file") from None
    with opened, wiring.open_services(call.settings()) as suite:
        compared = suite.reconciliations.compare(opened, name=file.name, by=me())
    table = Table(
        {
            "Day": lambda each: each.day.isoformat(),
            "Model": lambda each: each.model,
            "Provider in": lambda each: f"{each.their_input_tokens:,}",
            "out": lambda each: f"{each.their_output_tokens:,}",
            "Ledger in": lambda each: f"{each.our_input_tokens:,}",
            "out ": lambda each: f"{each.our_output_tokens:,}",
            "Drift": lambda each: f"{each.drift_tokens:+,}",
        },
        right=("Provider in", "out", "Ledger in", "out ", "Drift"),
    )
    known = compared.reconciliation
    by_id = f"{known.found:,} of {known.named:,} request ids in the ledger"
    head = f"{known.records:,} records of {known.form}, {by_id}, {known.timed:,} found by time."
    call.show(compared, f"{head}\n{table.render(compared.lines)}\nDrift {compared.drift_tokens:+,} tokens.")
