"""Accounts: the commands on organizations, their packs, balance and ledger."""

from __future__ import annotations

from typing import Any

import click

from tokenwell import wiring
from tokenwell.cli.terminal import FAILED, Call, Table, command, paged, parse_as_of, parse_expiry, root, when
from tokenwell.core.health import State
from tokenwell.core.packs import PackStatus
from tokenwell.core.receipts import Answer, Receipt
from tokenwell.service.ports import system_clock
from tokenwell.service.shapes import LedgerLine, PackLine

PROGRESS_LINES = 50_000
"""How many journal lines `verify` reads between two signs of life."""

_STATES = {State.NORMAL: "Normal", State.RUNNING_LOW: "Running low", State.AI_STOPPED: "AI stopped"}

_organization = click.argument("organization")
_note = click.option("--note", default="", help="What people will read beside it.")
_key = click.option("--key", help="Idempotency key: repeated with the same key, the command is carried out once.")
_as_of = click.option("--as-of", metavar="INSTANT", help="As it was then: 2027-01-31 or 2027-01-31T09:30:00Z.")
_EXPIRES = "A date (2027-01-31), an instant, a duration (90d, 2w, 12h) or never."


@root.group()
def org() -> None:
    """Organizations and their thresholds."""


@command(org, "create")
@_organization
@click.option("--name", help="The name people see; else the id.")
def create(call: Call, organization: str, name: str | None) -> None:
    """Create an organization. Again with the same name, it changes nothing.

    \b
    Examples:
      tokenwell org create globex --name "Globex Corporation"
    """
    with wiring.open_meter(call.settings(), create=True) as meter:
        made = meter.create_organization(organization, name=name)
    call.show(made, f"Organization {made.id}: {made.name}")


@command(org, "list")
@paged
def list_organizations(call: Call, **page: Any) -> None:
    """List the organizations.

    \b
    Examples:
      tokenwell org list
      tokenwell org list --all --json
    """
    table = Table({"Id": lambda each: each.id, "Name": lambda each: each.name, "Created": lambda each: when(each.created_at)})
    with wiring.open_meter(call.settings()) as meter:
        call.show_list(meter.organizations, table, **page)


@command(org, "thresholds")
@_organization
@click.option("--warning", metavar="AMOUNT", help="Below it the organization is Running low.")
@click.option("--reserve", metavar="AMOUNT", help="Below it AI is stopped.")
@click.option("--clear", is_flag=True, help="Return to the platform's thresholds.")
def thresholds(call: Call, organization: str, warning: str | None, reserve: str | None, clear: bool) -> None:
    """Show the thresholds of an organization, or set its own.

    \b
    Examples:
      tokenwell org thresholds acme
      tokenwell org thresholds acme --warning 2M --reserve 250k
      tokenwell org thresholds acme --clear
    """
    if clear and (warning is not None or reserve is not None):
        raise click.UsageError("--clear goes with neither --warning nor --reserve.")
    with wiring.open_meter(call.settings()) as meter:
        now = meter.balance(organization)
        if clear:
            meter.clear_thresholds(organization)
        elif warning is not None or reserve is not None:
            meter.set_thresholds(
                organization,
                warning=now.warning_tokens if warning is None else warning,
                reserve=now.reserve_tokens if reserve is None else reserve,
            )
        now = meter.balance(organization)
    shown = ("organization_id", "warning_tokens", "reserve_tokens", "balance_tokens", "state")
    text = f"Warning threshold {now.warning_tokens:,} tokens, minimum reserve {now.reserve_tokens:,} tokens."
    call.show({name: getattr(now, name) for name in shown}, f"{text} {_balance(now.balance_tokens, now.state)}")


@command(root, "grant")
@_organization
@click.argument("amount")
@click.option("--expires", default="never", show_default=True, metavar="WHEN", help=_EXPIRES)
@click.option("--priority", type=int, default=0, show_default=True, help="A lower one is spent first.")
@_note
@_key
def grant(call: Call, organization: str, amount: str, expires: str, priority: int, note: str, key: str | None) -> None:
    """Grant a pack of tokens.

    \b
    Examples:
      tokenwell grant acme 5M --expires 90d --note "Order 1042"
      tokenwell grant acme 250k --expires 2099-12-31 --key invoice-1042
    """
    expires_at = parse_expiry(expires, now=system_clock())
    with wiring.open_meter(call.settings()) as meter:
        granted = meter.grant(organization, amount, expires_at=expires_at, priority=priority, note=note, key=key)
    pack = granted.pack
    text = f"Granted PK-{pack.number}, {pack.total_tokens:,} tokens, expires {when(pack.expires_at)}."
    repaid = f" {granted.repaid_tokens:,} of them repaid overage." if granted.repaid_tokens else ""
    call.show(granted, text + repaid + _after(granted))


@command(root, "revoke")
@_organization
@click.argument("pack")
@click.option("--cancel-holds", is_flag=True, help="Release the open holds that could spend it, too.")
@_note
@_key
def revoke(call: Call, organization: str, pack: str, cancel_holds: bool, note: str, key: str | None) -> None:
    """Revoke a pack. It is named by its number or its id; what is left of it stops counting at once.

    \b
    Examples:
      tokenwell revoke acme PK-5 --note "Granted twice"
    """
    with wiring.open_meter(call.settings()) as meter:
        revoked = meter.revoke(organization, pack, cancel_holds=cancel_holds, note=note, key=key)
    released = f" {revoked.released_holds} holds released." if revoked.released_holds else ""
    call.show(revoked, f"Revoked {pack}: {revoked.forfeited_tokens:,} tokens no longer count.{released}{_after(revoked)}")


@command(root, "extend")
@_organization
@click.argument("pack")
@click.option("--expires", required=True, metavar="WHEN", help=_EXPIRES)
@_note
@_key
def extend(call: Call, organization: str, pack: str, expires: str, note: str, key: str | None) -> None:
    """Move the expiry of a pack to a later date, or to never.

    \b
    Examples:
      tokenwell extend acme PK-4 --expires 180d
      tokenwell extend acme PK-4 --expires never --note "Contract renewed"
    """
    expires_at = parse_expiry(expires, now=system_clock())
    with wiring.open_meter(call.settings()) as meter:
        extended = meter.extend(organization, pack, expires_at=expires_at, note=note, key=key)
    text = f"Extended {pack}: it expires {when(extended.expires_at)}, before {when(extended.expired_before)}."
    call.show(extended, text + _after(extended))


@command(root, "balance")
@_organization
@_as_of
def balance(call: Call, organization: str, as_of: str | None) -> None:
    """Show the balance and the state of an organization. Now, or as it was at a past instant.

    \b
    Examples:
      tokenwell balance acme
      tokenwell balance acme --as-of 2026-01-31 --json
    """
    with wiring.open_meter(call.settings()) as meter:
        now = meter.balance(organization, as_of=parse_as_of(as_of))
    rows = {
        "Balance": f"{now.balance_tokens:,} tokens, {_STATES[now.state]}",
        "Available": f"{now.available_tokens:,} ({now.held_tokens:,} held)",
        "Active packs": f"{now.active_packs} of {now.active_total_tokens:,} tokens in all",
        "Thresholds": f"warning {now.warning_tokens:,}, reserve {now.reserve_tokens:,}",
        "Overage": f"{now.overage_tokens:,}",
        "As of": when(now.as_of),
    }
    answer = {name: getattr(now, name) for name in (*now.__struct_fields__, "available_tokens")}
    call.show(answer, "\n".join(f"{name:<13} {value}" for name, value in rows.items()))


@command(root, "packs")
@_organization
@click.option("--status", type=click.Choice([status.value for status in PackStatus]), help="Only packs of this status.")
@_as_of
@paged
def packs(call: Call, organization: str, status: str | None, as_of: str | None, **page: Any) -> None:
    """List the packs of an organization, the latest grant first.

    \b
    Examples:
      tokenwell packs acme
      tokenwell packs acme --status active --json
      tokenwell packs acme --all
    """
    table = Table(
        {
            "Pack": lambda line: f"PK-{line.pack.number}",
            "Status": lambda line: line.status.value.capitalize(),
            "Remaining": lambda line: f"{line.pack.remaining_tokens:,}",
            "Total": lambda line: f"{line.pack.total_tokens:,}",
            "Granted": lambda line: when(line.pack.granted_at),
            "Expires": lambda line: when(line.pack.expires_at),
            "Note": lambda line: line.pack.note,
        },
        right=("Remaining", "Total"),
        view=_pack_view,
    )
    wanted, at = None if status is None else PackStatus(status), parse_as_of(as_of)
    with wiring.open_meter(call.settings()) as meter:
        call.show_list(lambda **where: meter.packs(organization, status=wanted, as_of=at, **where), table, **page)


@command(root, "ledger")
@_organization
@paged
def ledger(call: Call, organization: str, **page: Any) -> None:
    """List the Usage Ledger of an organization, the latest line first.

    \b
    Examples:
      tokenwell ledger acme --limit 10
      tokenwell ledger acme --all --json
    """
    table = Table(
        {
            "Time": lambda line: when(line.entry.at),
            "Amount": lambda line: f"{line.entry.balance_change_tokens:+,}",
            "Prompt": lambda line: _optional(line.entry.prompt_tokens),
            "Completion": lambda line: _optional(line.entry.completion_tokens),
            "Model": lambda line: line.entry.model or "",
            "Session": lambda line: line.entry.session or "",
            "Reason": lambda line: line.entry.reason or line.entry.note,
            "Pack": _pack_of,
        },
        right=("Amount", "Prompt", "Completion"),
        view=_line_view,
    )
    with wiring.open_meter(call.settings()) as meter:
        call.show_list(lambda **where: meter.ledger(organization, **where), table, **page)


@command(root, "debit")
@_organization
@click.argument("amount", required=False)
@click.option("--prompt", type=click.IntRange(0), help="Prompt tokens; without AMOUNT they are what is charged.")
@click.option("--completion", type=click.IntRange(0), help="Completion tokens, likewise.")
@click.option("--model", help="The model; its rate counts where no AMOUNT is given.")
@click.option("--session", help="The conversation it belongs to.")
@click.option("--reason", help="Why it occurred.")
@click.option("--service", "service_id", help="The AI service that used it.")
@click.option("--already-used", is_flag=True, help="Charge it whatever the state is: it was used.")
@_note
@_key
def debit(call: Call, organization: str, amount: str | None, prompt: int | None, completion: int | None, **what: Any) -> None:
    """Charge a request. It costs AMOUNT tokens, or its prompt and completion tokens at the model's rate.

    \b
    Examples:
      tokenwell debit acme 1200 --reason "Imported usage" --key import-7
      tokenwell debit acme --prompt 900 --completion 120 --model gpt-5-mini --session conversation-7
    """
    with wiring.open_meter(call.settings()) as meter:
        receipt = meter.debit(organization, amount, prompt_tokens=prompt, completion_tokens=completion, **what)
    overage = f", {receipt.overage_tokens:,} of them overage" if receipt.overage_tokens else ""
    _show_receipt(call, receipt, f"Charged {receipt.amount_tokens:,} tokens{overage} for request {receipt.request_id}.")


@command(root, "refund")
@_organization
@click.argument("request")
@click.argument("amount", required=False)
@_note
@_key
def refund(call: Call, organization: str, request: str, amount: str | None, note: str, key: str | None) -> None:
    """Give tokens of a request back. They go to the packs they came from: all that is left of it, or AMOUNT.

    \b
    Examples:
      tokenwell refund acme demo-7 100 --note "The reply was cut off"
      tokenwell refund acme demo-8
    """
    with wiring.open_meter(call.settings()) as meter:
        receipt = meter.refund(organization, request, amount, note=note, key=key)
    forfeited = f" {receipt.forfeited_tokens:,} of them went to packs that no longer count." if receipt.forfeited_tokens else ""
    _show_receipt(call, receipt, f"Refunded {receipt.amount_tokens:,} tokens of request {request}.{forfeited}")


@command(root, "verify")
@click.argument("organization", required=False)
def verify(call: Call, organization: str | None) -> int:
    """Check the ledger against its journal. Balances, packs, rollups and the hash chain of one organization, or of all, are
    recomputed; the exit code is 1 if anything does not hold.

    \b
    Examples:
      tokenwell verify
      tokenwell verify acme --json
    """

    def progress(organization_id: str, lines: int) -> None:
        if lines and lines % PROGRESS_LINES == 0:
            click.echo(f"{organization_id}: {lines:,} lines read", err=True)

    with wiring.open_meter(call.settings()) as meter:
        if organization is not None:
            meter.organization(organization)
        found = list(meter.verify(organization, progress=progress))
    is_sound = not any(each.problem_count for each in found)
    text = [f"{each.organization_id}: {each.lines:,} lines, {each.problem_count or 'no'} problems" for each in found]
    text += [f"  {each.organization_id}: {problem}" for each in found for problem in each.problems]
    call.show({"sound": is_sound, "organizations": found}, "\n".join(text) or "There is no organization.")
    return 0 if is_sound else FAILED


def _show_receipt(call: Call, receipt: Receipt, text: str) -> None:
    call.show(receipt, text + _after(receipt))


def _after(answer: Answer) -> str:
    replayed = " (done before with this key; this is its first answer)" if answer.replayed else ""
    return f" {_balance(answer.balance_tokens, answer.state)}{replayed}"


def _balance(tokens: int, state: State) -> str:
    return f"Balance {tokens:,} tokens, {_STATES[state]}."


def _optional(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}"


def _pack_of(line: LedgerLine) -> str:
    pack = "" if line.pack_number is None else f"PK-{line.pack_number}"
    return f"{pack} ({line.entry.part} of {line.entry.parts})" if line.entry.parts > 1 else pack


def _pack_view(line: PackLine) -> dict[str, Any]:
    pack = line.pack
    return {
        "id": pack.id,
        "number": f"PK-{pack.number}",
        "status": line.status,
        "total_tokens": pack.total_tokens,
        "remaining_tokens": pack.remaining_tokens,
        "priority": pack.priority,
        "granted_at": pack.granted_at,
        "expires_at": pack.expires_at,
        "revoked_at": pack.revoked_at,
        "note": pack.note,
    }


_LINE_FIELDS = (
    *(
        "seq",
        "at",
        "kind",
        "amount_tokens",
        "prompt_tokens",
        "completion_tokens",
        "balance_after_tokens",
        "request_id",
        "part",
        "parts",
    ),
    *("pack_id", "model", "session", "reason", "service_id", "key_id", "note"),
)


def _line_view(line: LedgerLine) -> dict[str, Any]:
    view = {name: getattr(line.entry, name) for name in _LINE_FIELDS}
    view["pack_number"] = None if line.pack_number is None else f"PK-{line.pack_number}"
    return view
