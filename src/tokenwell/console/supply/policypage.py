"""The policy of an organization's gateway: what it does where the balance affords too little, and while the database is away."""

from __future__ import annotations

from typing import Any

from tokenwell.console.acting import Done, Sent, acting
from tokenwell.console.frame import organization_of, path_of
from tokenwell.console.sheets import refused, sheet_of
from tokenwell.console.visits import Visit
from tokenwell.errors import RequestInvalid
from tokenwell.service.access.scopes import Scope
from tokenwell.service.policies import LONGEST_AWAY_SECONDS


def policy(visit: Visit, sent: Sent) -> dict[str, Any] | Done:
    """Show or set an organization's policy."""
    organization = organization_of(visit, Scope.ORGANIZATIONS_WRITE)
    policies, back = visit.console.suite.policies, path_of(organization.id)
    known = policies.of(organization.id)
    sent = sent.prefilled(
        when_short=known.when_short.value,
        when_away=known.when_away.value,
        away_seconds=str(known.away_seconds or ""),
        away_tokens=f"{known.away_tokens:,}" if known.away_tokens else "",
    )
    seconds = sent.whole("away_seconds", least=0, most=LONGEST_AWAY_SECONDS)
    tokens = sent.amount("away_tokens", least=0) if sent.text("away_tokens") else None
    if sent.is_final and not sent.problems:
        try:
            policies.set(
                organization.id,
                when_short=sent.text("when_short", known.when_short),
                when_away=sent.text("when_away", known.when_away),
                away_seconds=seconds or 0,
                away_tokens=tokens or 0,
                by=visit.principal.actor,
            )
        except RequestInvalid as error:
            refused(sent, error)
        else:
            return Done(path=back, said="policy")
    return sheet_of(visit, sent, organization, "policy", back, nav="packs")


ROUTES = acting("/o/{organization}/policy", "sheet", policy)
