"""Policies: what an organization's gateway does where more than one answer is right."""

from __future__ import annotations

import sqlalchemy

from tokenwell.core.happenings import Actor
from tokenwell.core.identifiers import is_organization_id
from tokenwell.errors import OrganizationNotFound, RequestInvalid
from tokenwell.service.ports import Clock, new_id
from tokenwell.store import policies as store
from tokenwell.store.policies import Policy, WhenShort
from tokenwell.store.reader import reading

__all__ = ["Policies", "Policy", "WhenShort"]


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

    def set(self, organization_id: str, *, when_short: WhenShort | str, by: Actor | None = None) -> Policy:
        """Set what is done with a request that the balance does not afford whole. Raises OrganizationNotFound, RequestInvalid."""
        if not is_organization_id(organization_id):
            raise OrganizationNotFound(organization_id=organization_id)
        try:
            policy = Policy(when_short=WhenShort(when_short))
        except ValueError:
            allowed = ", ".join(WhenShort)
            raise RequestInvalid(f"when_short must be one of {allowed}", field="when_short") from None
        store.set_policy(self._engine, organization_id, policy, now=self._clock(), by=by, act_id=new_id("act"))
        return policy
