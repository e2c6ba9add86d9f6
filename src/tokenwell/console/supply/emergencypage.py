"""Emergency tokens: an organization whose balance is low advances itself a few, shown before they are taken."""

from __future__ import annotations

from typing import Any

from tokenwell.console.acting import Done, Sent, acting
from tokenwell.console.frame import organization_of, path_of
from tokenwell.console.sheets import sheet_of
from tokenwell.console.supply.granting import change_of, tokens_per_day
from tokenwell.console.visits import Visit
from tokenwell.core.health import State
from tokenwell.service.access.scopes import Scope


def take(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show what emergency tokens make of the balance and of what is owed, or take them."""
    organization = organization_of(visit, Scope.TOPUPS_WRITE)
    suite, back = visit.console.suite, path_of(organization.id)
    balance = suite.meter.balance(organization.id)
    most = suite.emergencies.offered(balance)
    sent = sent.prefilled(amount=f"{most:,}" if most else "", note="")
    amount, note = sent.amount("amount"), sent.note()
    if amount is not None and amount > suite.emergencies.limit_tokens:
        sent.problems["amount"] = "emergency_limit"
    if sent.is_final and not sent.problems and amount is not None:
        taken = suite.emergencies.take(organization.id, amount, note=note, key=sent.key, by=visit.principal.actor)
        said = "emergency_resumed" if taken.state is not State.AI_STOPPED else "emergency"
        return Done(path=back, said=said, about=f"{amount:,}")
    if not sent.is_final:
        sent.only_typed()
    shown = amount if "amount" not in sent.problems else None
    change = None if shown is None else change_of(balance, shown, tokens_per_day=tokens_per_day(visit, balance))
    return sheet_of(
        visit, sent, organization, "emergency", back, nav="packs", amount=amount, most=most, change=change, balance=balance,
        limit=suite.emergencies.limit_tokens,
    )  # fmt: skip


ROUTES = acting("/o/{organization}/emergency", "sheet", take)
