"""Policies: what an organization's gateway does where more than one answer is right."""

from __future__ import annotations

import msgspec
import sqlalchemy

from tokenwell.core.amounts import MAX_CHARGE_TOKENS, parse_amount
from tokenwell.core.happenings import Actor
from tokenwell.core.identifiers import is_organization_id
from tokenwell.errors import OrganizationNotFound, RequestInvalid
from tokenwell.service.ports import Clock, new_id
from tokenwell.store import policies as store
from tokenwell.store.policies import Policy, WhenAway, WhenShort
from tokenwell.store.reader import reading

__all__ = ["LONGEST_AWAY_SECONDS", "Policies", "Policy", "WhenAway", "WhenShort"]

LONGEST_AWAY_SECONDS = 86_400
"""For how long an organization may be served at most while the database cannot be reached."""

_MOST_SERVING = 100_000


class Policies:
    """The policies in one database. Read when they are needed, which is seldom: where a balance affords too little."""

    def __init__(self, engine: sqlalchemy.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def of(self, organization_id: str) -> Policy:
        """Return an organization's policy; the defaults where it has set none. Raises OrganizationNotFound, StoreUnavailable."""
        if not is_organization_id(organization_id):
            raise OrganizationNotFound(organization_id=organization_id)
        with reading(self._engine, organization_id) as connection:
            return store.find_policy(connection, organization_id)

    def serving(self) -> dict[str, Policy]:
        """Return the policies of those that are served while the database cannot be reached. Raises StoreUnavailable."""
        with reading(self._engine) as connection:
            return store.serving_policies(connection, limit=_MOST_SERVING)

    def set(
        self,
        organization_id: str,
        *,
        when_short: WhenShort | str | None = None,
        when_away: WhenAway | str | None = None,
        away_seconds: int | str | None = None,
        away_tokens: int | str | None = None,
        by: Actor | None = None,
    ) -> Policy:
        """Change what is done with a request that the balance does not afford whole, and with one that comes while the database
        cannot be reached; what is None stays as it is.

        To be served then needs a time and an amount: for how long at most, and how much may wait to be charged. Raises
        OrganizationNotFound, RequestInvalid, AmountInvalid.
        """
        if not is_organization_id(organization_id):
            raise OrganizationNotFound(organization_id=organization_id)
        given = {
            "when_short": None if when_short is None else _word(WhenShort, when_short, "when_short"),
            "when_away": None if when_away is None else _word(WhenAway, when_away, "when_away"),
            "away_seconds": None
            if away_seconds is None
            else parse_amount(away_seconds, field="away_seconds", least=0, most=LONGEST_AWAY_SECONDS),
            "away_tokens": None
            if away_tokens is None
            else parse_amount(away_tokens, field="away_tokens", least=0, most=MAX_CHARGE_TOKENS),
        }
        changes = {name: value for name, value in given.items() if value is not None}

        def change(before: Policy) -> Policy:
            after = msgspec.structs.replace(before, **changes)
            for field in ("away_seconds", "away_tokens"):
                if after.when_away is WhenAway.SERVE and not getattr(after, field):
                    raise RequestInvalid(f"{field}: to serve while the database is away needs a bound", field=field)
            return after

        now, act_id = self._clock(), new_id("act")
        return store.set_policy(self._engine, organization_id, change, now=now, by=by, act_id=act_id)


def _word(words: type[WhenShort] | type[WhenAway], given: str, field: str) -> WhenShort | WhenAway:
    try:
        return words(given)
    except ValueError:
        raise RequestInvalid(f"{field} must be one of {', '.join(words)}", field=field) from None
