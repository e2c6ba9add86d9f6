"""Calls of the SDK on what an organization's gateway does where more than one answer is right."""

from __future__ import annotations

from typing import Literal

from tokenwell.client import bodies, managed
from tokenwell.client.requests import Request, at, read, write


class PolicyCalls:
    """Builds requests, as `Calls` does."""

    def get_policy(self, organization_id: str) -> Request[managed.Policy]:
        """Return an organization's policy."""
        return read(at(organization_id, "policy"), managed.Policy)

    def set_policy(
        self,
        organization_id: str,
        *,
        when_short: Literal["refuse", "clamp", "hold_available"] | None = None,
        when_away: Literal["refuse", "serve"] | None = None,
        away_seconds: int | None = None,
        away_tokens: int | str | None = None,
        key: str | None = None,
    ) -> Request[managed.Policy]:
        """Change an organization's policy; what is None stays as it is. Raises RequestInvalid where it would serve without bounds
        while the database is away."""
        body = bodies.NewPolicy(when_short=when_short, when_away=when_away, away_seconds=away_seconds, away_tokens=away_tokens)
        return write("PATCH", at(organization_id, "policy"), managed.Policy, key, body)
